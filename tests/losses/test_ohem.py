"""Online hard example mining: against the rule written out in NumPy float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import IGNORED, C, H, N, W, batch, surprises

from atrous.losses.cross_entropy import CrossEntropy
from atrous.losses.ohem import OHEM
from atrous.types import SegOutput

WEIGHTS = [0.5, 2.0, 1.0, 0.25]


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("size", [(H, W), (3, 4)])
@pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 1), (0.1, 1), (0.01, 7), (0.3, 15), (0.7, 1000), (1.0, 1)])
def test_equals_the_rule(weights: list[float] | None, size: tuple[int, int], threshold: float, min_kept: int) -> None:
    logits, mask = batch(0, size)
    pixels = sorted(surprises(logits, mask), key=lambda pixel: -pixel[2])
    hard = sum(np.exp(-surprise) < threshold for _, _, surprise in pixels)
    kept = pixels[: max(hard, min_kept * N)]
    weight = [1.0] * C if weights is None else weights
    expected = sum(weight[label] * surprise for _, label, surprise in kept) / sum(weight[label] for _, label, _ in kept)
    found = OHEM(threshold=threshold, min_kept=min_kept, class_weights=weights)(SegOutput(logits), mask)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_easy_pixels_have_no_gradient() -> None:
    logits, mask = batch(1)
    logits.requires_grad_()
    OHEM(threshold=0.2, min_kept=1)(SegOutput(logits), mask).backward()
    truth = torch.where(mask == IGNORED, 0, mask)[:, None]
    easy = (logits.detach().softmax(1).gather(1, truth) >= 0.2) | (mask == IGNORED)[:, None]
    assert logits.grad is not None
    assert ((logits.grad == 0).all(1, keepdim=True) == easy).all()


def test_a_batch_of_one_pixel_is_kept() -> None:
    logits, mask = torch.tensor([[[[9.0]], [[0.0]]]]), torch.tensor([[[0]]])
    expected = CrossEntropy()(SegOutput(logits), mask).item()
    assert OHEM()(SegOutput(logits), mask).item() == pytest.approx(expected)


@pytest.mark.parametrize("min_kept", [2, 100])
def test_gradients(min_kept: int) -> None:
    logits, mask = batch(2, (3, 4))
    loss = OHEM(threshold=0.05, min_kept=min_kept, class_weights=WEIGHTS)
    assert torch.autograd.gradcheck(lambda x: loss(SegOutput(x), mask), logits.double().requires_grad_())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0}, r"threshold 0 is out of range; give a probability above 0 and up to 1"),
        ({"threshold": 1.1}, r"threshold 1\.1 is out of range"),
        ({"min_kept": 0}, r"min_kept 0 is too small; give a number of pixels from 1 on"),
    ],
)
def test_impossible_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OHEM(**settings)
