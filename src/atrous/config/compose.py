"""The door to Hydra: from words on a command line to a config, and from a config to objects.

Hydra is imported where it is called: most of what is told of a mistake needs none of it.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from atrous.config.checks import NEEDED, NETWORK, check_config
from atrous.config.class_names import class_names
from atrous.config.messages import did_you_mean
from atrous.errors import AtrousError, ConfigError

_PACKAGED = Path(__file__).parents[1] / "conf"
GROUPS = ("paths", "data", *NETWORK, "trainer", "logger")  # of conf/ that a training needs
# The second one: an editable install.
CONF_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"


def prepare() -> None:
    """Registers our resolvers and sets the environment that imports further down read."""
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):  # as with `python -m atrous`: a `_target_` may be in the current folder
        sys.path.append(here)
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # its errors are raised, too
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks a registry at import otherwise
    OmegaConf.register_new_resolver("class_count", _class_count, replace=True)
    OmegaConf.register_new_resolver("or", lambda *values: next(filter(None, values), None), replace=True)
    OmegaConf.register_new_resolver("main_score", _main_score, replace=True)
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)


def _class_count(key: str, *, _root_: DictConfig) -> int | None:
    """Given the names' key, since those may be left out; None where they are none, which `_read_class_names` refuses."""
    given = OmegaConf.select(_root_, key)
    try:
        return len(class_names(OmegaConf.to_container(given) if OmegaConf.is_config(given) else given))
    except ConfigError:
        return None


def _main_score(task: str, field: str) -> Any:
    from atrous.metrics.main_score import main_score_of  # imports NumPy

    return getattr(main_score_of({"task": {"_target_": task}}), field)


def _run_folder() -> str:
    """The folder that Hydra has made for the run, or, where it only shows the config, would make."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    return str(hydra.runtime.get("output_dir") or hydra.run.dir)


def compose(name: str, overrides: Sequence[str] = (), **options: Any) -> DictConfig:
    """`conf/<name>.yaml` with the overrides; interpolations are not resolved yet, and some need a run.

    Args:
        name: Of the yaml.
        overrides: As on the command line.
        options: Of `hydra.compose`.
    """
    import hydra

    prepare()
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg: DictConfig = hydra.compose(name, overrides=list(overrides), **options)
        return cfg


def choice(group: str, overrides: Sequence[str]) -> str:
    """The name of the yaml that a training's command line chooses from a group of `conf/`."""
    return str(compose("train", overrides, return_hydra_config=True).hydra.runtime.choices[group])


def compose_groups(
    overrides: Sequence[str],
    groups: Sequence[str] = ("model", "data", "optimizer", "trainer"),
    *,
    required: Sequence[str] = (),
) -> dict[str, Any]:
    """The groups of a training's config that building a network or a method takes, checked; only `required` ones may lack no value."""
    cfg = compose("train", overrides)
    _refuse_missing([key for group in required for key in sorted(OmegaConf.missing_keys(cfg[group]))])
    config: dict[str, Any] = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in groups if key in cfg}
    _read_class_names(config)
    check_config(config)
    return config


@dataclass(frozen=True)
class HydraRun:
    """What Hydra has chosen for the task that it calls: the folder, and how a multirun's jobs are made and started."""

    folder: Path
    multirun: bool
    sweeper: str  # its import path
    launcher: str | None  # its name in conf/
    words: list[str]  # of the task, as they were typed


