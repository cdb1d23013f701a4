"""Schedules: against closed forms and PyTorch's schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, PolynomialLR

from atrous.errors import ConfigError
from atrous.optim.schedules import constant, cosine, poly

Schedule = Callable[..., float]
SCHEDULES = [poly, cosine, constant]


def rates(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_poly_equals_pytorch(power: float) -> None:
    found = rates(lambda optimizer: LambdaLR(optimizer, lambda step: poly(step, 20, power=power)), 25)
    assert found == pytest.approx(rates(lambda optimizer: PolynomialLR(optimizer, 20, power=power), 25))


def test_cosine_equals_pytorch() -> None:
    found = rates(lambda optimizer: LambdaLR(optimizer, lambda step: cosine(step, 20)), 21)
    assert found == pytest.approx(rates(lambda optimizer: CosineAnnealingLR(optimizer, 20), 21), abs=1e-12)


def test_closed_forms() -> None:
    assert [poly(step, 4, power=2) for step in range(5)] == pytest.approx([1, 9 / 16, 1 / 4, 1 / 16, 0])
    assert [cosine(step, 3) for step in range(4)] == pytest.approx([1, 0.75, 0.25, 0])
    assert [constant(step, 3) for step in range(4)] == [1, 1, 1, 1]
    assert poly(500, 1000) == pytest.approx(math.exp(0.9 * math.log(0.5)))  # the default power


def test_warmup_rises_in_equal_steps() -> None:
    found = [constant(step, 40, warmup_fraction=0.1) for step in range(7)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_multiplies_the_schedule(schedule: Schedule) -> None:
    for step in range(101):
        expected = constant(step, 100, warmup_fraction=0.2) * schedule(step, 100)
        assert schedule(step, 100, warmup_fraction=0.2) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rises_during_warmup_then_never_again(schedule: Schedule) -> None:
    found = [schedule(step, 200, warmup_fraction=0.05) for step in range(201)]
    assert all(before < after for before, after in pairwise(found[:11]))
    assert all(before >= after for before, after in pairwise(found[10:]))
    assert all(0 <= factor <= 1 for factor in found)
    assert found[0] > 0


@pytest.mark.parametrize("schedule", [poly, cosine])
@pytest.mark.parametrize("beyond", [0, 1, 1000])
def test_stays_at_zero_from_the_end_on(schedule: Schedule, beyond: int) -> None:
    assert schedule(50 + beyond, 50, warmup_fraction=0.1) == 0


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("total_steps", [1, 2])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.5, 0.999])
def test_the_shortest_runs_have_a_rate(schedule: Schedule, total_steps: int, warmup_fraction: float) -> None:
    assert 0 < schedule(0, total_steps, warmup_fraction=warmup_fraction) <= 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_impossible_settings(schedule: Schedule) -> None:
    for fraction in (-0.1, 1.0, 500):
        with pytest.raises(ConfigError, match=rf"warmup_fraction={fraction} is out of range; give a share of the run"):
            schedule(0, 100, warmup_fraction=fraction)
    with pytest.raises(ConfigError, match=r"the run has 0 steps; a schedule needs at least 1"):
        schedule(0, 0)


def test_impossible_power() -> None:
    with pytest.raises(ConfigError, match=r"scheduler\.power=0 is out of range; give more than 0"):
        poly(0, 100, power=0)
