"""The effective receptive field: how much each pixel of the image moves the score in its middle.

Luo, Li, Urtasun, Zemel (2016) "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NIPS,
https://arxiv.org/abs/1701.04128.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atrous.data.datamodule import SegmentationDataModule
from atrous.errors import ConfigError
from atrous.layers.upsample import resize

SHARE = 1 - 0.9545  # of the largest gradient, above which a pixel counts; a Gaussian has passed it 2.5 deviations out


@dataclass(frozen=True)
class EffectiveField:
    """What the pixels of an image contribute to the score in its middle.

    Args:
        gradient: float64 (H, W), the mean over images of the gradient's absolute value, summed over colours, its maximum 1.
    """

    gradient: Tensor

    @property
    def size(self) -> float:
        """The square root of the number of pixels above `SHARE` of the maximum, in pixels."""
        return math.sqrt(int((self.gradient > SHARE).sum()))

    @property
    def deviation(self) -> tuple[float, float]:
        """The standard deviation of the gradient's distribution in pixels, vertically and horizontally."""
        return self._deviation(0), self._deviation(1)

    def _deviation(self, axis: int) -> float:
        weight = self.gradient.sum(1 - axis)
        weight = weight / weight.sum()
        places = torch.arange(len(weight), dtype=weight.dtype)
        mean = (weight * places).sum()
        return math.sqrt(float((weight * (places - mean) ** 2).sum()))


def effective_field(model: nn.Module, images: Iterable[Tensor], *, seed: int = 0) -> EffectiveField:
    """Measures the field of the middle logits.

    The gradient is that of the sum of the middle place's scores, each with a random sign, since the sum of what a softmax
    follows says nothing by itself and scores of opposite sign would cancel.

    Args:
        model: Returns a SegOutput; it is run in evaluation and left as it was.
        images: Normalised images (3, H, W) of one size, one at a time through the network.
        seed: Of the signs.

    Returns:
        The mean over the images.

    Raises:
        ConfigError: If there are no images, their sizes differ, or no pixel has a gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    training = model.training
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    total: Tensor | None = None
    model.eval()
    try:
        for image in images:
            pixels = image[None].to(device).requires_grad_()
            output: Any = model(pixels)
            logits: Tensor = output.logits
            middle = logits[0, :, logits.shape[-2] // 2, logits.shape[-1] // 2]
            signs = 1.0 - 2.0 * torch.randint(0, 2, middle.shape, generator=generator)
            (gradient,) = torch.autograd.grad((middle * signs.to(middle)).sum(), pixels)
            part = gradient[0].abs().sum(0).double().cpu()
            if total is not None and total.shape != part.shape:
                raise ConfigError(
                    f"images of {tuple(total.shape)} and {tuple(part.shape)} pixels can't be averaged into one effective "
                    "receptive field; give images of one size"
                )
            total = part if total is None else total + part
    finally:
        model.train(training)
    if total is None or not torch.isfinite(total).all() or total.max() <= 0:
        found = (
            "there are no images"
            if total is None
            else "no pixel moves the middle logits, or their gradient is not finite"
        )
        raise ConfigError(f"no effective receptive field: {found}. Give one image or more, and a network with weights.")
    return EffectiveField(total / total.max())


def noise_images(count: int, size: Sequence[int], *, seed: int = 0) -> Iterator[Tensor]:
    """Normally distributed pixels, float32 (3, *size) each."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(3, *size, generator=generator)


def split_images(datamodule: SegmentationDataModule, split: str, count: int, size: Sequence[int]) -> Iterator[Tensor]:
    """Evenly spaced images of a split, normalised and resized, float32 (3, *size) each."""
    dataset = datamodule.dataset(split)
    for index in np.linspace(0, len(dataset) - 1, count).astype(int):
        image = datamodule.normalise(dataset[int(index)].image)
        yield resize(image[None], (size[0], size[1]))[0]
