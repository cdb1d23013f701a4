"""Learning-rate schedules: (step, total_steps) -> the factor, 0 to 1, on every group's learning rate.

Steps count optimizer steps, from 0. All of them start with a linear warm-up, see `_warmup`. Its length is a fraction of
the run, so that it suits short and long runs alike, or a number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from atrous.errors import ConfigError


def poly(
    step: int,
    total_steps: int,
    *,
    power: float = 0.9,
    end_factor: float = 0.0,
    warmup_fraction: float = 0.0,
    warmup_steps: int | None = None,
    warmup_ratio: float | None = None,
) -> float:
    """(1 - step / total_steps) ** power: from 1 at the start to 0 at the end, or to `end_factor`.

    Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and
    Fully Connected CRFs", TPAMI 2018, section 4.1, with power 0.9.

    Args:
        step: 0 to `total_steps`; the factor stays what it is at the end from there on.
        total_steps: Steps of the run, at least 1.
        power: More than 0; 1 is a straight line.
        end_factor: What the factor ends at, 0 to 1. The curve is shrunk to what is above it, as by `min_lr` in
            mmsegmentation.
        warmup_fraction: Share of the run that is warm-up, 0 to less than 1.
        warmup_steps: Length of the warm-up instead of `warmup_fraction`, 0 or more; None leaves it to the fraction.
        warmup_ratio: The warm-up's first factor, 0 to 1; None starts one of its equal steps above 0.

    Raises:
        ConfigError: If a setting is out of its range.
    """
    if power <= 0:
        raise ConfigError(f"scheduler.power={power} is out of range; give more than 0, such as 0.9.")
    warmup = _warmup(step, _warmup_length(total_steps, warmup_fraction, warmup_steps), warmup_ratio)
    return warmup * _above(end_factor, math.pow(1 - _progress(step, total_steps), power))


def cosine(
    step: int,
    total_steps: int,
    *,
    end_factor: float = 0.0,
    warmup_fraction: float = 0.0,
    warmup_steps: int | None = None,
    warmup_ratio: float | None = None,
) -> float:
    """(1 + cos(pi * step / total_steps)) / 2: from 1 at the start to 0 at the end, or to `end_factor`.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5,
    without restarts. Arguments and errors are those of `poly`.
    """
    warmup = _warmup(step, _warmup_length(total_steps, warmup_fraction, warmup_steps), warmup_ratio)
    return warmup * _above(end_factor, _half_cosine(_progress(step, total_steps)))


def step_decay(
    step: int,
    total_steps: int,
    *,
    milestones: Sequence[float] = (1 / 3, 2 / 3),
    gamma: float = 0.1,
    warmup_fraction: float = 0.0,
    warmup_steps: int | None = None,
    warmup_ratio: float | None = None,
) -> float:
    """1, and `gamma` times less from each milestone on.

    Source: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs", ICLR 2015:
    a tenth after every 2,000 steps; the thirds of the run are ours. Other arguments and errors are those of `poly`.

    Args:
        milestones: Where the rate drops, ascending: below 1 shares of the run, from 1 on steps.
        gamma: More than 0, up to 1.
    """
    if not 0 < gamma <= 1:
        raise ConfigError(f"scheduler.gamma={gamma} is out of range; give more than 0, up to 1, such as 0.1.")
    if any(milestone <= 0 or (milestone >= 1 and milestone != int(milestone)) for milestone in milestones):
        raise ConfigError(
            f"scheduler.milestones={list(milestones)} is impossible; give shares of the run between 0 and 1, or whole "
            "numbers of steps, such as 'scheduler.milestones=[0.6,0.9]' or [24000,36000]."
        )
    warmup = _warmup(step, _warmup_length(total_steps, warmup_fraction, warmup_steps), warmup_ratio)
    drops = [round(milestone * total_steps) if milestone < 1 else milestone for milestone in milestones]
    return warmup * math.pow(gamma, sum(step >= drop for drop in drops))


def one_cycle(
    step: int,
    total_steps: int,
    *,
    anneal: str = "linear",
    three_phase: bool = True,
    end_factor: float = 4e-6,
    warmup_fraction: float = 0.45,
    warmup_steps: int | None = None,
    warmup_ratio: float = 0.04,
) -> float:
    """Up from `warmup_ratio` to 1 during the warm-up, and down to `end_factor` at the last step.

    Source: Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
    2018, https://arxiv.org/abs/1708.07120. The momentum stays what it is. The factors are those of torch's `OneCycleLR`,
    whose `div_factor` 25 is our `warmup_ratio` 0.04, and `final_div_factor` 10,000 our `end_factor` 4e-6.

    Args:
        step, total_steps: As for `poly`.
        anneal: The shape of each phase, "linear" as in the paper or "cosine".
        three_phase: Whether it comes down as it went up, as in the paper, and goes to `end_factor` in the steps that
            are left; otherwise it goes there straight from 1.
        end_factor: 0 to 1.
        warmup_fraction: Share of the run that the rise takes, 0 to less than 1, in three phases at most a half.
        warmup_steps: Length of the rise instead of `warmup_fraction`; None leaves it to the fraction.
        warmup_ratio: The first factor, 0 to 1.

    Raises:
        ConfigError: If a setting is out of its range.
    """
    shapes: dict[str, Callable[[float], float]] = {"linear": lambda progress: 1 - progress, "cosine": _half_cosine}
    if anneal not in shapes:
        raise ConfigError(f"scheduler.anneal={anneal} is unknown; give linear or cosine.")
    rise = _warmup_length(total_steps, warmup_fraction, warmup_steps)
    last = total_steps - 1
    low, end = _factor("warmup_ratio", warmup_ratio), _factor("end_factor", end_factor)
    points = [(0, low), (rise, 1.0), (last, end)]
    if three_phase:
        if 2 * rise > total_steps + 1:
            raise ConfigError(
                f"scheduler: a rise of {rise} steps leaves no room to come down in a run of {total_steps}; make "
                "warmup_fraction 0.5 at most, or give scheduler.three_phase=false."
            )
        points.insert(2, (2 * rise, low))
    for (start, before), (stop, after) in pairwise(points):
        if step < stop:
            return after + (before - after) * shapes[anneal]((step - start) / (stop - start))
    return 1.0 if last <= rise == step else end  # a run that ends with its rise, such as one of a single step


def constant(
    step: int,
    total_steps: int,
    *,
    warmup_fraction: float = 0.0,
    warmup_steps: int | None = None,
    warmup_ratio: float | None = None,
) -> float:
    """1 at every step after the warm-up. Arguments and errors are those of `poly`."""
    return _warmup(step, _warmup_length(total_steps, warmup_fraction, warmup_steps), warmup_ratio)


def _progress(step: int, total_steps: int) -> float:
    return min(step / total_steps, 1.0)


def _half_cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _above(end_factor: float, curve: float) -> float:
    """A curve from 1 to 0 as one from 1 to `end_factor`."""
    return _factor("end_factor", end_factor) + (1 - end_factor) * curve


def _factor(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"scheduler.{name}={value} is out of range; give 0 to 1 times the optimizer's rate.")
    return value


def _warmup_length(total_steps: int, fraction: float, steps: int | None) -> int:
    if total_steps < 1:
        raise ConfigError(
            f"the run has {total_steps} steps; a schedule needs at least 1. Raise trainer.max_epochs or trainer.max_steps."
        )
    if steps is not None:
        if steps != int(steps) or steps < 0:
            raise ConfigError(
                f"scheduler.warmup_steps={steps} is out of range; give a whole number from 0 on, or null to go by "
                "warmup_fraction."
            )
        return int(steps)
    if not 0 <= fraction < 1:
        raise ConfigError(
            f"scheduler.warmup_fraction={fraction} is out of range; give a share of the run, 0 to less than 1."
        )
    return round(fraction * total_steps)


def _warmup(step: int, length: int, ratio: float | None) -> float:
    """Rises in equal steps from `ratio` to 1 over `length` steps.

    It multiplies the schedule, which runs on below it, as in mmsegmentation's `warmup="linear"`.
    """
    first = 1 / (length + 1) if ratio is None else _factor("warmup_ratio", ratio)
    return 1.0 if step >= length else first + (1 - first) * step / length
