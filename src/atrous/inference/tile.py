"""Overlap-tile: a large image through an unpadded network, tile by tile and without seams.

Ronneberger, Fischer, Brox (2015) "U-Net", section 2 and figure 2, https://arxiv.org/abs/1505.04597.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from atrous.errors import ConfigError
from atrous.inference.accumulator import ScoreAccumulator
from atrous.inference.image import Image
from atrous.inference.mode import Network
from atrous.layers.mirror import mirrored


@dataclass(frozen=True, kw_only=True)
class OverlapTile:
    """Overlap-tile with the network's own border and stride.

    Args:
        tile: Side of the network's input in pixels.

    Raises:
        ConfigError: When called with a network that is not unpadded.
    """

    tile: int = 572

    def __call__(self, net: Network, image: Image) -> Iterator[Tensor]:
        valid, border, stride = (getattr(net, name, None) for name in ("valid", "border", "stride"))
        if valid is None or not border or stride is None:
            raise ConfigError(
                f"inference=tile is for unpadded networks, such as model=unet; {type(net).__name__} scores every pixel that it sees. "
                "Use inference=slide."
            )
        try:
            yield from overlap_tile(valid, image, tile=self.tile, border=border, stride=stride)
        except ValueError as error:
            raise ConfigError(f"inference.tile={self.tile}: {error}.") from error

    def __str__(self) -> str:
        return f"tile, mirrored, {self.tile} x {self.tile} pixels each"


def overlap_tile(
    net: Callable[[Tensor], Tensor], image: Image, *, tile: int = 572, border: int = 92, stride: int = 16
) -> Iterator[Tensor]:
    """Logits of an image from a network that needs more image around each pixel than it scores.

    Beyond the image's border the image is mirrored. The tiles lie on multiples of `stride`, so that poolings pair the same
    pixels in every tile, and the result is the same as that of one pass over the mirrored image. The paper's tiles score 388
    pixels, of which the last 4 are scored again by the next tile.

    Args:
        net: (N, 3, tile, tile) -> logits (N, C, tile - 2 border, tile - 2 border), such as `UNet.valid`.
        image: The image.
        tile: Side of the network's input in pixels.
        border: Pixels at each side of a tile that the network reads but does not score.
        stride: Of the network's coarsest map.

    Yields:
        Strips (N, C, any, W) from top to bottom, H rows together.

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
    height, width = image.size
    sums = ScoreAccumulator(height=step, width=width)
    for top in range(0, height, step):
        rows = mirrored(top - border, tile, height)
        lines = slice(int(rows.min()), int(rows.max()) + 1)
        bottom = min(top + step, height)
        for left in range(0, width, step):
            columns = mirrored(left - border, tile, width)
            pixels = image.part(lines, slice(int(columns.min()), int(columns.max()) + 1))
            across = (columns - columns.min()).to(pixels.device)
            scores = net(pixels.index_select(2, (rows - lines.start).to(pixels.device)).index_select(3, across))
            if scores.shape[-2:] != (scored, scored):
                raise ValueError(
                    f"the network's logits for a tile of {tile} are {scores.shape[-2]} x {scores.shape[-1]}, not {scored} x {scored}; "
                    "give tile and border as the network has them, for a U-Net border=net.border, stride=net.stride"
                )
            sums.add(scores[..., : bottom - top, : min(step, width - left)], left)
        yield from sums.finish(bottom - top)
