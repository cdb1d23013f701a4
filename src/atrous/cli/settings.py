"""A command's own settings, and the words meant for a checkpoint's config."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from atrous.config.compose import CONF_DIR, compose, resolved


def own_settings(command: str, argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Splits `argv` into the settings of `conf/<command>.yaml` and the overrides meant for the checkpoint's config.

    Prints the yaml and leaves where help is asked for.
    """
    yaml = CONF_DIR / f"{command}.yaml"
    if set(argv) & {"-h", "--help"}:
        print(yaml.read_text(), end="")
        sys.exit(0)
    keys = set(OmegaConf.load(yaml))
    own = [argument for argument in argv if _key(argument) in keys]
    return resolved(compose(command, own)), [argument for argument in argv if argument not in own]


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+").partition(".")[0]
