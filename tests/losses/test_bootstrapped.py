"""Bootstrapped cross-entropy: against the rule written out in NumPy float64."""

from __future__ import annotations

import math

import pytest
import torch
from reference import C, H, N, W, batch, surprises

from atrous.errors import ConfigError
from atrous.losses.bootstrapped import BootstrappedCrossEntropy
from atrous.types import SegOutput

WEIGHTS = [0.5, 2.0, 1.0, 0.25]


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("size", [(H, W), (3, 4)])
@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 1.0])
def test_hard_pixels(weights: list[float] | None, size: tuple[int, int], fraction: float) -> None:
    logits, mask = batch(0, size)
    weight = [1.0] * C if weights is None else weights
    pixels = [(weight[label] * surprise, weight[label]) for _, label, surprise in surprises(logits, mask)]
    kept = sorted(pixels, reverse=True)[: math.ceil(fraction * len(pixels))]
    found = BootstrappedCrossEntropy(fraction=fraction, class_weights=weights)(SegOutput(logits), mask)
    assert found.item() == pytest.approx(sum(a for a, _ in kept) / sum(b for _, b in kept), rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("fraction", "count"), [(0.1, 1), (0.25, 1), (0.5, 2), (0.6, 3), (1.0, 4)])
def test_hard_images(weights: list[float] | None, fraction: float, count: int) -> None:
    parts = [batch(seed, (3, 4)) for seed in range(2)]
    logits, mask = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    weight = [1.0] * C if weights is None else weights
    means = []
    for part_logits, part_mask in parts:
        pixels = surprises(part_logits, part_mask)
        for image in range(N):
            own = [(weight[label] * surprise, weight[label]) for i, label, surprise in pixels if i == image]
            means.append(sum(a for a, _ in own) / sum(b for _, b in own))
    loss = BootstrappedCrossEntropy(level="images", fraction=fraction, class_weights=weights)
    expected = sum(sorted(means)[-count:]) / count
    assert loss(SegOutput(logits), mask).item() == pytest.approx(expected, rel=1e-5)


def test_a_share_that_binary_fractions_miss() -> None:
    logits = torch.randn(1, 2, 1, 100, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 100, dtype=torch.int64)
    hardest = torch.sort(-logits.log_softmax(1)[0, 0, 0], descending=True).values[:7]  # 0.07 * 100 = 7.000000000000001
    found = BootstrappedCrossEntropy(fraction=0.07)(SegOutput(logits), mask)
    assert found.item() == pytest.approx(hardest.mean().item(), rel=1e-6)


@pytest.mark.parametrize("level", ["pixels", "images"])
def test_gradients(level: str) -> None:
    logits, mask = batch(2, (3, 4))
    loss = BootstrappedCrossEntropy(level=level, fraction=0.4, class_weights=WEIGHTS)
    assert torch.autograd.gradcheck(lambda x: loss(SegOutput(x), mask), logits.double().requires_grad_())


@pytest.mark.parametrize("level", ["pixels", "images"])
def test_nothing_to_learn_from(level: str) -> None:
    logits, mask = batch(3)
    logits.requires_grad_()
    found = BootstrappedCrossEntropy(level=level)(SegOutput(logits), torch.full_like(mask, 255))
    found.backward()
    assert found.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("fraction", [0, 1.5])
def test_impossible_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"fraction {fraction} is out of range; give a share above 0 and up to 1"):
        BootstrappedCrossEntropy(fraction=fraction)


def test_impossible_level() -> None:
    with pytest.raises(ConfigError, match=r"loss\.level=batch is impossible; choose one of pixels, images"):
        BootstrappedCrossEntropy(level="batch")
