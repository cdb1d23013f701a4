"""A loss's class weights by the name of a rule, from how many pixels each class has in the train split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from atrous.errors import ConfigError
from atrous.metrics.class_weights import Counts, Weights, effective_number, enet, labelled_around, median_frequency

RULES: dict[str, Callable[[Counts], Weights]] = {
    "median_frequency": lambda counts: median_frequency(counts.sum(0), labelled_around(counts)),
    "enet": lambda counts: enet(counts.sum(0)),
    "effective_number": lambda counts: effective_number(counts.sum(0)),
}


def named_weights(name: str, counts: Counts) -> list[float]:
    """The class weights that the rule `name` gives for (N, C) counts.

    Raises:
        ConfigError: If there is no such rule.
    """
    if name not in RULES:
        raise ConfigError(
            f"loss.class_weights={name} is no rule; choose one of {', '.join(RULES)}, or give one weight per class, or null."
        )
    return [float(weight) for weight in RULES[name](counts)]


def with_named_weights(
    loss: dict[str, Any], count: Callable[[], Counts], *, void_output: bool = False
) -> dict[str, Any]:
    """The config of a loss, also one inside another, with numbers in the place of the names of rules.

    Args:
        loss: A resolved config.
        count: Gives the train split's (N, C) counts; called once, and only if there is a name.
        void_output: Whether the network has an output for void, to which weights are lengthened: by 0, since it is no target.

    Raises:
        ConfigError: If a name is no rule.
    """
    counts: Counts | None = None

    def resolve(settings: dict[str, Any]) -> dict[str, Any]:
        nonlocal counts
        replaced = {}
        for key, value in settings.items():
            if key == "class_weights" and isinstance(value, str):
                if counts is None and value in RULES:
                    counts = count()
                value = named_weights(value, counts if counts is not None else np.zeros((0, 0), np.int64))
            if key == "class_weights" and value is not None and void_output:
                value = [*value, 0.0]
            replaced[key] = resolve(value) if isinstance(value, dict) else value
        return replaced

    return resolve(loss)
