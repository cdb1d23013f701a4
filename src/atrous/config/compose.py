"""The door to Hydra: from words on a command line to a config, and from a config to objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from atrous.config.checks import check_config
from atrous.errors import ConfigError

_PACKAGED = Path(__file__).parents[1] / "conf"
# The second one: an editable install.
CONF_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"


def prepare() -> None:
    """Registers our resolvers and sets the environment that imports further down read."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks a registry at import otherwise
    OmegaConf.register_new_resolver("len", len, replace=True)
    OmegaConf.register_new_resolver("or", lambda *values: next(filter(None, values), None), replace=True)


def compose(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """`conf/<name>.yaml` with the overrides; interpolations are not resolved yet, and some need a run."""
    prepare()
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg: DictConfig = hydra.compose(name, overrides=list(overrides))
        return cfg


def compose_groups(
    overrides: Sequence[str], groups: Sequence[str] = ("model", "data", "optimizer", "trainer")
) -> dict[str, Any]:
    """The groups of a training's config that building a network takes, checked; the others may lack values."""
    cfg = compose("train", overrides)
    config: dict[str, Any] = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in groups}
    check_config(config)
    return config


def compose_job(overrides: Sequence[str], config: DictConfig, loader: Any) -> dict[str, Any]:
    """The resolved config of a multirun's job, as the job itself has it, but that its run folder is called `run`.

    Args:
        overrides: The job's.
        config: The multirun's own config.
        loader: Hydra's config loader.
    """
    cfg = loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = "run"
        task = cfg.copy()
        del task["hydra"]
    with hydra_config(cfg):
        return resolved(task)


@contextmanager
def hydra_config(cfg: DictConfig) -> Iterator[None]:
    """Resolves `${hydra:...}` from `cfg` meanwhile."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


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


def instantiate(options: Any, **objects: Any) -> Any:
    """Builds what `options["_target_"]` names; its nested configs are built first, its lists and mappings are plain.

    Args:
        options: A config.
        objects: Further arguments, which are handed over as they are.
    """
    if not objects:
        return hydra_instantiate(options, _convert_="all")
    return hydra_instantiate(options, _convert_="all", _partial_=True)(**objects)
