"""The output stride and rates that a built network has come to."""

from __future__ import annotations

from typing import Any

from atrous.config.output_stride import RATES


def resolution_of(settings: dict[str, Any], model: Any) -> str:
    """The output stride and the rates that a network has come to, for the protocol of an evaluation.

    Args:
        settings: The part `model` of the config that it was built from.
        model: The network; the rates of an ASPP are read off it, since null in the config stands for derived ones.
    """
    from atrous.layers.aspp import ASPP

    found = [settings[key] for key in RATES if settings.get(key) is not None]
    for module in model.modules():
        if isinstance(module, ASPP):
            convs: list[Any] = [
                next(part for part in branch.modules() if hasattr(part, "dilation")) for branch in module.atrous
            ]
            found = [[conv.dilation[0] for conv in convs]]
    stride = [] if settings.get("output_stride") is None else [f"output stride {settings['output_stride']}"]
    return ", ".join([*stride, *(f"rates {rates}" for rates in found)]) or "its own resolution"
