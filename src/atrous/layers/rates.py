"""Checks of atrous rates."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.errors import ConfigError


def is_rates(value: object) -> bool:
    """Whether a value is a sequence of positive integers, at least one."""
    return isinstance(value, Sequence) and bool(value) and all(isinstance(rate, int) and rate > 0 for rate in value)


def check_dilations(dilations: Sequence[int]) -> None:
    """Checks rates of atrous convolutions.

    Raises:
        ConfigError: If there are none, or one is not a positive integer.
    """
    if not is_rates(dilations):
        raise ConfigError(
            f"dilations {dilations} must be positive integers, at least one; give for instance dilations=[6,12,18]"
        )
