"""A mode whose probabilities are moved to the edges of the image, by a dense CRF as in DeepLab v1 and v2, or otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from atrous.inference.image import Image
from atrous.inference.mode import InferenceMode, Network
from atrous.inference.whole import WholeImage


@dataclass(frozen=True, kw_only=True)
class CRFInference:
    """The probabilities that `base` gives, refined by `crf`. Holds those of the whole image, float32.

    Args:
        crf: (probabilities (N, C, H, W), uint8 RGB (N, H, W, 3)) -> probabilities (N, C, H, W), such as
            `atrous.crf.dense_crf.DenseCRF` or those of `atrous.classical.refine`.
        mean: Of the normalisation of images, per RGB channel in 0 to 1.
        std: Of the same.
        base: How the image goes through the network.
    """

    crf: Callable[[Tensor, Tensor], Tensor]
    mean: Sequence[float]
    std: Sequence[float]
    base: InferenceMode = field(default_factory=WholeImage)

    def __call__(self, net: Network, image: Image) -> Iterator[Tensor]:
        height, width = image.size
        scores = torch.cat(list(self.base(net, image)), dim=2)  # (N, C, H, W)
        pixels = image.part(slice(0, height), slice(0, width)).movedim(1, 3)  # (N, H, W, 3)
        mean, std = (pixels.new_tensor(values) for values in (self.mean, self.std))
        colours = (255 * (pixels.float() * std + mean)).round().clamp(0, 255).byte()
        refined = self.crf(scores.softmax(1), colours)
        yield refined.clamp(min=torch.finfo(refined.dtype).tiny).log()  # whose softmax is what the CRF says

    def __str__(self) -> str:
        return f"{self.base}, refined by {self.crf}"
