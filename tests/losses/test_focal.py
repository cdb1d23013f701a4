"""Focal loss: against its formula written out in NumPy float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import C, H, W, batch, surprises

from atrous.errors import ConfigError
from atrous.losses.cross_entropy import CrossEntropy
from atrous.losses.focal import Focal
from atrous.types import SegOutput

ALPHA = [0.5, 2.0, 1.0, 0.0]


@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("size", [(H, W), (3, 4)])
def test_equals_the_formula(alpha: list[float] | None, gamma: float, size: tuple[int, int]) -> None:
    logits, mask = batch(0, size)
    weights = [1.0] * C if alpha is None else alpha
    total = whole = 0.0
    for _, label, surprise in surprises(logits, mask):
        total += weights[label] * (1 - np.exp(-surprise)) ** gamma * surprise
        whole += weights[label]
    found = Focal(class_weights=alpha, gamma=gamma)(SegOutput(logits), mask)
    assert found.item() == pytest.approx(total / whole, rel=1e-5)


def test_without_focus_it_is_cross_entropy() -> None:
    logits, mask = batch(1, (3, 4))
    expected = CrossEntropy(class_weights=ALPHA)(SegOutput(logits), mask).item()
    assert Focal(class_weights=ALPHA, gamma=0)(SegOutput(logits), mask).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 2.0])
def test_certain_pixels_have_finite_gradients(gamma: float) -> None:
    mask = torch.zeros(1, 2, 2, dtype=torch.int64)
    logits = torch.tensor([200.0, -200.0])[None, :, None, None].expand(1, 2, 2, 2).clone().requires_grad_()
    found = Focal(gamma=gamma)(SegOutput(logits), mask)
    found.backward()
    assert found.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients(gamma: float) -> None:
    logits, mask = batch(2, (3, 4))
    loss = Focal(gamma=gamma, class_weights=ALPHA)
    assert torch.autograd.gradcheck(lambda x: loss(SegOutput(x), mask), logits.double().requires_grad_())


def test_impossible_settings() -> None:
    with pytest.raises(ValueError, match=r"gamma -1 is negative; give 0 or more, such as 2"):
        Focal(gamma=-1)
    with pytest.raises(ConfigError, match="class_weights has 2 weights but the model 4 classes"):
        Focal(class_weights=[1, 1])(SegOutput(batch()[0]), batch()[1])
