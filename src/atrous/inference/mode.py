"""The interface of inference modes: a network and an image -> scores at the image's size, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from atrous.inference.image import Image
from atrous.types import SegOutput


class Network(Protocol):
    """Any model of ours: (N, 3, h, w) -> logits (N, C, h', w') and more."""

    def __call__(self, images: Tensor, /) -> SegOutput: ...


class InferenceMode(Protocol):
    """How an image goes through a network. `str()` gives its settings, for the evaluation's protocol."""

    def __call__(self, net: Network, image: Image) -> Iterator[Tensor]:
        """Strips of scores, float32 (N, C, any, W), from top to bottom, H rows together.

        Their softmax over classes are the probabilities. A strip is the caller's to keep.
        """
        ...
