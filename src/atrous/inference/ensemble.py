"""Several networks as one: each labels an image as it was evaluated, and their probabilities are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atrous.inference.image import Image
from atrous.inference.mode import InferenceMode, Network
from atrous.layers.strips import resized_strips
from atrous.types import SegOutput


class Members(nn.Module):
    """The networks of an ensemble, to be moved and set to evaluation together; `Ensemble` calls them one by one.

    Args:
        networks: Each (N, 3, H, W) -> SegOutput of the same classes.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.void_output = bool(getattr(networks[0], "void_output", False))

    def forward(self, images: Tensor) -> SegOutput:
        """Raises: the mean is one of probabilities, at the image's size."""
        raise NotImplementedError("an ensemble has no logits; it goes through its inference mode Ensemble")


@dataclass(frozen=True)
class Ensemble:
    """The mean of the probabilities of several networks.

    Args:
        modes: How an image goes through each of them, in the order of `Members.networks`.
    """

    modes: Sequence[InferenceMode]

    def __call__(self, net: Network, image: Image) -> Iterator[Tensor]:
        assert isinstance(net, Members)
        passes = [mode(network, image) for mode, network in zip(self.modes, net.networks, strict=True)]
        yield from averaged([resized_strips(strips, image.size, image.size) for strips in passes])

    def __str__(self) -> str:
        own = "; ".join(dict.fromkeys(map(str, self.modes)))
        return f"{len(self.modes)} networks, probabilities averaged, each {own}"


def averaged(passes: Sequence[Iterator[Tensor]]) -> Iterator[Tensor]:
    """The logarithm of the passes' mean probability, whose softmax is that mean.

    Args:
        passes: Strips of scores (N, C, rows, W) each, cut alike, as `resized_strips` cuts them.
    """
    for strips in zip(*passes, strict=True):
        mean = strips[0].softmax(1)
        for strip in strips[1:]:
            mean += strip.softmax(1)
        yield (mean / len(strips)).clamp(min=torch.finfo(mean.dtype).tiny).log()
