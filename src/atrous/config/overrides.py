"""A command that works on a checkpoint: its own settings, and changes to the config that the checkpoint carries."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from atrous.config.compose import CONF_DIR, compose, resolved
from atrous.config.trust import own_config
from atrous.errors import ConfigError


def with_overrides(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The checkpoint's config with `overrides` applied, each `key=value` as on `train`'s command line.

    `data=NAME` and the like replace a whole group by the one in `conf/`. The config is anybody's, the overrides are the
    user's; see `own_config`.

    Raises:
        CheckpointError: If the config is none that a run leaves.
        ConfigError: If a key is not in the config.
    """
    cfg = OmegaConf.create(own_config(config))
    OmegaConf.set_struct(cfg, True)
    parsed = OverridesParser.create().parse_overrides(overrides)
    for override in parsed:
        key, value = override.key_or_group, override.value()
        if isinstance(value, str) and "." not in key and (CONF_DIR / key).is_dir():
            # With inference=multiscale comes inference@inference.base=slide.
            group = compose("train", [str(other.input_line) for other in parsed if other.key_or_group == key])
            with open_dict(cfg):  # other groups may contain interpolations that only resolve inside a run
                cfg[key] = OmegaConf.to_container(group[key], resolve=True)
            continue
        if OmegaConf.select(cfg, key, throw_on_missing=False, default=_ABSENT) is _ABSENT:
            parent = OmegaConf.select(cfg, key.rpartition(".")[0]) if "." in key else cfg
            choices = ", ".join(map(str, parent)) if isinstance(parent, DictConfig) else "nothing"
            raise ConfigError(f"no key {key!r} in the checkpoint's config; beside it there are: {choices}.")
        OmegaConf.update(cfg, key, value)
    return resolved(cfg)


_ABSENT = object()
