"""The names of a data set's classes as a user gives them: a list, or a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import MISSING

from atrous.errors import ConfigError

_EXAMPLE = (
    "give a list such as 'data.class_names=[background,cell]', or a text file with a name in each line, "
    "data.class_names=FILE"
)


def class_names(given: Any) -> list[str]:
    """The names in the order of their indices.

    Args:
        given: A list of names, or the path of a text file in UTF-8 with one in each line; empty lines are left out.

    Raises:
        ConfigError: If it is neither, or names none.
    """
    if given is None or given == MISSING:
        raise ConfigError(f"no value for data.class_names; {_EXAMPLE}.")
    if isinstance(given, str):
        path = Path(given)
        if not path.is_file():
            raise ConfigError(f"data.class_names={given} is neither a list nor a file; {_EXAMPLE}.")
        try:
            given = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"data.class_names={path} is no text file in UTF-8: {error}. Save it as such.") from error
    if not isinstance(given, list) or not given or any(isinstance(name, list | dict) or name is None for name in given):
        raise ConfigError(f"data.class_names={given} names no classes; {_EXAMPLE}.")
    return [str(name) for name in given]
