"""Checks a part's settings by the signature of what its `_target_` names, so that none fails as a TypeError in the middle."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object

from atrous.config.messages import check_name
from atrous.config.values import Part, checked, takes_text
from atrous.errors import ConfigError

_LIBRARIES = ("atrous.", "lightning.")  # whose signatures mean what they say


def check_signatures(config: Any, key: str = "") -> None:
    """Refuses settings that the parts in a resolved config can't take. Imports these parts.

    Args:
        config: A part of a run's config, with or without a `_target_`; the parts in it are checked, too.
        key: Where it is in the run's config, such as "model"; "": it is the whole.

    Raises:
        ConfigError: Naming the key, the value and what is possible.
    """
    if isinstance(config, list):
        for index, item in enumerate(config):
            check_signatures(item, f"{key}[{index}]")
    if not isinstance(config, dict):
        return
    hints, takes_more = _hints(str(config.get("_target_", "")))
    for name, value in config.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, dict) and "_target_" in value:
            check_signatures(value, path)
        elif name in hints:
            if isinstance(value, str) and Part in (hints[name], *get_args(hints[name])) and not takes_text(hints[name]):
                raise ConfigError(
                    f"{path}={value} would take the place of all settings of {path}; give one of these, such as "
                    f"{path}.name={value}."
                )
            checked(path, value, hints[name])
            check_signatures(value, path)
        else:
            if not takes_more and not str(name).startswith("_"):
                check_name(f"setting of {key}", str(name), sorted(hints))
            check_signatures(value, path)


def _hints(target: str) -> tuple[dict[str, Any], bool]:
    """What the arguments of an import path may be, and whether it takes others, too."""
    if not target.startswith(_LIBRARIES):
        return {}, True
    try:
        found = get_object(target)
        function = found.__init__ if inspect.isclass(found) else found
        parameters = dict(inspect.signature(function).parameters)
        hints = get_type_hints(function, include_extras=True)
    except Exception:  # it can't be imported, which building it says, or annotates what is not there
        return {}, True
    kinds = {name: hints.get(name, Any) for name, parameter in parameters.items()}
    more = [name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD]
    for name in more:
        kind = kinds.pop(name)
        if get_origin(kind) is typing.Unpack:
            kinds |= get_type_hints(get_args(kind)[0], include_extras=True)
            more = []
    return {name: _kind(kind) for name, kind in kinds.items() if name != "self"}, bool(more)


def _kind(hint: Any) -> Any:
    """A type hint as a kind of `atrous.config.values`: classes that no yaml can write are parts."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_kind(parts[0]), *parts[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_kind, parts))]  # noqa: UP007 - of a number of types known only here
    if origin in (list, Sequence):
        return list[_kind(parts[0])]  # type: ignore[misc]
    if origin is tuple and Ellipsis not in parts:
        return tuple[tuple(map(_kind, parts))]  # type: ignore[misc]
    if origin in (dict, Mapping):
        return dict
    if origin is Literal or hint in (int, float, bool, str, Path, types.NoneType, Any):
        return hint
    return Part
