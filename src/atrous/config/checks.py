"""Checks on a composed config that need no torch, so that a mistake is told within a second or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atrous.config.possible import LAYERS, METHOD, POSSIBLE, STRIDE
from atrous.config.values import checked
from atrous.encoders.catalog import check_encoder
from atrous.errors import ConfigError
from atrous.system.text import setting

FOLDERS = ("paths.data", "paths.runs", "paths.cache", "name", "study", "hydra.run.dir", "hydra.sweep.dir")
# Groups that a method does without.
NETWORK = ("model", "loss", "optimizer", "scheduler", "task", "inference", "callbacks")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
COMPILE_SETTINGS = ("mode", "backend", "dynamic", "fullgraph", "options")  # of torch.compile


def check_words(words: Sequence[str]) -> None:
    """Refuses what Hydra would act on, or name wrongly, before the config can be checked.

    Args:
        words: Of a training's command line.

    Raises:
        ConfigError: If one is a folder without a name, or a group that is to be nothing.
    """
    for word in words:
        key, _, value = word.partition("=")
        if key in FOLDERS and not value.strip():
            raise ConfigError(f"{word} names no folder; give one, such as {key}=runs, or leave it out.")
        if key in NEEDED and value in ("null", "None"):
            raise ConfigError(f"{word} is impossible: a training needs it; give {key}={NEEDED[key]}.")


def check_config(config: dict[str, Any]) -> None:
    """Refuses settings that can't work, before anything heavy is imported.

    Args:
        config: The resolved config. Checkpoints of before a setting lack it.

    Raises:
        ConfigError: Naming the key, its value, what is possible, and the remedy.
    """
    if "method" in config:
        _check_method(config)
        return
    model, optimizer, trainer = config["model"], config["optimizer"], config["trainer"]
    _check_values(config, POSSIBLE)
    _check_layers(model, "model")
    encoder = model.get("encoder")
    if isinstance(encoder, dict) and "name" in encoder:
        check_encoder(encoder["name"], encoder.get("output_stride", 32))
    else:
        checked("model.output_stride", model.get("output_stride"), STRIDE | None)
    target = str(optimizer.get("_target_"))
    if target.startswith(("torch.optim.", "timm.optim.")):
        raise ConfigError(
            f"optimizer._target_={target} would see no parameter groups; give optimizer=custom optimizer.algorithm={target}."
        )
    if trainer.get("precision") == "16-mixed" and trainer.get("accelerator") == "cpu":
        raise ConfigError(needs_gpu("16-mixed"))
    _check_sharding(config)
    _check_compile(config.get("task", {}).get("compile", False))


def check_training(config: dict[str, Any]) -> None:
    """`check_config`, and what a training needs beside a network that is only restored.

    Raises:
        ConfigError: As `check_config`.
    """
    if "method" not in config:
        for group, usual in NEEDED.items():
            if not isinstance(config.get(group), dict) or not config[group]:
                raise ConfigError(
                    f"{group}={config.get(group) or 'null'} is impossible: a training needs it; give {group}={usual}."
                )
        for key, why in _NOT_OF_A_RUN.items():
            if (value := config["trainer"].get(key, why[0])) != why[0]:
                raise ConfigError(f"trainer.{key}={setting(value)} {why[1]}.")
        _check_callbacks(config["callbacks"])
    check_config(config)


NEEDED = {
    "model": "deeplabv3plus",
    "loss": "cross_entropy",
    "optimizer": "sgd",
    "scheduler": "poly",
    "task": "semantic",
    "inference": "whole",
    "trainer": "default",
    "callbacks": "default",
    "logger": "csv",
}
# Settings of Lightning's trainer with which no run comes about: the value that leaves them out, and what they would do.
_NOT_OF_A_RUN: dict[str, tuple[Any, str]] = {
    "fast_dev_run": (False, "would leave no checkpoint and no history; to try a run, use trainer.max_steps=1"),
    "barebones": (False, "would leave no checkpoint and no history; leave it out"),
    "enable_checkpointing": (True, "would leave no weights; leave it out"),
    "limit_test_batches": (1.0, "would score a part of the split as the whole; leave it out"),
}


def _check_callbacks(callbacks: dict[str, Any]) -> None:
    """What would keep or choose other checkpoints than is meant."""
    if "last" not in callbacks:
        raise ConfigError("callbacks.last is missing, which writes the checkpoint that a run ends with; leave it in.")
    taken: dict[str, str] = {}
    for name, options in callbacks.items():
        kind = str(options.get("_target_")).rpartition(".")[2]
        if kind not in ("ModelCheckpoint", "EarlyStopping"):
            continue
        monitor, mode = str(options.get("monitor")), options.get("mode", "min")  # Lightning's
        better = "min" if monitor.endswith("/loss") else "max" if monitor.startswith("val/") else mode
        if mode != better:
            raise ConfigError(
                f"callbacks.{name}.mode={mode} would take the worst {monitor} for the best; set callbacks.{name}.mode={better}."
            )
        if kind == "EarlyStopping":
            continue
        several = options.get("save_top_k", 1) != 1
        file = str(options.get("filename"))
        if options.get("save_top_k", 1) == 0 or options.get("save_last"):
            key = "save_last" if options.get("save_last") else "save_top_k"
            raise ConfigError(
                f"callbacks.{name}.{key}={setting(options[key])} is impossible: callbacks.last writes last.ckpt, and one checkpoint "
                "or more is chosen; leave it out, or take the callback away."
            )
        if several and options.get("enable_version_counter") is False and "{" not in file:
            raise ConfigError(
                f"callbacks.{name}.save_top_k={options['save_top_k']} would write all of them as {file}.ckpt; give each a name, such as "
                f"'callbacks.{name}.filename=\"{file}-{{step}}\"'."
            )
        keys = {"monitor": monitor, "filename": f"{options.get('dirpath')}/{file}"}
        for key, value in keys.items():
            if (other := taken.setdefault(value, name)) != name:
                raise ConfigError(
                    f"callbacks.{name}.{key}={options.get(key)} is that of callbacks.{other}; give another one, or keep several by "
                    f"callbacks.{other}.save_top_k."
                )


def _check_values(config: dict[str, Any], possible: dict[str, Any]) -> None:
    for key, kind in possible.items():
        *groups, name = key.split(".")
        part: Any = config
        for group in groups:
            part = part.get(group) if isinstance(part, dict) else None
        if isinstance(part, dict) and name in part:
            checked(key, part[name], kind)


def _check_layers(part: dict[str, Any], key: str) -> None:
    ours = str(part.get("_target_")).startswith("atrous.")
    for name, value in part.items():
        if isinstance(value, dict):
            _check_layers(value, f"{key}.{name}")
        elif ours and name in LAYERS:
            checked(f"{key}.{name}", value, LAYERS[name])


def _check_method(config: dict[str, Any]) -> None:
    """What a method without a network can't do."""
    name = str(config["method"].get("_target_")).rpartition(".")[2]
    if network := [group for group in NETWORK if group in config]:
        raise ConfigError(
            f"method={name} has no network, and {network[0]}=... is set; leave {' and '.join(network)} out, or leave out method."
        )
    for key in ("weights", "ckpt_path"):
        if config.get(key):
            raise ConfigError(f"{key}={config[key]} can't be used: method={name} has no weights. Leave out {key}.")
    _check_values(config, METHOD)
    seeded, by = "scribbles" in config["method"], config.get("matching", {}).get("by")
    if by is not None and (by == "seeds") != seeded:
        needed = "seeds" if seeded else "majority or hungarian"
        raise ConfigError(f"matching.by={by} does not go with method={name}; use matching.by={needed}.")
    if config.get("matching", {}).get("over") == "data" and not config["method"].get("train_images"):
        raise ConfigError(
            f"matching.over=data needs segments that mean the same in all images, and those of method={name} don't; use "
            "matching.over=image, or method=kmeans method.train_images=40."
        )


