"""What the results of convolutions, poolings, paddings and interpolations depend on; see `atrous.analysis.operation`.

Each is told by places: for each place of the output the places of the input that it reads, along one axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from atrous.analysis.operation import NOTHING, Extents, Operation, by_name, of_first

# (axis, length before, length after) -> int64 (length after, places), below 0 or beyond the end for none
Places = Callable[[int, int, int], Tensor]


def _take(extent: Tensor, dim: int, places: Tensor) -> Tensor:
    """Joins what the places read along a dimension of the tensor."""
    size = extent.shape[dim + 1]
    if size == 1:
        return extent
    outside = (places < 0) | (places >= size)
    padded = torch.cat([extent, torch.full_like(extent.narrow(dim + 1, 0, 1), NOTHING)], dim + 1)
    read = padded.index_select(dim + 1, places.masked_fill(outside, size).flatten())
    shape = (*extent.shape[: dim + 1], *places.shape, *extent.shape[dim + 2 :])
    return read.view(shape).amin(dim + 2)


def _take_both(op: Operation, extent: Tensor, places: Places) -> Tensor:
    """`_take` along height and width."""
    for axis, dim in enumerate((len(op.shape) - 2, len(op.shape) - 1)):
        if extent.shape[dim + 1] > 1:
            extent = _take(extent, dim, places(axis, op.shape[dim], op.out[dim]))
    return extent


def _reading(places: Callable[[Operation], Places]) -> Callable[[Operation, Tensor], Tensor]:
    return lambda op, extent: _take_both(op, extent, places(op))


def _windows(length: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    return torch.arange(length)[:, None] * stride - padding + torch.arange(kernel) * dilation


def _convolution(op: Operation, extents: Extents) -> Extents | None:
    extent, kernel = extents[0], op.shapes[1][2:]
    if extent is None or any(other is not None for other in extents[1:]) or len(kernel) != 2:
        return None
    stride, padding, dilation = (op.pair(name) for name in ("stride", "padding", "dilation"))

    def places(axis: int, before: int, after: int) -> Tensor:
        if not op.get("transposed"):
            return _windows(after, kernel[axis], stride[axis], padding[axis], dilation[axis])
        reached = torch.arange(after)[:, None] + padding[axis] - torch.arange(kernel[axis]) * dilation[axis]
        return torch.where(reached % stride[axis] == 0, reached.div(stride[axis], rounding_mode="floor"), -1)

    return [_take_both(op, extent, places)]


def _pooling(op: Operation) -> Places:
    kernel, padding = op.pair("kernel_size"), op.pair("padding")
    stride = op.pair("stride") if op["stride"] else kernel
    dilation = op.pair("dilation") if op.get("dilation") else [1, 1]
    return lambda axis, _, after: _windows(after, kernel[axis], stride[axis], padding[axis], dilation[axis])


def _adaptive_pooling(op: Operation) -> Places:
    def places(_: int, before: int, after: int) -> Tensor:
        cells = torch.arange(after)[:, None]
        first, end = cells * before // after, ((cells + 1) * before + after - 1) // after
        read = first + torch.arange(int((end - first).max()))
        return torch.where(read < end, read, -1)

    return places


def _interpolation(op: Operation) -> Places:
    scales = op.get("scale_factors") or [op.get("scales_h"), op.get("scales_w")]

    def places(axis: int, before: int, after: int) -> Tensor:
        aligned = op.get("align_corners")
        step = before / after if not scales[axis] else 1 / scales[axis]
        pixels = torch.arange(after, dtype=torch.float64)
        if "nearest" in op.name:
            return ((pixels + 0.5 * ("exact" in op.name)) * step).floor().long().clamp(max=before - 1)[:, None]
        step = (before - 1) / max(1, after - 1) if aligned else step
        source = pixels * step if aligned else (pixels + 0.5) * step - 0.5
        cubic = "bicubic" in op.name
        source = source if cubic else source.clamp(min=0)
        # A place between two pixels reads both, or four of a cubic; one on a pixel reads that alone.
        floor = source.floor().long()[:, None]
        read = floor + (torch.arange(-1, 3) if cubic else torch.arange(2))
        read = torch.where((source == source.floor())[:, None], floor, read)
        return read.clamp(0, before - 1)

    return places


def _constant_padding(op: Operation, extent: Tensor) -> Tensor:
    for i, before in enumerate(op["pad"][::2]):
        dim = len(op.shape) - 1 - i
        extent = _take(extent, dim, torch.arange(op.out[dim])[:, None] - before)
    return extent


def _continued_padding(op: Operation) -> Places:
    left, right, top, bottom = op["padding"]
    mode, sides = "reflect" if "reflection" in op.name else "replicate", ((top, bottom), (left, right))

    def places(axis: int, before: int, _: int) -> Tensor:
        return F.pad(torch.arange(before)[None, None].double(), sides[axis], mode).long()[0, 0][:, None]

    return places


def _unpooling(op: Operation, extents: Extents) -> Extents:
    """A value goes somewhere into the window that it was taken from, where its index says."""
    union = functools.reduce(torch.minimum, [extent for extent in extents if extent is not None])
    return [_take_both(op, union, lambda _, before, after: (torch.arange(after) * before // after)[:, None])]


def _shuffling(op: Operation) -> Places:
    return lambda _, before, after: torch.arange(after)[:, None] // op["upscale_factor"]


def _unshuffling(op: Operation) -> Places:
    factor = op["downscale_factor"]
    return lambda _, before, after: _windows(after, factor, factor, 0, 1)


WINDOW_RULES = by_name(
    {
        "convolution _convolution conv2d cudnn_convolution mkldnn_convolution": _convolution,
        "max_pool2d_with_indices max_pool2d avg_pool2d": of_first(_reading(_pooling)),
        "_adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d": of_first(_reading(_adaptive_pooling)),
        "upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d": of_first(
            _reading(_interpolation)
        ),
        "constant_pad_nd pad": of_first(_constant_padding),
        "reflection_pad2d replication_pad2d": of_first(_reading(_continued_padding)),
        "max_unpool2d": _unpooling,
        "pixel_shuffle": of_first(_reading(_shuffling)),
        "pixel_unshuffle": of_first(_reading(_unshuffling)),
    }
)
