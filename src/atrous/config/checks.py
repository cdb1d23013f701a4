"""Checks on a composed config that need no torch, so that a mistake is told within a second or two."""

from __future__ import annotations

from typing import Any

from atrous.encoders.catalog import check_encoder
from atrous.errors import ConfigError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
COMPILE_SETTINGS = ("mode", "backend", "dynamic", "fullgraph", "options")  # of torch.compile


def check_config(config: dict[str, Any]) -> None:
    """Refuses settings that can't work, before anything heavy is imported.

    Args:
        config: The resolved config.

    Raises:
        ConfigError: Naming the key, its value, what is possible, and the remedy.
    """
    model = config["model"]
    stride = model.get("output_stride")
    encoder = model.get("encoder")
    if isinstance(encoder, dict) and "name" in encoder:
        check_encoder(encoder["name"], encoder.get("output_stride", 32))
    elif stride is not None and (not isinstance(stride, int) or stride < 1):
        raise ConfigError(f"model.output_stride={stride} is impossible; give a power of two such as 8, 16 or 32.")
    rates = model.get("dilations")
    if rates is not None and (
        not isinstance(rates, list) or not rates or any(not isinstance(rate, int) or rate < 1 for rate in rates)
    ):
        raise ConfigError(
            f"model.dilations={rates} is impossible; give whole numbers from 1 on, such as 'model.dilations=[6,12,18]'."
        )
    for key in ("batch_size", "eval_batch_size"):
        size = config["data"].get(key, 1)
        if not isinstance(size, int) or size < 1:
            raise ConfigError(f"data.{key}={size} is impossible; give a whole number from 1 on.")
    for key, value in config["optimizer"].items():
        numbers = ("lr", "weight_decay", "head_multiplier", "layer_decay")
        if key in numbers and (not isinstance(value, int | float) or value < 0):
            raise ConfigError(
                f"optimizer.{key}={value} is impossible; give a number from 0 on, such as optimizer.lr=0.01."
            )
    target = str(config["optimizer"].get("_target_"))
    if target.startswith(("torch.optim.", "timm.optim.")):
        raise ConfigError(
            f"optimizer._target_={target} would see no parameter groups; give optimizer=custom optimizer.algorithm={target}."
        )
    check_resume(config)
    _check_length(config["trainer"])
    _check_precision(config["trainer"])
    _check_sharding(config)
    _check_compile(config.get("task", {}).get("compile", False))


def check_resume(config: dict[str, Any]) -> None:
    """Refuses a `resume` that is neither auto nor false; checkpoints of before this setting lack it."""
    resume = config.get("resume", False)
    if resume is not False and resume != "auto":
        raise ConfigError(
            f"resume={resume} is impossible; give auto, to go on with the newest run of the same settings, or false. A "
            "checkpoint to start from is ckpt_path=..."
        )


def _check_length(trainer: dict[str, Any]) -> None:
    """The run's end and its validations; checkpoints of before these settings lack them."""
    algorithm = trainer.get("gradient_clip_algorithm")
    if algorithm not in (None, "norm", "value"):
        raise ConfigError(f"trainer.gradient_clip_algorithm={algorithm} is unknown; give norm or value.")
    steps, interval = trainer.get("max_steps", -1), trainer.get("val_check_interval", 1.0)
    if isinstance(steps, bool) or not isinstance(steps, int) or (steps < 1 and steps != -1):
        raise ConfigError(
            f"trainer.max_steps={steps} is impossible; give a number of updates such as 40000, or -1 to go by max_epochs."
        )
    number = isinstance(interval, int | float) and not isinstance(interval, bool)
    if not number or interval <= 0 or (isinstance(interval, float) and interval > 1):
        raise ConfigError(
            f"trainer.val_check_interval={interval} is impossible; give a whole number of updates such as 4000, or a share "
            "of an epoch up to 1.0."
        )


def _check_precision(trainer: dict[str, Any]) -> None:
    precision = trainer.get("precision", PRECISIONS[0])
    if precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision={precision} is unknown; choose one of {', '.join(PRECISIONS)}.")
    if precision == "16-mixed" and trainer.get("accelerator") == "cpu":
        raise ConfigError(needs_gpu(precision))


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


def check_extra_metrics(value: Any) -> None:
    """Raises ConfigError where `extra_metrics` is neither true nor false."""
    if not isinstance(value, bool):
        raise ConfigError(f"extra_metrics={value} is impossible; give true or false.")