def needs_gpu(precision: str) -> str:
    """What is said about a precision that CPUs don't have, where Lightning would take bfloat16 with a warning."""
    return f"trainer.precision={precision} needs a GPU; on a CPU use trainer.precision=bf16-mixed, or 32-true."


def _check_sharding(config: dict[str, Any]) -> None:
    """What FSDP can't do, where Lightning warns or fails later."""
    if config["trainer"].get("strategy") != "fsdp":
        return
    averages = [name for name, part in config.get("callbacks", {}).items() if "WeightAveraging" in part["_target_"]]
    if averages:
        raise ConfigError(
            f"callbacks.{averages[0]} needs the whole weights in every process, which trainer.strategy=fsdp spreads over them; "
            "use callbacks=default, or trainer=ddp."
        )
    if config["trainer"]["precision"] == "16-mixed":
        raise ConfigError(
            "trainer.precision=16-mixed does not go with trainer.strategy=fsdp; use bf16-mixed or 32-true."
        )


def _check_compile(settings: Any) -> None:
    if isinstance(settings, bool):
        return
    if not isinstance(settings, dict) or not set(settings) <= set(COMPILE_SETTINGS):
        raise ConfigError(
            f"task.compile={settings} is impossible; give true, false, or some of torch.compile's settings "
            f"{', '.join(COMPILE_SETTINGS)}, such as 'task.compile={{mode:max-autotune}}'."
        )
    if settings.get("mode", "default") not in COMPILE_MODES:
        raise ConfigError(f"task.compile.mode={settings['mode']} is unknown; choose one of {', '.join(COMPILE_MODES)}.")
