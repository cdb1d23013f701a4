"""Overlap-tile: a large image through an unpadded network, tile by tile and without seams.

Ronneberger, Fischer, Brox (2015) "U-Net", section 2 and figure 2, https://arxiv.org/abs/1505.04597.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def overlap_tile(
    net: Callable[[Tensor], Tensor], images: Tensor, *, tile: int = 572, border: int = 92, stride: int = 16
) -> Tensor:
    """Logits of whole images from a network that needs more image around each pixel than it scores.

    Beyond the image's border the image is mirrored. The tiles lie on multiples of `stride`, so that poolings pair the same
    pixels in every tile, and the result is the same as that of one pass over the mirrored image. The paper's tiles score 388
    pixels, of which the last 4 are scored again by the next tile.

    Args:
        net: (N, 3, tile, tile) -> logits (N, C, tile - 2 border, tile - 2 border), such as `UNet.valid`.
        images: (N, 3, H, W).
        tile: Side of the network's input in pixels.
        border: Pixels at each side of a tile that the network reads but does not score.
        stride: Of the network's coarsest map.

    Returns:
        Logits (N, C, H, W).

    Raises:
        ValueError: If a tile scores fewer than `stride` pixels a side, or the network's logits have another size.
    """
    scored = tile - 2 * border
    step = scored // stride * stride
    if step < 1:
        raise ValueError(
            f"a tile of {tile} with a border of {border} scores {scored} pixels a side, fewer than the stride {stride}; "
            f"use tile={2 * border + stride} or more"
        )
    height, width = images.shape[-2:]
    logits: Tensor | None = None
    for top in range(0, height, step):
        rows = _mirrored(top - border, tile, height, images.device)
        strip = images.index_select(2, rows)  # (N, 3, tile, W)
        for left in range(0, width, step):
            scores = net(strip.index_select(3, _mirrored(left - border, tile, width, images.device)))
            if scores.shape[-2:] != (scored, scored):
                raise ValueError(
                    f"the network's logits for a tile of {tile} are {scores.shape[-2]} x {scores.shape[-1]}, not {scored} x {scored}; "
                    "give tile and border as the network has them, for a U-Net border=net.border, stride=net.stride"
                )
            if logits is None:
                logits = scores.new_empty(*scores.shape[:2], height, width)
            bottom, right = min(top + step, height), min(left + step, width)
            logits[..., top:bottom, left:right] = scores[..., : bottom - top, : right - left]
    if logits is None:
        raise ValueError(f"images of shape {tuple(images.shape)} hold no pixels; give (N, 3, H, W)")
    return logits


def _mirrored(start: int, length: int, size: int, device: torch.device) -> Tensor:
    """Indices start, start + 1, ... of a side that is mirrored at both ends without repeating the end."""
    period = max(1, 2 * (size - 1))
    index = torch.arange(start, start + length, device=device) % period
    return torch.minimum(index, period - index)
