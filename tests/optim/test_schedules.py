"""Schedules: against closed forms and PyTorch's schedulers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
)

from atrous.errors import ConfigError
from atrous.optim.schedules import constant, cosine, one_cycle, poly, step_decay

Schedule = Callable[..., float]
SCHEDULES = [poly, cosine, step_decay, constant]  # which the warm-up multiplies


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


def test_cosine_to_a_rate_above_zero_equals_pytorch() -> None:
    found = rates(lambda optimizer: LambdaLR(optimizer, lambda step: cosine(step, 20, end_factor=0.25)), 21)
    assert found == pytest.approx(rates(lambda optimizer: CosineAnnealingLR(optimizer, 20, eta_min=0.25), 21))


def test_poly_to_a_rate_above_zero_as_in_mmsegmentation() -> None:
    """(base - min) * coefficient + min; here with base 0.01 and min 1e-4, as in its 40k iterations."""
    for step in (0, 1, 20_000, 39_999, 40_000):
        expected = (0.01 - 1e-4) * (1 - step / 40_000) ** 0.9 + 1e-4
        assert 0.01 * poly(step, 40_000, end_factor=0.01) == pytest.approx(expected)


@pytest.mark.parametrize("milestones", [[0.25, 0.75], [5, 15], [0.25, 15]])
def test_step_equals_pytorch(milestones: list[float]) -> None:
    found = rates(
        lambda optimizer: LambdaLR(optimizer, lambda step: step_decay(step, 20, milestones=milestones, gamma=0.2)), 25
    )
    assert found == pytest.approx(rates(lambda optimizer: MultiStepLR(optimizer, [5, 15], gamma=0.2), 25))


def test_step_by_default_is_a_tenth_after_each_third() -> None:
    found = [step_decay(step, 6000) for step in (0, 1999, 2000, 3999, 4000, 5999)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("three_phase", [True, False])
@pytest.mark.parametrize("anneal", ["linear", "cosine"])
@pytest.mark.parametrize(("total_steps", "rise"), [(40, 15), (40, 11), (9, 3), (100, 45)])
def test_one_cycle_equals_pytorch(total_steps: int, rise: int, anneal: str, three_phase: bool) -> None:
    """torch's peak is at step `pct_start * total_steps - 1`, ours at the end of a warm-up of that many steps."""
    found = [
        one_cycle(step, total_steps, anneal=anneal, three_phase=three_phase, warmup_steps=rise)
        for step in range(total_steps)
    ]
    expected = rates(
        lambda optimizer: OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=total_steps,
            pct_start=(rise + 1) / total_steps,
            anneal_strategy={"linear": "linear", "cosine": "cos"}[anneal],
            three_phase=three_phase,
            cycle_momentum=False,
        ),
        total_steps,
    )
    assert found == pytest.approx(expected)
    assert found[rise] == 1
    assert found[-1] == pytest.approx(0.04 / 1e4)


def test_one_cycle_by_default() -> None:
    found = [one_cycle(step, 101) for step in (0, 45, 90, 100, 101, 1000)]
    assert found == pytest.approx([0.04, 1, 0.04, 4e-6, 4e-6, 4e-6])


def test_warmup_by_steps_from_a_ratio_equals_pytorch() -> None:
    """mmsegmentation's 1,500 steps from 1e-6."""
    found = [constant(step, 40_000, warmup_fraction=0.5, warmup_steps=1500, warmup_ratio=1e-6) for step in range(1600)]
    expected = rates(lambda optimizer: LinearLR(optimizer, start_factor=1e-6, total_iters=1500), 1600)
    assert found == pytest.approx(expected)


def test_a_warmup_without_ratio_equals_pytorchs_from_one_of_its_steps() -> None:
    found = [constant(step, 100, warmup_steps=9) for step in range(20)]
    assert found == pytest.approx(rates(lambda optimizer: LinearLR(optimizer, start_factor=0.1, total_iters=9), 20))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_warmup_longer_than_the_run(schedule: Schedule) -> None:
    """A recipe tried for a few steps."""
    assert schedule(1, 4, warmup_steps=1500, warmup_ratio=0.0) == pytest.approx(schedule(1, 4) / 1500)


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


@pytest.mark.parametrize("schedule", [*SCHEDULES, functools.partial(one_cycle, three_phase=False)])
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


@pytest.mark.parametrize(
    ("schedule", "settings", "message"),
    [
        (poly, {"power": 0}, r"scheduler\.power=0 is out of range; give more than 0"),
        (poly, {"end_factor": 2}, r"scheduler\.end_factor=2 is out of range; give 0 to 1 times the optimizer's rate"),
        (poly, {"warmup_steps": -1}, r"scheduler\.warmup_steps=-1 is out of range; .*or null to go by warmup_fraction"),
        (cosine, {"warmup_steps": 0.1}, r"scheduler\.warmup_steps=0\.1 is out of range; give a whole number"),
        (constant, {"warmup_steps": 2, "warmup_ratio": -1}, r"scheduler\.warmup_ratio=-1 is out of range; give 0 to 1"),
        (step_decay, {"gamma": 0}, r"scheduler\.gamma=0 is out of range; give more than 0"),
        (step_decay, {"milestones": [1.5]}, r"scheduler\.milestones=\[1\.5\] is impossible; give shares"),
        (step_decay, {"milestones": [0]}, r"scheduler\.milestones=\[0\] is impossible; give shares"),
        (one_cycle, {"anneal": "cos"}, r"scheduler\.anneal=cos is unknown; give linear or cosine"),
        (one_cycle, {"warmup_fraction": 0.6}, r"a rise of 60 steps leaves no room .* run of 100; make warmup_fraction"),
        (one_cycle, {"warmup_ratio": 25}, r"scheduler\.warmup_ratio=25 is out of range"),
    ],
)
def test_impossible_settings_of_one_schedule(schedule: Schedule, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schedule(0, 100, **settings)
