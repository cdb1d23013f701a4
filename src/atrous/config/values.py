"""What a setting's value may be, written as a type: one function checks it, one says it."""

from __future__ import annotations

import math
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from atrous.errors import ConfigError
from atrous.system.text import setting


@dataclass(frozen=True)
class Range:
    """The smallest and the largest number that are possible, as in `Annotated[int, Range(1)]`."""

    least: float
    most: float = math.inf


@dataclass(frozen=True)
class NotEmpty:
    """A list that holds something, or a text."""


class Part:
    """What a config builds by a `_target_`: as a kind, anything that has one."""


@dataclass(frozen=True)
class Help:
    """How a message describes the possible values, where the type alone does not say it well."""

    text: str


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
Text = Annotated[str, NotEmpty()]
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
Split = Literal["train", "val", "test"]
Size = Annotated[tuple[PositiveInt, PositiveInt], Help("[height,width] in pixels, such as [512,1024]")]


def checked(key: str, value: Any, kind: Any, *, example: Any = None) -> Any:
    """A value as the type that it should have: strings become paths, lists of a fixed length tuples.

    Args:
        key: What the message calls it.
        value: Out of a yaml file or the command line.
        kind: `int`, `float` (takes whole numbers, too), `bool`, `str`, `Path`, `dict`, `Any`, `Part`, a `Literal`, a list, a
            tuple, a union, or one of these `Annotated` with `Range`, `NotEmpty` or `Help`.
        example: A value that is possible, for the message.

    Raises:
        ConfigError: Naming the key, the value and what is possible.
    """
    try:
        return _converted(value, kind)
    except ValueError:
        such = "" if example in (None, "???") else f", such as '{key}={setting(example)}'"
        shown = value if isinstance(value, float) else setting(value)  # 1.0 where a whole number is asked for
        raise ConfigError(f"{key}={shown} is impossible; give {described(kind)}{such}.") from None


def described(kind: Any) -> str:
    """The possible values in words, as they follow "give"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        for limit in sorted(parts[1:], key=lambda limit: not isinstance(limit, Help)):
            if isinstance(limit, Help):
                return limit.text
            if isinstance(limit, NotEmpty):
                return f"{described(parts[0])}, not empty"
            end = "on" if limit.most == math.inf else f"to {limit.most}"
            return f"{described(parts[0])} from {limit.least} {end}"
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (Union, types.UnionType):
        return ", or ".join(dict.fromkeys(described(part) for part in parts))
    if origin is tuple:
        return f"a list of {len(parts)}, each {described(parts[0])}"
    if origin is list:
        return f"a list, each {described(parts[0])}"
    return _NAMES[kind]


_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    dict: "settings as {name:value,...}",
    Part: "settings with a _target_",
    types.NoneType: "null",
}


def takes_text(kind: Any) -> bool:
    """Whether a word of the command line can be the value as it stands."""
    return kind in (str, Path) or (get_origin(kind) is not list and any(map(takes_text, get_args(kind))))


def takes_list(kind: Any) -> bool:
    """Whether a list of any length can be the value."""
    return get_origin(kind) is list or any(map(takes_list, get_args(kind)))


def _converted(value: Any, kind: Any) -> Any:
    """Raises ValueError where the value is none of its kind."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = _converted(value, parts[0])
        limits = [limit for limit in parts[1:] if isinstance(limit, Range)]
        in_range = all(math.isfinite(value) and limit.least <= value <= limit.most for limit in limits)
        empty = not (value.strip() if isinstance(value, str) else value)
        if in_range and not (empty and any(isinstance(limit, NotEmpty) for limit in parts[1:])):
            return value
    elif origin in (Union, types.UnionType):
        for part in parts:
            try:
                return _converted(value, part)
            except ValueError:
                continue
    elif origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in parts):
            return value
    elif origin is list:
        if isinstance(value, list):
            return [_converted(item, parts[0]) for item in value]
    elif origin is tuple:
        if isinstance(value, list | tuple) and len(value) == len(parts):
            return tuple(map(_converted, value, parts))
    elif kind is Path:
        if isinstance(value, str | Path) and str(value).strip():
            return Path(value)
    elif kind is Part:
        if isinstance(value, dict) and "_target_" in value:
            return value
    elif kind is Any or type(value) is kind or (kind is float and type(value) is int):
        return value
    elif kind is types.NoneType and value is None:
        return None
    raise ValueError(value)
