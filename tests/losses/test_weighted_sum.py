"""Weighted sums of losses."""

from __future__ import annotations

import pytest
import torch
from reference import batch

from atrous.errors import ConfigError
from atrous.losses.cross_entropy import CrossEntropy
from atrous.losses.dice import Dice
from atrous.losses.weighted_sum import WeightedSum
from atrous.types import SegOutput


def test_adds_weighted_losses_and_heads() -> None:
    (logits, mask), (aux, _) = batch(0, (3, 4)), batch(1)
    found = WeightedSum(
        losses={"ce": CrossEntropy(aux_weight=7), "dice": Dice()}, weights={"dice": 0.5, "ce": 2}, aux_weight=0.25
    )(SegOutput(logits, (aux,)), mask)
    heads = [2 * CrossEntropy()(SegOutput(head), mask) + 0.5 * Dice()(SegOutput(head), mask) for head in (logits, aux)]
    assert found.item() == pytest.approx((heads[0] + 0.25 * heads[1]).item(), rel=1e-6)


def test_class_weights_move_with_it() -> None:
    loss = WeightedSum(losses={"ce": CrossEntropy(class_weights=[1, 2])}, weights={"ce": 1}).to("meta")
    assert [buffer.device.type for buffer in loss.buffers()] == ["meta"]


def test_gradients() -> None:
    logits, mask = batch(2, (3, 4))
    loss = WeightedSum(losses={"ce": CrossEntropy(), "dice": Dice()}, weights={"ce": 1, "dice": 3})
    assert torch.autograd.gradcheck(lambda x: loss(SegOutput(x), mask), logits.double().requires_grad_())


@pytest.mark.parametrize("weights", [{"ce": 1, "dice": 1}, {}, {"cross": 1}])
def test_names_that_differ(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"loss\.losses has ce and loss\.weights .*; give at least one loss, and one"):
        WeightedSum(losses={"ce": CrossEntropy()}, weights=weights)


def test_no_loss() -> None:
    with pytest.raises(ConfigError, match=r"loss\.losses has no loss and loss\.weights none"):
        WeightedSum(losses={}, weights={})


def test_negative_weight() -> None:
    with pytest.raises(ValueError, match=r"weights\.ce -1 is negative; give 0 or more"):
        WeightedSum(losses={"ce": CrossEntropy()}, weights={"ce": -1})
