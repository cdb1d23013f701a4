"""Evaluating a network at another output stride than it was trained at: its encoder follows, and its rates are rescaled.

Chen et al. (2017), section 3.3: rates double where the output stride halves. The denser network then computes what the
coarser one did, on every second place, and the places between are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atrous.errors import ConfigError

RATES = ("dilations", "dilation")  # DeepLabv1 has one


def follow_output_stride(config: dict[str, Any], trained: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Brings a checkpoint's config, in which interpolations are resolved, in line with another `model.output_stride`.

    What the user sets stays as set. Rates that are null follow by themselves.

    Args:
        config: The checkpoint's config with overrides applied.
        trained: The checkpoint's config as it was.
        overrides: What the user set, each `key=value`.

    Returns:
        The config, with the encoder's output stride and multi-grid as the model's and the rates rescaled.

    Raises:
        ConfigError: If a rate would not be a whole number.
    """
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    before, model = trained["model"], config["model"]
    if "model" in given or before.get("_target_") != model.get("_target_"):
        return config
    model = dict(model)
    encoder, old_encoder = model.get("encoder"), before.get("encoder")
    if isinstance(encoder, dict) and isinstance(old_encoder, dict):
        encoder = dict(encoder)
        for key in ("output_stride", "multi_grid"):
            follows = key in encoder and key in model and old_encoder.get(key) == before.get(key)
            if follows and f"model.encoder.{key}" not in given:
                encoder[key] = model[key]
        model["encoder"] = encoder
    old, new = before.get("output_stride"), model.get("output_stride")
    if isinstance(old, int) and isinstance(new, int) and new > 0:
        for key in RATES:
            if model.get(key) is not None and f"model.{key}" not in given:
                model[key] = _rescaled(key, model[key], old, new)
    return {**config, "model": model}


def _rescaled(key: str, rates: int | list[int], old: int, new: int) -> int | list[int]:
    listed = rates if isinstance(rates, list) else [rates]
    if any(rate * old % new for rate in listed):
        raise ConfigError(
            f"model.{key}={rates} at output stride {old} would be {[rate * old / new for rate in listed]} at {new}, which are no whole "
            f"rates. Give the ones to take, such as 'model.{key}={[max(1, round(rate * old / new)) for rate in listed]}'."
        )
    scaled = [rate * old // new for rate in listed]
    return scaled if isinstance(rates, list) else scaled[0]
