"""What a search may draw: Hydra's sweep syntax as plain distributions, and what is drawn as overrides again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, Sweep

from atrous.config.values import NonNegativeInt, PositiveInt, checked
from atrous.errors import ConfigError

PRUNING = ("after_trials", "after_validations")
DIGITS = 4  # of a number from an interval: settings can be read, and training does not tell 0.0031623 from 0.003162


@dataclass(frozen=True)
class Choice:
    """One of some values.

    Args:
        values: As they are written in overrides.
    """

    values: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A number.

    Args:
        low: The least; whole numbers are drawn where both ends are `int`.
        high: The greatest.
        step: Between two numbers; None: any is drawn.
        log: Whether it is drawn by its logarithm.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False


Space = dict[str, Choice | Number]  # by the overrides' keys


def check_settings(*, trials: Any, jobs: Any, seed: Any, pruning: Any) -> None:
    """Refuses impossible settings of hydra.sweeper.

    Raises:
        ConfigError: Naming the key, its value, and what is possible.
    """
    for key, value, kind in (
        ("trials", trials, PositiveInt),
        ("jobs", jobs, PositiveInt),
        ("seed", seed, NonNegativeInt),
    ):
        checked(f"hydra.sweeper.{key}", value, kind)
    if pruning is None:
        return
    if not isinstance(pruning, Mapping) or set(pruning) != set(PRUNING):
        raise ConfigError(
            f"hydra.sweeper.pruning={pruning} is impossible; give {' and '.join(PRUNING)}, such as "
            "'hydra.sweeper.pruning={after_trials:5,after_validations:1}', or null for none."
        )
    for key in PRUNING:
        checked(f"hydra.sweeper.pruning.{key}", pruning[key], NonNegativeInt)


def read_space(overrides: Sequence[Override]) -> tuple[list[str], Space]:
    """Divides overrides into those that stay and those to be searched. Of two with one key the later counts.

    Returns:
        The first as they were written, and the distributions of the others.

    Raises:
        ConfigError: If nothing is to be searched, or what is can't be.
    """
    latest = {override.get_key_element(): override for override in overrides}
    fixed = [str(override.input_line) for override in latest.values() if not override.is_sweep_override()]
    space = {key: _distribution(override) for key, override in latest.items() if override.is_sweep_override()}
    if not space:
        raise ConfigError(
            "there is nothing to search: no setting has an interval, a range or several values. Give some, such as "
            "'optimizer.lr=tag(log,interval(1e-4,1e-1))' or model=unet,deeplabv3plus_small."
        )
    return fixed, space


def written(space: Space, drawn: Mapping[str, Any]) -> dict[str, str]:
    """What was drawn as overrides' values by their keys, numbers from intervals rounded within their bounds."""
    return {key: _text(distribution, drawn[key]) for key, distribution in space.items()}


def first_points(space: Space) -> Iterator[dict[str, str]]:
    """The first value of everything, and that with each other choice: what has to compose before anything is trained."""
    first = {
        key: distribution.values[0] if isinstance(distribution, Choice) else _text(distribution, distribution.low)
        for key, distribution in space.items()
    }
    yield first
    for key, distribution in space.items():
        if isinstance(distribution, Choice):
            yield from ({**first, key: value} for value in distribution.values[1:])


def size(space: Space) -> float:
    """How many different settings there are; infinite where an interval is among them."""
    return math.prod(_count(distribution) for distribution in space.values())


def _count(distribution: Choice | Number) -> float:
    if isinstance(distribution, Choice):
        return len(distribution.values)
    return (
        math.inf if distribution.step is None else round((distribution.high - distribution.low) / distribution.step) + 1
    )


def _distribution(override: Override) -> Choice | Number:
    sweep: Any = override.value()
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    log = tags == {"log"}
    if tags and not log:
        raise ConfigError(f"{override.input_line} has the tags {sorted(tags)}; a search knows log alone.")
    if isinstance(sweep, IntervalSweep):
        low, high = sweep.start, sweep.end
        if low >= high:
            raise ConfigError(f"{override.input_line} is empty; give the smaller number first.")
        _check_log(override, log, low)
        whole = isinstance(low, int) and isinstance(high, int)  # int(interval(...))
        return Number(low, high, 1, log) if whole else Number(float(low), float(high), None, log)
    if override.is_range_sweep():
        values: Any = sorted(override.sweep_iterator())
        if not values:
            raise ConfigError(f"{override.input_line} holds no number; the end is left out, as in Python.")
        _check_log(override, log, values[0])
        step = values[1] - values[0] if len(values) > 1 else 1
        if log and step != 1:
            raise ConfigError(f"{override.input_line}: a range is drawn by its logarithm in steps of 1 alone.")
        if all(isinstance(value, int) for value in values):
            return Number(values[0], values[-1], step, log)
        return Number(float(values[0]), float(values[-1]), None if log else float(f"{step:.10g}"), log)
    if log:
        raise ConfigError(f"{override.input_line}: choices have no logarithm; give an interval or a range.")
    if isinstance(sweep, ChoiceSweep):
        sweep.shuffle = False  # the sampler does
    return Choice(tuple(dict.fromkeys(override.sweep_string_iterator())))


def _check_log(override: Override, log: bool, low: float) -> None:
    if log and low <= 0:
        raise ConfigError(f"{override.input_line} begins at {low}, which has no logarithm; begin above 0.")


def _text(distribution: Choice | Number, value: Any) -> str:
    if isinstance(distribution, Choice) or not isinstance(value, float):
        return str(value)
    if distribution.step is not None:
        return f"{value:.10g}"
    return str(min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high))
