"""Checks on a composed config that need no torch, so that a mistake is told within a second or two."""

from __future__ import annotations

from typing import Any

from atrous.encoders.catalog import check_encoder
from atrous.errors import ConfigError


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
    _check_length(config["trainer"])


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
    if steps > 0 and isinstance(interval, int) and steps % interval:
        raise ConfigError(
            f"trainer.max_steps={steps} is not a multiple of trainer.val_check_interval={interval}: the end of the run would "
            "be neither validated nor saved. Change one of them."
        )
