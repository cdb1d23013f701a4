"""Max pooling that keeps where the maxima stood, and unpooling, which brings maps back to the size before it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from atrous.errors import ConfigError
from atrous.layers.upsample import MODES, Upsample


class Pooled(NamedTuple):
    """What a 2 x 2 max pooling took from a map."""

    indices: Tensor  # int64 (N, C, h, w), where in the flattened map each maximum stood
    size: tuple[int, int]  # height and width of the map


def max_pool(x: Tensor) -> tuple[Tensor, Pooled]:
    """Takes the maxima of 2 x 2 pixels and keeps where they stood.

    Odd maps round up, as Caffe's do, in which SegNet and DeconvNet were released.

    Args:
        x: (N, C, H, W).

    Returns:
        The maxima (N, C, H/2, W/2), sizes rounded up, and what `Unpool` needs.
    """
    maxima, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    return maxima, Pooled(indices, (x.shape[-2], x.shape[-1]))


class Unpool(nn.Module):
    """Undoes `max_pool`, in the way a study chooses.

    unpooling puts each value where the pooling found its maximum, and zeros elsewhere: Zeiler and Fergus (2014)
    "Visualizing and Understanding Convolutional Networks", section 2.1, https://arxiv.org/abs/1311.2901. The other modes
    are those of `atrous.layers.upsample.Upsample`.

    Args:
        channels: Of the maps.
        mode: unpooling, nearest, bilinear, bicubic, transposed or resize_conv.

    Raises:
        ConfigError: If there is no such mode.
    """

    def __init__(self, *, channels: int, mode: str = "unpooling") -> None:
        super().__init__()
        if mode not in ("unpooling", *MODES):
            raise ConfigError(
                f"upsample {mode!r} is not a way of undoing a pooling; choose one of unpooling, {', '.join(MODES)}"
            )
        self.upsample = None if mode == "unpooling" else Upsample(channels=channels, scale=2, mode=mode)

    def forward(self, x: Tensor, pooled: Pooled) -> Tensor:
        """(N, channels, h, w) -> (N, channels, H, W), the size of the map that was pooled."""
        if self.upsample is None:
            return F.max_unpool2d(x, pooled.indices, (2, 2), output_size=pooled.size)
        upsampled: Tensor = self.upsample(x, pooled.size)
        return upsampled
