"""The whole image at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from atrous.inference.image import Image
from atrous.inference.mode import Network
from atrous.layers.strips import resized_strips


@dataclass(frozen=True, kw_only=True)
class WholeImage:
    """One pass over the image at its own size; the logits are resized to it strip by strip."""

    def __call__(self, net: Network, image: Image) -> Iterator[Tensor]:
        height, width = image.size
        logits = net(image.part(slice(0, height), slice(0, width))).logits
        yield from resized_strips([logits], (logits.shape[-2], logits.shape[-1]), image.size)

    def __str__(self) -> str:
        return "whole"