def hydra_run() -> HydraRun:
    """Facts of the task that Hydra is running."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    return HydraRun(
        folder=Path(hydra.runtime.output_dir),
        multirun=hydra.mode == RunMode.MULTIRUN,
        sweeper=str(hydra.sweeper._target_),
        launcher=hydra.runtime.choices.get("hydra/launcher"),
        words=task_words(hydra),
    )


def task_words(hydra: Any) -> list[str]:
    """The task's words as they were typed, interpolations not resolved, from Hydra's own config."""
    words: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return [str(word) for word in words]


@contextmanager
def hydra_config(cfg: DictConfig) -> Iterator[None]:
    """Resolves `${hydra:...}` from `cfg` meanwhile."""
    from hydra.core.hydra_config import HydraConfig

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
    _refuse_missing(sorted(OmegaConf.missing_keys(cfg)))
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
    except InterpolationResolutionError as error:
        why, key = str(error).splitlines()[0], str(error.full_key or _unresolvable(cfg))
        raise ConfigError(f"{key} can't be found out: {why.rstrip('.')}. Give {key}=...") from error
    assert isinstance(plain, dict)  # a composed config is a mapping
    config = {str(key): value for key, value in plain.items()}
    _read_class_names(config)
    return config


def training_config(cfg: DictConfig) -> dict[str, Any]:
    """A training's config as plain containers, as `resolved`, where Hydra has just composed it.

    Raises:
        ConfigError: If a required value is not given, if one part was chosen twice, or if a key is added that nothing reads.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    for word in task_words(hydra):
        group, _, chosen = word.partition("=")
        if group in GROUPS and group not in ("callbacks", "logger") and chosen.startswith("["):
            raise ConfigError(
                f"{word} would mix their settings; give one of them, or add -m and {group}={chosen.strip('[]')} for a run of each."
            )
    own, paths = _keys("train.yaml"), _keys("paths/default.yaml")
    if gone := [name for name in (*own, *([] if "method" in cfg else GROUPS)) if name not in cfg]:
        usual = f"give {gone[0]}={NEEDED[gone[0]]}, or " if gone[0] in NEEDED else ""
        raise ConfigError(f"a training needs {gone[0]}; {usual}leave out ~{gone[0]} or {gone[0]}=null.")
    text = str(OmegaConf.to_container(cfg, resolve=False))  # with the interpolations
    for above, here, known in ("", cfg, [*own, *GROUPS, "method", "matching"]), ("paths.", cfg.paths, paths):
        for key in map(str, here):
            if key not in known and f"${{{above}{key}" not in text:
                raise ConfigError(
                    f"nothing reads {above}{key}; {did_you_mean(key, known)}choose from {', '.join(known)}, or refer to it "
                    f"by ${{{above}{key}}}."
                )
    return resolved(cfg)


@functools.cache
def _keys(file: str) -> list[str]:
    """The keys at the top of a yaml of conf/."""
    return [str(key) for key in OmegaConf.load(CONF_DIR / file) if key not in ("defaults", "hydra")]


def _unresolvable(cfg: DictConfig) -> str:
    """The first key whose interpolation fails, which OmegaConf's own error does not tell."""
    for key in map(str, cfg):
        try:
            value = cfg[key]
        except InterpolationResolutionError:
            return key
        if OmegaConf.is_dict(value) and (below := _unresolvable(value)):
            return f"{key}.{below}"
    return ""


def _read_class_names(config: dict[str, Any]) -> None:
    """Puts the names in the place of the file that has them: a run is what they were as it began."""
    data = config.get("data")
    if isinstance(data, dict) and "class_names" in data and (data["class_names"] != MISSING or not data["num_classes"]):
        data["class_names"] = class_names(data["class_names"])


def _refuse_missing(keys: Sequence[str]) -> None:
    if keys:
        raise ConfigError(
            f"no value for {', '.join(keys)}. Give it on the command line, such as {keys[0]}=..., or in a yaml."
        )


def hydra_app(task: Callable[[DictConfig], Any], config_name: str) -> Callable[[], Any]:
    """A function that composes `conf/<config_name>.yaml` by `sys.argv` and calls `task`, once or for each job of a multirun.

    `task` must be imported under its module's name, not `__main__`, so that launchers pickle it by reference.
    """
    import hydra

    app: Callable[[], Any] = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(task)
    return app


def build(options: Any, key: str, **objects: Any) -> Any:
    """As `instantiate`, for what stands under `key` of a run's config; what is impossible is told by that key.

    Raises:
        ConfigError: If a setting is unknown or impossible.
    """
    from hydra.errors import InstantiationException

    from atrous.config.messages import instantiation_message
    from atrous.config.signatures import check_signatures

    check_signatures(options, key)
    try:
        return instantiate(options, **objects)
    except InstantiationException as error:
        if isinstance(error.__cause__, AtrousError):
            raise error.__cause__ from None
        raise ConfigError(instantiation_message(error, key)) from error


def instantiate(options: Any, **objects: Any) -> Any:
    """Builds what `options["_target_"]` names; its nested configs are built first, its lists and mappings are plain.

    Args:
        options: A config.
        objects: Further arguments, which are handed over as they are.
    """
    from hydra.utils import instantiate as hydra_instantiate

    if not objects:
        return hydra_instantiate(options, _convert_="all")
    return hydra_instantiate(options, _convert_="all", _partial_=True)(**objects)
