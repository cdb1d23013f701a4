"""The command line of every command but `train`: its own settings, read as its dataclass says, and words for others."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from omegaconf import OmegaConf
from yaml import YAMLError

from atrous.config.compose import CONF_DIR, resolved
from atrous.config.values import checked, takes_list, takes_text
from atrous.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Words:
    """Marks the field that takes the words without `=`, as in `Annotated[list[Path], Words("folders of runs")]`.

    Args:
        meaning: What they are, for the message where there are none.
    """

    meaning: str


def read_settings(command: str, kind: type[T], argv: Sequence[str]) -> T:
    """Reads a command's settings: defaults from `conf/<command>.yaml`, changes from `argv`.

    Prints the yaml and leaves where help is asked for. Three fields are no keys of the yaml: `command` is the command as one
    would type it again; `overrides` are the words `key=value` whose key is not in the yaml, meant for a checkpoint's or a
    training's config; and a field marked by `Words`.

    Args:
        command: The command's name.
        kind: A dataclass whose field types are of `atrous.config.values`.
        argv: What follows the command's name.

    Raises:
        ConfigError: If a value is missing or impossible, or a key unknown.
    """
    path = CONF_DIR / f"{command}.yaml"
    if {"-h", "--help"} & set(argv):
        print(path.read_text(encoding="utf-8"), end="")
        sys.exit(0)
    hints = get_type_hints(kind, include_extras=True)
    defaults: Any = OmegaConf.load(path)
    keys = list(defaults.keys())
    given, words, overrides = dict[str, Any](), list[str](), list[str]()
    marked = {name: mark for name, hint in hints.items() for mark in get_args(hint)[1:] if isinstance(mark, Words)}
    for word in argv:
        key, equals, text = word.partition("=")
        key = key.lstrip("+")
        if equals and key in keys:
            given[key] = _parsed(key, text, hints[key])
        elif marked and not word.startswith("-") and (not equals or Path(word).exists()):
            words.append(word)
        elif "overrides" in hints:
            overrides.append(word)
        else:
            raise ConfigError(f"{command} has no setting {word!r}; choose from {', '.join(f'{key}=' for key in keys)}.")
    merged: Any = OmegaConf.merge(defaults, given)
    values = resolved(merged)
    examples: Any = OmegaConf.to_container(defaults)
    fields = {key: checked(key, values[key], hints[key], example=examples[key]) for key in keys}
    for name, mark in marked.items():
        if not words:
            raise ConfigError(f"{command} got no {mark.meaning}.")
        fields[name] = checked(name, words, get_args(hints[name])[0])
    own = {"overrides": overrides, "command": shlex.join(["python", "-m", "atrous", command, *argv])}
    return kind(**fields, **{name: value for name, value in own.items() if name in hints})


def _parsed(key: str, text: str, hint: Any) -> Any:
    is_list = text.startswith("[") and takes_list(hint)
    if takes_text(hint) and text != "null" and not is_list and not text.startswith(("'", '"')):
        return text
    try:
        return OmegaConf.from_dotlist([f"{key}={text}"])[key]
    except YAMLError:
        raise ConfigError(f"{key}={text} can't be read; a list is written '{key}=[a,b]'.") from None
