"""Learning-rate schedules: (step, total_steps) -> the factor, 0 to 1, on every group's learning rate.

Steps count optimizer steps, from 0. All of them start with the linear warm-up of `_warmup`, whose length is a fraction
of the run, so that it suits short and long runs alike.
"""

from __future__ import annotations

import math

from atrous.errors import ConfigError


def poly(step: int, total_steps: int, *, power: float = 0.9, warmup_fraction: float = 0.0) -> float:
    """(1 - step / total_steps) ** power: 1 at the start, 0 at the end.

    Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and
    Fully Connected CRFs", TPAMI 2018, section 4.1, with power 0.9.

    Args:
        step: 0 to `total_steps`; the factor stays at 0 from there on.
        total_steps: Steps of the run, at least 1.
        power: More than 0; 1 is a straight line.
        warmup_fraction: Share of the run that is warm-up, 0 to less than 1.

    Raises:
        ConfigError: If a setting is out of its range.
    """
    if power <= 0:
        raise ConfigError(f"scheduler.power={power} is out of range; give more than 0, such as 0.9.")
    return _warmup(step, total_steps, warmup_fraction) * math.pow(1 - _progress(step, total_steps), power)


def cosine(step: int, total_steps: int, *, warmup_fraction: float = 0.0) -> float:
    """(1 + cos(pi * step / total_steps)) / 2: 1 at the start, 0 at the end.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5,
    without restarts. Arguments and errors are those of `poly`.
    """
    return _warmup(step, total_steps, warmup_fraction) * (1 + math.cos(math.pi * _progress(step, total_steps))) / 2


def constant(step: int, total_steps: int, *, warmup_fraction: float = 0.0) -> float:
    """1 at every step after the warm-up. Arguments and errors are those of `poly`."""
    return _warmup(step, total_steps, warmup_fraction)


def _progress(step: int, total_steps: int) -> float:
    return min(step / total_steps, 1.0)


def _warmup(step: int, total_steps: int, fraction: float) -> float:
    """Rises in equal steps to 1 over round(fraction * total_steps) steps; its first is above 0.

    It multiplies the schedule, which runs on below it, as in mmsegmentation's `warmup="linear"`.
    """
    if total_steps < 1:
        raise ConfigError(f"the run has {total_steps} steps; a schedule needs at least 1. Raise trainer.max_epochs.")
    if not 0 <= fraction < 1:
        raise ConfigError(
            f"scheduler.warmup_fraction={fraction} is out of range; give a share of the run, 0 to less than 1."
        )
    return min((step + 1) / (round(fraction * total_steps) + 1), 1.0)
