"""What a search may draw: Hydra's sweep syntax as Optuna's distributions, and what is drawn as overrides again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, Sweep

from atrous.errors import ConfigError
from atrous.studies.trials import import_optuna

PRUNING = ("after_trials", "after_validations")
DIGITS = 4  # of a number from an interval: settings can be read, and training does not tell 0.0031623 from 0.003162
Space = dict[str, Any]  # Optuna's distributions by their overrides' keys


def check_settings(*, trials: Any, jobs: Any, seed: Any, pruning: Any) -> None:
    """Refuses impossible settings of hydra.sweeper.

    Raises:
        ConfigError: Naming the key, its value, and what is possible.
    """
    for key, value, least in (("trials", trials, 1), ("jobs", jobs, 1), ("seed", seed, 0)):
        _check_whole(key, value, least)
    if pruning is None:
        return
    if not isinstance(pruning, Mapping) or set(pruning) != set(PRUNING):
        raise ConfigError(
            f"hydra.sweeper.pruning={pruning} is impossible; give {' and '.join(PRUNING)}, such as "
            "'hydra.sweeper.pruning={after_trials:5,after_validations:1}', or null for none."
        )
    for key in PRUNING:
        _check_whole(f"pruning.{key}", pruning[key], 0)


def read_space(overrides: Sequence[Override]) -> tuple[list[str], Space]:
    """Divides overrides into those that stay and those to be searched. Of two with one key the later counts.

    Returns:
        The first as they were written, and Optuna's distributions of the others.

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
    first = {key: dist.choices[0] if _is_choice(dist) else _text(dist, dist.low) for key, dist in space.items()}
    yield first
    for key, distribution in space.items():
        if _is_choice(distribution):
            yield from ({**first, key: choice} for choice in distribution.choices[1:])


def size(space: Space) -> float:
    """How many different settings there are; infinite where an interval is among them."""
    return float(math.prod(_count(distribution) for distribution in space.values()))


def _count(distribution: Any) -> float:
    if _is_choice(distribution):
        return len(distribution.choices)
    if distribution.step is None:
        return math.inf
    steps: int = round((distribution.high - distribution.low) / distribution.step)
    return steps + 1


def _check_whole(key: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"hydra.sweeper.{key}={value} is impossible; give a whole number from {least} on.")


def _distribution(override: Override) -> Any:
    distributions = import_optuna().distributions
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
        if isinstance(low, int) and isinstance(high, int):  # int(interval(...))
            return distributions.IntDistribution(low, high, log=log)
        return distributions.FloatDistribution(low, high, log=log)
    if override.is_range_sweep():
        values: Any = sorted(override.sweep_iterator())
        if not values:
            raise ConfigError(f"{override.input_line} holds no number; the end is left out, as in Python.")
        _check_log(override, log, values[0])
        step = values[1] - values[0] if len(values) > 1 else 1
        if log and step != 1:
            raise ConfigError(f"{override.input_line}: a range is drawn by its logarithm in steps of 1 alone.")
        if all(isinstance(value, int) for value in values):
            return distributions.IntDistribution(values[0], values[-1], log=log, step=step)
        if log:
            return distributions.FloatDistribution(values[0], values[-1], log=True)
        return distributions.FloatDistribution(values[0], values[-1], step=float(f"{step:.10g}"))
    if log:
        raise ConfigError(f"{override.input_line}: choices have no logarithm; give an interval or a range.")
    if isinstance(sweep, ChoiceSweep):
        sweep.shuffle = False  # the sampler does
    return distributions.CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))


def _check_log(override: Override, log: bool, low: float) -> None:
    if log and low <= 0:
        raise ConfigError(f"{override.input_line} begins at {low}, which has no logarithm; begin above 0.")


def _is_choice(distribution: Any) -> bool:
    return hasattr(distribution, "choices")


def _text(distribution: Any, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if distribution.step is not None:
        return f"{value:.10g}"
    return str(min(max(float(f"{value:.{DIGITS}g}"), distribution.low), distribution.high))
