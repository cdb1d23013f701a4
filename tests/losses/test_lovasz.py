"""Lovász-softmax: against the definition of the extension, from sets, and against IoU at its corners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import C, H, N, W, batch, probabilities
from torch import Tensor

from atrous.errors import ConfigError
from atrous.losses.lovasz import LovaszSoftmax, extension_gradient
from atrous.types import SegOutput


def iou_loss(truth: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> float:
    """1 - IoU of a class where the pixels `wrong` are wrong: equation 6 of the paper."""
    union = (truth | wrong).sum()
    return wrong.sum() / union if union else 0.0


def extension(errors: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """sum of errors in descending order x (loss of the first i wrong - loss of the first i - 1 wrong)."""
    order = np.argsort(-errors, kind="stable")
    total, before = 0.0, 0.0
    for count, pixel in enumerate(order, start=1):
        wrong = np.zeros(len(errors), bool)
        wrong[order[:count]] = True
        after = iou_loss(truth, wrong)
        total += errors[pixel] * (after - before)
        before = after
    return total


def formula(logits: Tensor, mask: Tensor, classes: str, per_image: bool) -> float:
    p, truth = probabilities(logits), mask.numpy()
    groups = []
    for part in [slice(i, i + 1) for i in range(N)] if per_image else [slice(None)]:
        counted = truth[part] != 255
        labels, own = truth[part][counted], p[part][counted]
        chosen = range(C) if classes == "all" else np.unique(labels)
        groups.append(np.mean([extension(np.abs((labels == c) - own[:, c]), labels == c) for c in chosen]))
    return float(np.mean(groups))


@pytest.mark.parametrize("classes", ["present", "all"])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("absent", [None, 2])
@pytest.mark.parametrize("size", [(H, W), (3, 4)])
def test_equals_the_formula(classes: str, per_image: bool, absent: int | None, size: tuple[int, int]) -> None:
    logits, mask = batch(0, size, absent)
    loss = LovaszSoftmax(classes=classes, per_image=per_image)
    assert loss(SegOutput(logits), mask).item() == pytest.approx(formula(logits, mask, classes, per_image), rel=1e-5)
    assert torch.autograd.gradcheck(lambda x: loss(SegOutput(x), mask), logits.double().requires_grad_())


def test_is_the_iou_where_predictions_are_certain() -> None:
    logits, mask = batch(1)
    predicted = logits.argmax(1).numpy()
    counted = mask.numpy() != 255
    truth, found = mask.numpy()[counted], predicted[counted]
    ious = [((truth == c) & (found == c)).sum() / ((truth == c) | (found == c)).sum() for c in np.unique(truth)]
    assert LovaszSoftmax()(SegOutput(1000 * logits), mask).item() == pytest.approx(1 - np.mean(ious), rel=1e-5)


def test_a_class_that_never_occurs_costs_its_highest_probability() -> None:
    logits, mask = batch(2, absent=2)
    present, everything = (LovaszSoftmax(classes=classes)(SegOutput(logits), mask) for classes in ("present", "all"))
    highest = probabilities(logits)[mask.numpy() != 255][:, 2].max()
    assert everything.item() == pytest.approx((3 * present.item() + highest) / 4, rel=1e-5)


def test_differences_are_right_among_millions_of_pixels() -> None:
    truth = torch.rand(2_000_000, generator=torch.Generator().manual_seed(0)) < 0.3
    found = extension_gradient(truth, torch.float32)
    inside = np.cumsum(truth.numpy())
    union = truth.sum().item() + np.arange(1, len(truth) + 1) - inside
    losses = 1 - (truth.sum().item() - inside) / union  # float64
    differences = np.diff(losses, prepend=0)
    assert np.allclose(found.numpy(), differences, rtol=1e-5, atol=1e-14)  # rounding of the float64 losses


def test_impossible_classes() -> None:
    with pytest.raises(ConfigError, match=r"loss\.classes=some is impossible; choose one of present, all"):
        LovaszSoftmax(classes="some")
