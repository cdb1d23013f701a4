"""Mirroring at an image's borders, as unpadded networks want it."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored(start: int, length: int, size: int, device: torch.device | None = None) -> Tensor:
    """Indices start, start + 1, ... of a side that is mirrored at both ends without repeating the end.

    Args:
        start: May lie before the side.
        length: Number of indices; they may go on beyond the side, and be mirrored again and again.
        size: Of the side in pixels.
        device: Of the result.

    Returns:
        int64 (length,), each 0 to size-1.
    """
    period = max(1, 2 * (size - 1))
    index = torch.arange(start, start + length, device=device) % period
    return torch.minimum(index, period - index)
