"""Runs anybody's segmentation network under our contract."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.errors import ConfigError
from atrous.layers.upsample import crop, resize
from atrous.types import SegOutput, has_void_output

_MULTIPLE = 32  # what most encoder-decoder networks need the image's sides to be divisible by


def adapt(model: nn.Module) -> nn.Module:
    """Wraps a third-party model in an `Adapter`; returns one of ours as it is."""
    return model if type(model).__module__.startswith("atrous.") else Adapter(model=model)


class Adapter(nn.Module):
    """Makes a third-party network take images of any size and return a SegOutput.

    Args:
        model: Takes images (N, 3, H, W) with sides divisible by 32. Returns logits (N, C, h, w) as a tensor (as
            segmentation-models-pytorch does), under "out" and "aux" (torchvision), as `.logits` (transformers), or a SegOutput.
    """

    def __init__(self, *, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.void_output = has_void_output(model)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, C, H, W), or at the network's own resolution where H and W are divisible by 32.

        Raises:
            ConfigError: If the model returns something else than logits.
        """
        height, width = images.shape[-2:]
        bottom, right = -height % _MULTIPLE, -width % _MULTIPLE
        # A program for any size always pads, be it by nothing: see `crop`.
        if not torch.compiler.is_exporting() and not bottom and not right:
            return _to_output(self.model, self.model(images))
        logits, aux = _to_output(self.model, self.model(F.pad(images, (0, right, 0, bottom), mode="replicate")))
        size = (height + bottom, width + right)
        cropped = [crop(resize(x, size), (height, width)) for x in (logits, *aux)]
        return SegOutput(cropped[0], tuple(cropped[1:]))


def _to_output(model: nn.Module, result: Any) -> SegOutput:
    if isinstance(result, SegOutput):
        return result
    logits: Any
    aux: Tensor | None = None
    if isinstance(result, Tensor):
        logits = result
    elif isinstance(result, dict) and "out" in result:
        logits, aux = result["out"], result.get("aux")
    else:
        logits = getattr(result, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 4:
        found = (
            f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(result).__name__}"
        )
        raise ConfigError(
            f"{type(model).__name__} returns {found}; a model must return logits (N, C, h, w) as a tensor, "
            "as {'out': tensor}, as an object with .logits, or as an atrous.types.SegOutput"
        )
    return SegOutput(logits, () if aux is None else (aux,))
