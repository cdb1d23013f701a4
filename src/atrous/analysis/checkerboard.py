"""Checkerboards: the grid that an upsampler prints into a map which should be even.

Odena, Dumoulin, Olah (2016) "Deconvolution and Checkerboard Artifacts", Distill,
https://distill.pub/2016/deconv-checkerboard: a transposed convolution whose kernel its stride does not divide overlaps
unevenly; one that it divides can be even, but its weights don't have to be; resizing by interpolation is even.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_SIDE = 16  # of the even map, of which the borders are left out


def grid_energy(maps: Tensor, period: int) -> float:
    """The share of a map's energy that lies at the frequencies of a grid, all multiples of 1 / period but zero.

    Such a signal repeats in every cell of `period` x `period` pixels, so that this is the energy of the mean cell less its
    mean: 0 for an even map, 1 for alternating 1 and -1.

    Args:
        maps: (..., H, W), sides divisible by `period`, without a trend from one side to the other.
        period: Pixels, the upsampler's scale.

    Raises:
        ValueError: If a side is not divisible by the period.
    """
    height, width = maps.shape[-2:]
    if height % period or width % period:
        raise ValueError(f"a map of {height} x {width} doesn't consist of cells of {period} x {period}; crop it")
    cells = maps.double().reshape(*maps.shape[:-2], height // period, period, width // period, period)
    cell = cells.mean((-4, -2))  # (..., p, p)
    grid = (cell - cell.mean((-2, -1), keepdim=True)).square().mean()
    whole = maps.double().square().mean()
    return float(grid / whole) if whole > 0 else 0.0


@torch.no_grad()
def checkerboard(upsample: Callable[[Tensor], Tensor], *, channels: int, scale: int) -> float:
    """The share of an upsampler's output on an even map that is a checkerboard, 0 to 1, borders left out.

    Args:
        upsample: Maps (N, channels, h, w) to (N, any, ~scale * h, ~scale * w).
        channels: Of the map.
        scale: How many times larger it becomes.
    """
    even = upsample(torch.ones(1, channels, _SIDE, _SIDE))
    margin = _SIDE // 4 * scale
    return grid_energy(
        even[..., margin:-margin, margin:-margin][..., : _SIDE // 4 * scale, : _SIDE // 4 * scale], scale
    )


def checkerboards(model: nn.Module) -> dict[str, float]:
    """The checkerboard of each transposed convolution of a network, by name.

    Interpolations have none, nor a convolution behind one. Pixel shuffles aren't looked at, nor what follows an upsampler.
    """
    return {
        name: _of_conv(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ConvTranspose2d) and module.stride[0] > 1
    }


def _of_conv(conv: nn.ConvTranspose2d) -> float:
    def upsample(x: Tensor) -> Tensor:
        made: Tensor = conv(x.to(conv.weight)).cpu()
        return made

    return checkerboard(upsample, channels=conv.in_channels, scale=conv.stride[0])
