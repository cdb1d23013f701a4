"""Where the configs are, and what a composed one comes to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from atrous.errors import ConfigError

_PACKAGED = Path(__file__).parents[1] / "conf"


CONF_DIR = (
    _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"
)  # the second one: an editable install


def prepare() -> None:
    """Registers our resolvers and sets the environment that imports further down read."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks a registry at import otherwise
    OmegaConf.register_new_resolver("len", len, replace=True)
    OmegaConf.register_new_resolver("or", lambda *values: next(filter(None, values), None), replace=True)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain containers, interpolations replaced.

    Raises:
        ConfigError: If a required value (`???`) is not given.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(
            f"no value for {', '.join(missing)}. Give it on the command line, such as {missing[0]}=..., or in a yaml."
        )
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)  # a composed config is a mapping
    return {str(key): value for key, value in plain.items()}


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """The groups of a training's config that building a network takes; values that only a training needs may be missing."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from atrous.config.checks import check_config

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("train", overrides=list(overrides))
    groups = ("model", "data", "optimizer", "trainer")
    config: dict[str, Any] = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in groups}
    check_config(config)
    return config
