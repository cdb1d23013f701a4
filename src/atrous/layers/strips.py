"""Bilinear resizing of parts: the values of `F.interpolate` of the whole, without the whole.

They differ by the last bits where a side grows by a power of two, and by 2e-5 otherwise, where torch's own kernels differ in how
they round positions; see experiments/fused_labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CPU_STRIP = 2**18  # logits in a strip that is read once: 1 MiB of float32, which stays in a processor's cache
DEVICE_STRIP = 2**25  # 128 MiB, so that the launches of many small strips don't show


class Neighbours(NamedTuple):
    """Where some pixels of a resized side come from."""

    first: int  # of the source's pixels that are needed
    last: int  # one beyond them
    above: Tensor  # int64 (pixels,), counted from `first`
    below: Tensor
    share: Tensor  # (pixels,): of `below`

    def blend(self, source: Tensor, dim: int) -> Tensor:
        """The resized pixels from source pixels `first` to `last` along `dim` of any tensor."""
        above, below = self.above.to(source.device), self.below.to(source.device)
        share = self.share.to(source).view(-1, *[1] * (source.ndim - 1 - dim))
        return torch.lerp(source.index_select(dim, above), source.index_select(dim, below), share)


def neighbours(source: int, target: int, start: int, stop: int, dtype: torch.dtype = torch.float32) -> Neighbours:
    """Of pixels `start` to `stop` of a side that is resized from `source` to `target` pixels (`align_corners=False`).

    Args:
        source, target: The side's pixels before and after.
        start, stop: Which pixels of the target.
        dtype: That positions are computed in; torch computes them in float32 for float32 images.
    """
    scale = torch.tensor(source, dtype=dtype) / target
    position = (scale * (torch.arange(start, stop, dtype=dtype) + 0.5) - 0.5).clamp(min=0)
    above = position.long().clamp(max=source - 1)
    below = (above + 1).clamp(max=source - 1)
    first = int(above[0])
    return Neighbours(first, int(below[-1]) + 1, above - first, below - first, position - above)


def strip_rows(batch: int, classes: int, width: int, device: torch.device) -> int:
    """How many rows of scores (batch, classes, rows, width) to hold at a time."""
    limit = CPU_STRIP if device.type == "cpu" else DEVICE_STRIP
    return max(1, limit // (batch * classes * width))


def resized_strips(strips: Iterable[Tensor], source: tuple[int, int], size: tuple[int, int]) -> Iterator[Tensor]:
    """Resizes scores that come in strips.

    Args:
        strips: (N, C, any, w) from top to bottom, h rows together; one strip may be all of them.
        source: (h, w).
        size: (H, W) of the result.

    Yields:
        float32 (N, C, s, W) from top to bottom, as `F.interpolate(..., mode="bilinear")` of the whole has them.
    """
    (h, w), (H, W) = source, size
    incoming = iter(strips)
    held = next(incoming)  # source rows from `start` on
    start = top = 0
    rows = strip_rows(held.shape[0], held.shape[1], W, held.device)
    while top < H:
        bottom = min(top + rows, H)
        wanted = neighbours(h, H, top, bottom)
        while start + held.shape[2] < wanted.last:
            kept = held[:, :, max(0, wanted.first - start) :]
            start += held.shape[2] - kept.shape[2]
            held = torch.cat([kept, next(incoming)], dim=2)
        # (N, C, r, w), a pixel's classes together in memory, which halves the time to find the largest
        part = held[:, :, wanted.first - start : wanted.last - start].float()
        part = part.contiguous(memory_format=torch.channels_last)
        if w != W:  # columns first: there are fewer of them while the rows are still few
            part = F.interpolate(part, size=(part.shape[2], W), mode="bilinear", align_corners=False)
        yield part[:, :, : bottom - top] if h == H else wanted.blend(part.movedim(1, 3), dim=1).movedim(3, 1)
        top = bottom
