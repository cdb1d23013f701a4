"""Dice, Jaccard, Tversky and generalised Dice: against their formulas in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import C, H, N, W, areas, batch
from torch import Tensor

from atrous.errors import ConfigError
from atrous.losses.dice import Dice
from atrous.losses.generalised_dice import GeneralisedDice
from atrous.losses.jaccard import Jaccard
from atrous.losses.overlap import OverlapLoss
from atrous.losses.tversky import Tversky
from atrous.types import SegOutput

Sums = NDArray[np.float64]


def dice(sums: Sums, smooth: float) -> Sums:
    hit, predicted, actual = sums
    return 1 - (2 * hit + smooth) / (predicted + actual + smooth)


def jaccard(sums: Sums, smooth: float) -> Sums:
    hit, predicted, actual = sums
    return 1 - (hit + smooth) / (predicted + actual - hit + smooth)


def tversky(sums: Sums, smooth: float, alpha: float = 0.3, beta: float = 0.7, gamma: float = 1.0) -> Sums:
    hit, predicted, actual = sums
    false_positives, false_negatives = predicted - hit, actual - hit
    index = (hit + smooth) / (hit + alpha * false_positives + beta * false_negatives + smooth)
    return (1 - index) ** (1 / gamma)


def focal_tversky(sums: Sums, smooth: float) -> Sums:
    return tversky(sums, smooth, 0.2, 0.9, 4 / 3)


LOSSES: dict[str, tuple[Callable[..., OverlapLoss], Callable[[Sums, float], Sums]]] = {
    "dice": (Dice, dice),
    "jaccard": (Jaccard, jaccard),
    "tversky": (Tversky, tversky),
    "focal tversky": (lambda **settings: Tversky(alpha=0.2, beta=0.9, gamma=4 / 3, **settings), focal_tversky),
}


def expected(
    formula: Callable[[Sums, float], Sums], logits: Tensor, mask: Tensor, classes: str, per_image: bool, smooth: float
) -> float:
    groups = []
    for image in range(N) if per_image else [None]:
        sums = areas(logits, mask, image)
        if sums[2].any():
            costs = formula(sums, smooth)
            groups.append(costs[sums[2] > 0].mean() if classes == "present" else costs.mean())
    return float(np.mean(groups))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", ["present", "all"])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("absent", [None, 2])
def test_equals_the_formula(name: str, classes: str, per_image: bool, smooth: float, absent: int | None) -> None:
    build, formula = LOSSES[name]
    for size in ((H, W), (3, 4)):
        logits, mask = batch(0, size, absent)
        found = build(classes=classes, per_image=per_image, smooth=smooth)(SegOutput(logits), mask)
        assert found.item() == pytest.approx(expected(formula, logits, mask, classes, per_image, smooth), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", ["present", "all"])
@pytest.mark.parametrize("per_image", [False, True])
def test_gradients(name: str, classes: str, per_image: bool) -> None:
    logits, mask = batch(1, (3, 4), absent=2)
    loss = LOSSES[name][0](classes=classes, per_image=per_image)
    assert torch.autograd.gradcheck(lambda x: loss(SegOutput(x), mask), logits.double().requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_right_and_wrong_everywhere(name: str, per_image: bool, smooth: float) -> None:
    _, mask = batch(2)
    truth = torch.where(mask == 255, 0, mask)
    logits = torch.full((N, C, H, W), -500.0).scatter_(1, truth[:, None], 500.0).requires_grad_()
    right = LOSSES[name][0](classes="all", per_image=per_image, smooth=smooth)(SegOutput(logits), mask)
    right.backward()
    assert right.item() == pytest.approx(0, abs=1e-4)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    if not smooth:
        wrong = LOSSES[name][0](per_image=per_image)(SegOutput(-logits.detach()), mask)
        assert wrong.item() == pytest.approx(1, abs=1e-4)


def test_tversky_has_dice_and_jaccard_in_it() -> None:
    logits, mask = batch(3, (3, 4))
    output = SegOutput(logits)
    assert Tversky(alpha=0.5, beta=0.5)(output, mask).item() == pytest.approx(Dice()(output, mask).item(), rel=1e-6)
    assert Tversky(alpha=1, beta=1)(output, mask).item() == pytest.approx(Jaccard()(output, mask).item(), rel=1e-6)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("absent", [None, 2])
@pytest.mark.parametrize("size", [(H, W), (3, 4)])
def test_generalised_dice(per_image: bool, absent: int | None, size: tuple[int, int]) -> None:
    logits, mask = batch(4, size, absent)
    groups = []
    for image in range(N) if per_image else [None]:
        above = below = 0.0
        for hit, predicted, actual in areas(logits, mask, image).T:
            if actual:
                above += hit / actual**2
                below += (predicted + actual) / actual**2
        groups.append(1 - 2 * above / below)
    loss = GeneralisedDice(per_image=per_image)
    assert loss(SegOutput(logits), mask).item() == pytest.approx(np.mean(groups), rel=1e-5)
    assert torch.autograd.gradcheck(lambda x: loss(SegOutput(x), mask), logits.double().requires_grad_())


def test_images_without_labels_are_left_out() -> None:
    logits, mask = batch(5)
    mask[0] = 255
    for loss in (Dice(per_image=True), Dice(per_image=True, classes="all"), GeneralisedDice(per_image=True)):
        alone = loss(SegOutput(logits[1:]), mask[1:]).item()
        assert loss(SegOutput(logits), mask).item() == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        (Dice, {"smooth": -1}, r"smooth -1 is negative; give 0 or more, such as 1"),
        (Tversky, {"alpha": -1}, r"alpha -1 is negative; give 0 or more, such as 0\.3"),
        (Tversky, {"beta": -1}, r"beta -1 is negative; give 0 or more, such as 0\.7"),
        (Tversky, {"gamma": 0}, r"gamma 0 is out of range; give more than 0"),
        (Jaccard, {"aux_weight": -1}, r"aux_weight -1 is negative; give 0 or more, such as 0\.4"),
    ],
)
def test_impossible_settings(build: Callable[..., OverlapLoss], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_impossible_classes() -> None:
    with pytest.raises(ConfigError, match=r"loss\.classes=some is impossible; choose one of present, all"):
        Dice(classes="some")
