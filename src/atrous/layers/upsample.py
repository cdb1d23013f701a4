"""Ways of making a map larger: interpolation, transposed convolution, resize-convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F

from atrous.errors import ConfigError
from atrous.layers.init import bilinear_

MODES = ("nearest", "bilinear", "bicubic", "transposed", "resize_conv")


def resize(x: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Resizes maps (N, C, h, w) to (N, C, *size) with pixels as areas (align_corners=False).

    Args:
        x: Maps.
        size: (height, width) of the result.
        mode: nearest, bilinear or bicubic.
    """
    # A program for any size must not keep which sizes were equal in its example; resizing to the same size changes nothing.
    equal = statically_known_true if torch.compiler.is_exporting() else bool
    if equal(x.shape[-2] == size[0]) and equal(x.shape[-1] == size[1]):
        return x
    return F.interpolate(x, size=size, mode=mode, align_corners=None if mode == "nearest" else False)


def crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Cuts maps (N, C, h, w) at the bottom and the right, down to (N, C, *size); a side that is shorter stays.

    Args:
        x: Maps.
        size: (height, width) of the result.
    """
    if not torch.compiler.is_exporting():
        return x[..., : size[0], : size[1]]
    # Of a slice `torch.export` asks whether it leaves its example as it is, and the program then refuses images of which
    # the other is true. A padding of less than nothing is not asked, but copies.
    rows, columns = (wanted - side for wanted, side in zip(size, x.shape[-2:], strict=True))
    rows, columns = 0 if rows > 0 else rows, 0 if columns > 0 else columns
    return F.pad(x, (0, columns, 0, rows))


class Upsample(nn.Module):
    """Makes maps `scale` times larger, in the way a study chooses.

    nearest, bilinear and bicubic interpolate. transposed is a transposed convolution of kernel 2 * scale that starts as
    bilinear interpolation (Long et al. 2015, section 3.3) and is learned. resize_conv interpolates to the nearest pixel and
    convolves 3 x 3 (Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard).

    Args:
        channels: Of the maps.
        scale: A power of two.
        mode: One of the five above.
        per_channel: Whether the two convolutions filter each channel by itself, or mix channels.

    Raises:
        ConfigError: If there is no such mode.
    """

    def __init__(self, *, channels: int, scale: int, mode: str = "bilinear", per_channel: bool = True) -> None:
        super().__init__()
        if mode not in MODES:
            raise ConfigError(f"upsample {mode!r} is not a way of upsampling; choose one of {', '.join(MODES)}")
        self.mode, self.scale = mode, scale
        groups = channels if per_channel else 1
        self.conv: nn.Module = nn.Identity()
        if mode == "transposed" and scale > 1:
            conv = nn.ConvTranspose2d(
                channels, channels, 2 * scale, scale, padding=scale // 2, groups=groups, bias=False
            )
            bilinear_(conv.weight)
            self.conv = conv
        elif mode == "resize_conv":
            self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Upsamples.

        Args:
            x: (N, channels, h, w).
            size: (height, width) of the result, about `scale` times (h, w); what a transposed convolution makes larger or
                smaller than this is cropped or resized.

        Returns:
            (N, channels, *size).
        """
        if self.mode == "transposed":
            return resize(crop(self.conv(x), size), size)
        if self.mode == "resize_conv":
            convolved: Tensor = self.conv(resize(x, size, "nearest"))
            return convolved
        return resize(x, size, self.mode)
