"""U-Net's border weights: against equation 2 with distances measured pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import batch

from atrous.losses.border_weight import BorderWeight, border_term
from atrous.losses.cross_entropy import CrossEntropy
from atrous.types import SegOutput

CELLS = """
11.......
11..222..
....222..
33.......
33.11....
"""


def cells() -> NDArray[np.int64]:
    """-1 where there is no object; the object 1 at the bottom is not the one at the top."""
    rows = CELLS.split()
    return np.array([[-1 if letter == "." else int(letter) for letter in row] for row in rows])


def flood(objects: NDArray[np.int64]) -> list[set[tuple[int, int]]]:
    """The objects' pixels, grown from one pixel to its four neighbours of the same class."""
    left = {(y, x) for (y, x), label in np.ndenumerate(objects) if label >= 0}
    found = []
    while left:
        edge = [left.pop()]
        grown = set(edge)
        while edge:
            y, x = edge.pop()
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if near in left and objects[near] == objects[y, x]:
                    left.remove(near)
                    grown.add(near)
                    edge.append(near)
        found.append(grown)
    return found


def equation(objects: NDArray[np.int64], w0: float, sigma: float) -> NDArray[np.float64]:
    parts = flood(objects)
    weights = np.zeros(objects.shape)
    if len(parts) > 1:
        for y, x in np.ndindex(*objects.shape):
            first, second = sorted(min(np.hypot(y - a, x - b) for a, b in part) for part in parts)[:2]
            weights[y, x] = w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2))
    return weights


@pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0])
def test_the_border_term_is_equation_2(sigma: float) -> None:
    objects = cells()
    assert len(flood(objects)) == 4
    assert np.allclose(border_term(objects, sigma), equation(objects, 1, sigma), atol=1e-7)


def test_it_ends_far_from_objects_without_a_step() -> None:
    objects = np.full((40, 60), -1)
    objects[:3, :3], objects[-3:, -3:], objects[5, 8] = 1, 1, 2
    assert np.allclose(border_term(objects, 2), equation(objects, 1, 2), atol=2e-8)


@pytest.mark.parametrize("objects", [np.full((5, 6), -1), np.where(cells() == 2, 2, -1)])
def test_fewer_than_two_objects_have_no_border(objects: NDArray[np.int64]) -> None:
    assert not border_term(objects, 5).any()


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0, 0.25]])
@pytest.mark.parametrize("size", [(5, 9), (3, 4)])
def test_equals_the_formula(weights: list[float] | None, size: tuple[int, int]) -> None:
    objects = cells()
    truth = np.where(objects < 0, 0, objects)
    truth[0, 4], truth[2, 5] = 255, 255  # one between the cells, one inside
    objects[2, 5] = -1
    border = np.where(truth == 0, equation(objects, 10, 2), 0)
    logits = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(0))
    up = torch.nn.functional.interpolate(logits.double(), (5, 9), mode="bilinear", align_corners=False)
    surprise = -up.log_softmax(1)[0].numpy()
    total = whole = 0.0
    for (y, x), label in np.ndenumerate(truth):
        if label != 255:
            weight = (1.0 if weights is None else weights[label]) + border[y, x]
            total += weight * surprise[label, y, x]
            whole += weight
    loss = BorderWeight(sigma=2, class_weights=weights)
    mask = torch.from_numpy(truth)[None]
    for _ in range(2):  # the second time from the kept map
        assert loss(SegOutput(logits), mask).item() == pytest.approx(total / whole, rel=1e-5)


def test_other_background_classes() -> None:
    """The pixels between cells are those of the background alone, here the classes 0 and 3."""
    truth = np.where(cells() < 0, 0, cells())
    logits, mask = torch.randn(1, 4, 5, 9, generator=torch.Generator().manual_seed(1)), torch.from_numpy(truth)[None]
    found = BorderWeight(background=[0, 3], sigma=2)(SegOutput(logits), mask)
    objects = np.where(np.isin(truth, [0, 3]), -1, truth)
    weights = 1 + torch.from_numpy(np.where(objects < 0, equation(objects, 10, 2), 0))
    surprise = torch.nn.functional.cross_entropy(logits.double(), mask, reduction="none")[0]
    assert found.item() == pytest.approx(((weights * surprise).sum() / weights.sum()).item(), rel=1e-5)


def test_without_border_it_is_cross_entropy() -> None:
    logits, mask = batch(2)
    expected = CrossEntropy(class_weights=[1, 2, 3, 4])(SegOutput(logits), mask).item()
    found = BorderWeight(w0=0, class_weights=[1, 2, 3, 4])(SegOutput(logits), mask).item()
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"w0": -1}, r"w0 -1 is negative; give 0 or more, such as 10"),
        ({"sigma": 0}, r"sigma 0 is out of range; give a width in pixels above 0"),
        ({"background": []}, r"background is empty; give the classes between the objects"),
        ({"cached_masks": -1}, r"cached_masks -1 is negative; give 0 or more"),
    ],
)
def test_impossible_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BorderWeight(**settings)
