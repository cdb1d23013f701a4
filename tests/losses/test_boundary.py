"""Boundary loss: against distances measured pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import C, H, N, W, batch, probabilities

from atrous.errors import ConfigError
from atrous.losses.boundary import Boundary, signed_distances
from atrous.types import SegOutput


def distances(truth: NDArray[np.int64], index: int) -> NDArray[np.float64]:
    """The map of the paper's code: to the class from outside; 1 minus the distance to another class inside."""
    inside = [pixel for pixel, label in np.ndenumerate(truth) if label == index]
    others = [pixel for pixel, label in np.ndenumerate(truth) if label not in (index, 255)]
    result = np.zeros(truth.shape)
    if inside and others:
        for (y, x), label in np.ndenumerate(truth):
            targets = others if label == index else inside
            nearest = min(np.hypot(y - a, x - b) for a, b in targets)
            result[y, x] = 1 - nearest if label == index else nearest
    return result


@pytest.mark.parametrize("classes", [None, [1], [3, 0]])
@pytest.mark.parametrize("absent", [None, 1])
@pytest.mark.parametrize("size", [(H, W), (3, 4)])
@pytest.mark.parametrize("cached_masks", [0, 5])
def test_equals_the_formula(
    classes: list[int] | None, absent: int | None, size: tuple[int, int], cached_masks: int
) -> None:
    logits, mask = batch(0, size, absent)
    p, truth = probabilities(logits), mask.numpy()
    chosen = range(C) if classes is None else classes
    products = []
    for image in range(N):
        for index in chosen:
            counted = truth[image] != 255
            products.append((p[image, ..., index] * distances(truth[image], index))[counted])
    loss = Boundary(classes=classes, cached_masks=cached_masks)
    for _ in range(2):
        assert loss(SegOutput(logits), mask).item() == pytest.approx(
            np.concatenate(products).mean(), rel=1e-5, abs=1e-7
        )
    assert torch.autograd.gradcheck(lambda x: loss(SegOutput(x), mask), logits.double().requires_grad_())


def test_is_least_where_the_prediction_is_right() -> None:
    _, mask = batch(1)
    truth = torch.where(mask == 255, 0, mask)
    right = torch.full((N, C, H, W), -50.0).scatter_(1, truth[:, None], 50.0)
    loss = Boundary()
    wrong = [loss(SegOutput(right.roll(shift, 1)), mask) for shift in range(1, C)]
    assert loss(SegOutput(right), mask) <= 0
    assert loss(SegOutput(right), mask) < min(wrong)


def test_ignored_pixels_make_no_boundary() -> None:
    mask = np.array([[1, 255, 1, 1, 0]])
    assert signed_distances(mask, [1], 255).tolist() == [[[-3, 2 - 1, -1, 0, 1]]]


def test_a_class_that_fills_the_image_has_no_boundary() -> None:
    assert not signed_distances(np.array([[1, 1, 255]]), [0, 1], 255).any()


def test_impossible_classes() -> None:
    with pytest.raises(ValueError, match=r"classes is empty; give class indices"):
        Boundary(classes=[])
    with pytest.raises(
        ConfigError, match=r"loss\.classes=\[4\], but the model has 4 classes; give indices from 0 to 3"
    ):
        Boundary(classes=[4])(SegOutput(batch()[0]), batch()[1])
