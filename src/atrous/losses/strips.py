"""Sums and maps over upsampled logits that are never held whole.

Logits of 19 x 1024 x 2048 take 152 MiB in float32, and autograd keeps several tensors of that size. Here a strip of rows is
resized, what is wanted of it is computed, and the strip is forgotten; the backward pass computes each strip again.
`experiments/loss_memory` measures both: it is faster as well, because a strip fits the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from atrous.layers.strips import DEVICE_STRIP, neighbours

Piece = Callable[[Tensor, Tensor], Tensor]
CPU_STRIP = 2**19  # logits in a strip: 2 MiB of float32


def map_strips(logits: Tensor, mask: Tensor, piece: Piece) -> Tensor:
    """One value for each pixel.

    Args:
        logits: (N, C, h, w) of any float type; resized to the mask (bilinear, `align_corners=False`).
        mask: int64 (N, H, W).
        piece: (logits (n, C, s, W), float32 at least; mask (n, s, W)) -> (n, s, W): a differentiable function of each
            pixel by itself. It is called again in the backward pass.

    Returns:
        (N, H, W), float32 at least, with a gradient for `logits`.
    """
    result: Tensor = _strips(logits, mask, piece, None)
    return result


def sum_strips(logits: Tensor, mask: Tensor, piece: Piece, values: int) -> Tensor:
    """Sums over the pixels of each image.

    Args:
        logits, mask: As for `map_strips`.
        piece: (logits (n, C, s, W), mask (n, s, W)) -> (n, values), sums over each image's part of a strip.
        values: Number of sums.

    Returns:
        (N, values), float32 at least, with a gradient for `logits`.
    """
    result: Tensor = _strips(logits, mask, piece, values)
    return result


def resized(logits: Tensor, mask: Tensor) -> Tensor:
    """The whole logits at the mask's size, in float32 at least: for what can't be computed in strips."""
    logits = logits.to(_wide(logits))
    if logits.shape[-2:] == mask.shape[-2:]:
        return logits
    return F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # compiled code calls it as it is
def _strips(logits: Tensor, mask: Tensor, piece: Piece, values: int | None) -> Tensor:
    with torch.autocast(logits.device.type, enabled=False):
        result: Tensor = _Strips.apply(logits, mask, piece, values)
    return result


class _Strips(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, mask: Tensor, piece: Piece, values: int | None) -> Tensor:
        ctx.save_for_backward(logits, mask)
        ctx.piece, ctx.values = piece, values
        shape = mask.shape if values is None else (len(mask), values)
        whole = logits.new_zeros(shape, dtype=_wide(logits))
        for strip in _cut(logits, mask):
            part = strip.of(whole) if values is None else whole[strip.images]
            part += piece(strip.resize(strip.source(logits)), strip.of(mask))
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        logits, mask = ctx.saved_tensors
        total = torch.zeros_like(logits, dtype=_wide(logits))
        with torch.autocast(logits.device.type, enabled=False):
            for strip in _cut(logits, mask):
                source = strip.source(logits).detach().requires_grad_()
                with torch.enable_grad():
                    value = ctx.piece(strip.resize(source), strip.of(mask))
                part = strip.of(gradient) if ctx.values is None else gradient[strip.images]
                strip.source_of(total).add_(torch.autograd.grad(value, source, part)[0])
        return total.to(logits.dtype), None, None, None


class _Strip:
    """Some rows of some images of the mask, and the logits' rows that they come from."""

    def __init__(self, images: slice, rows: slice, logits: Tensor, mask: Tensor) -> None:
        self.images, self.rows, self.width = images, rows, mask.shape[-1]
        self.same = logits.shape[-2:] == mask.shape[-2:]
        self.source_rows = rows
        if not self.same:
            sides = logits.shape[-2], mask.shape[-2]
            self.neighbours = neighbours(*sides, rows.start, rows.stop, torch.float64)
            self.source_rows = slice(self.neighbours.first, self.neighbours.last)

    def of(self, whole: Tensor) -> Tensor:
        """Of a tensor (N, H, W), the part (n, s, W)."""
        return whole[self.images, self.rows]

    def source_of(self, logits: Tensor) -> Tensor:
        """Of a tensor (N, C, h, w), the part (n, C, r, w)."""
        return logits[self.images, :, self.source_rows]

    def source(self, logits: Tensor) -> Tensor:
        """(n, C, r, w), a class's rows together in memory, which is faster to resize and to normalise."""
        return self.source_of(logits).to(_wide(logits)).contiguous()

    def resize(self, source: Tensor) -> Tensor:
        """(n, C, r, w) to (n, C, s, W)."""
        if self.same:
            return source
        wide = F.interpolate(source, size=(source.shape[2], self.width), mode="bilinear", align_corners=False)
        return self.neighbours.blend(wide, dim=2)


def _cut(logits: Tensor, mask: Tensor) -> Iterator[_Strip]:
    """Strips of about the same number of logits: rows of one image, or several whole images where they are small."""
    count, (H, W), classes = len(mask), mask.shape[-2:], logits.shape[1]
    limit = CPU_STRIP if logits.device.type == "cpu" else DEVICE_STRIP
    images = max(1, limit // (classes * H * W))
    rows = H if images > 1 else max(1, limit // (classes * W))
    for image in range(0, count, images):
        for row in range(0, H, rows):
            yield _Strip(slice(image, min(image + images, count)), slice(row, min(row + rows, H)), logits, mask)


def _wide(logits: Tensor) -> torch.dtype:
    """float32, or float64 where the logits are."""
    return torch.promote_types(logits.dtype, torch.float32)
