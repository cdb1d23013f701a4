"""Checks on a composed config that need no torch, so that a mistake is told within a second or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from atrous.config.values import Help, NonNegativeInt, NotEmpty, PositiveInt, Range, Split, checked
from atrous.encoders.catalog import check_encoder
from atrous.errors import ConfigError
from atrous.system.text import setting

_STRIDE = Annotated[PositiveInt, Help("a power of two such as 8, 16 or 32")]
_RATES = Annotated[list[PositiveInt], Help("whole numbers from 1 on, such as 'model.dilations=[6,12,18]'"), NotEmpty()]
_RATE = Annotated[float, Range(0)]
_WIDTH = Annotated[float, Range(0.1)]
_FRACTION = Annotated[float, Help("a share from 0 to below 1, such as 0.2"), Range(0, 1)]
_SHARE = Annotated[float, Range(1e-9, 1)]
_SEED = Annotated[int, Range(0, 2**32 - 1)]
_DROPOUT = Annotated[float, Range(0, 0.999), Help("a probability from 0 to below 1, such as 0.5")]
_BATCHES = Annotated[NonNegativeInt | _SHARE, Help("a whole number of batches such as 4, or a share of them up to 1.0")]
POSSIBLE: dict[str, Any] = {
    "seed": _SEED,
    "eval_split": Split,
    "reset_head": bool,
    "weights": str | None,
    "ckpt_path": str | None,
    "model.dilations": _RATES | None,
    "model.dropout": _DROPOUT,
    "model.join_kernel": Literal[1, 3],
    "model.encoder.name": str,
    "model.encoder.dropout": _DROPOUT,
    "model.encoder.drop_path": _DROPOUT,
    "model.encoder.channels": Annotated[list[PositiveInt], NotEmpty()],
    "data.batch_size": PositiveInt,
    "data.eval_batch_size": PositiveInt,
    "data.num_workers": NonNegativeInt | None,
    "data.val_fraction": _FRACTION,
    "data.test_fraction": _FRACTION,
    "data.split_seed": int,
    "data.folds": PositiveInt | None,
    "data.fold": NonNegativeInt | None,
    "data.group": str | None,
    "data.stratify": str | None,
    "data.mask_suffix": str,
    "data.image_name": str,
    "data.mask_name": str,
    "data.mask_threshold": float | None,
    "data.nearest_value": bool,
    "data.unannotated": int | None,
    "data.ignore_index": int,
    "optimizer.lr": Annotated[_RATE, Help("a number from 0 on, such as optimizer.lr=0.01")],
    "optimizer.weight_decay": _RATE,
    "optimizer.head_multiplier": _RATE,
    "optimizer.layer_decay": _RATE,
    "loss.normalise": Literal["weights", "pixels"],
    "inference.crf.iterations": PositiveInt,
    "trainer.accumulate_grad_batches": PositiveInt,
    "trainer.check_val_every_n_epoch": PositiveInt | None,
    "trainer.gradient_clip_val": _RATE | None,
    "trainer.log_every_n_steps": PositiveInt,
    "trainer.limit_train_batches": _BATCHES,
    "trainer.limit_val_batches": _BATCHES,
    "trainer.num_nodes": PositiveInt,
    "trainer.max_epochs": Annotated[
        PositiveInt | Literal[-1] | None, Help("a number of epochs from 1 on, such as trainer.max_epochs=10")
    ],
    "trainer.gradient_clip_algorithm": Literal["norm", "value"] | None,
    "trainer.max_steps": Annotated[
        Literal[-1] | PositiveInt, Help("a number of updates such as 40000, or -1 to go by max_epochs")
    ],
    "trainer.val_check_interval": Annotated[
        PositiveInt | _SHARE, Help("a whole number of updates such as 4000, or a share of an epoch up to 1.0")
    ],
    "trainer.precision": Literal["32-true", "bf16-mixed", "16-mixed"],
    "resume": Annotated[
        Literal["auto", False],
        Help(
            "auto, to go on with the newest run of the same settings, or false; a checkpoint to start from is given by ckpt_path=FILE"
        ),
    ],
    "extra_metrics": bool,
}
# What a method in place of a network may be told.
METHOD: dict[str, Any] = {
    "seed": _SEED,
    "eval_split": Split,
    "data.eval_batch_size": PositiveInt,
    "data.num_workers": NonNegativeInt | None,
    "method.side": PositiveInt | None,
    "method.clusters": PositiveInt,
    "method.segments": PositiveInt,
    "method.init": Literal["kmeans++", "random"],
    "method.restarts": PositiveInt,
    "method.iterations": PositiveInt,
    "method.train_images": NonNegativeInt,
    "method.compactness": _RATE,
    "method.sigma": _RATE,
    "method.gradient_sigma": _WIDTH,
    "method.scale": _WIDTH,
    "method.min_size": NonNegativeInt,
    "method.kernel_size": _WIDTH,
    "method.max_dist": _WIDTH,
    "method.ratio": Annotated[float, Range(0, 1)],
    "method.superpixels": NonNegativeInt,
    "method.radius": Annotated[float, Range(1)] | None,
    "method.gamma": _RATE,
    "method.squared": bool,
    "method.laplacian": Literal["unnormalised", "symmetric", "random_walk"],
    "method.max_cut": Annotated[float, Range(0, 2)],
    "method.spatial_bandwidth": Annotated[float, Range(1)],
    "method.range_bandwidth": _WIDTH,
    "method.scribbles": PositiveInt,
    "method.scribble_radius": NonNegativeInt,
    "method.colour_weight": _RATE,
    "method.smoothness": _RATE,
    "method.neighbours": Literal[4, 8],
    "method.fixed": bool,
    "method.rounds": PositiveInt,
    "method.cycles": PositiveInt,
    "matching.by": Literal["majority", "hungarian", "seeds"],
    "matching.over": Literal["image", "data"],
    "trainer.accelerator": Literal["cpu"],
    "trainer.devices": Literal[1],
    "trainer.num_nodes": Literal[1],
    "resume": POSSIBLE["resume"],
    "extra_metrics": Annotated[Literal[False], Help("false: a method's segments are scored by their outlines anyway")],
}
NETWORK = (
    "model",
    "loss",
    "optimizer",
    "scheduler",
    "task",
    "inference",
    "callbacks",
)  # groups that a method does without
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
COMPILE_SETTINGS = ("mode", "backend", "dynamic", "fullgraph", "options")  # of torch.compile


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
    encoder = model.get("encoder")
    if isinstance(encoder, dict) and "name" in encoder:
        check_encoder(encoder["name"], encoder.get("output_stride", 32))
    else:
        checked("model.output_stride", model.get("output_stride"), _STRIDE | None)
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
        for group, usual in _NEEDED.items():
            if not isinstance(config.get(group), dict) or not config[group]:
                raise ConfigError(
                    f"{group}={config.get(group) or 'null'} is impossible: a training needs it; give {group}={usual}."
                )
        for key, why in _NOT_OF_A_RUN.items():
            if (value := config["trainer"].get(key, why[0])) != why[0]:
                raise ConfigError(f"trainer.{key}={setting(value)} {why[1]}.")
        _check_callbacks(config["callbacks"])
    check_config(config)


_NEEDED = {
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


def check_words(words: Sequence[str]) -> None:
    """Refuses words that Hydra's error for does not name: a group that is to be nothing."""
    for word in words:
        key, _, value = word.partition("=")
        if key in _NEEDED and value in ("null", "None"):
            raise ConfigError(f"{word} is impossible: a training needs it; give {key}={_NEEDED[key]}.")


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
