"""Pictures of segments: their mean colours, their outlines, and the steps that led to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.pages.contact_sheet import contact_sheet, thumbnail
from atrous.pages.images import Pixels

_TILE = 320  # pixels of the longer side of a step's picture
_STEPS = 12  # at most
_OUTLINE = (255, 221, 0)


def mean_colours(image: Pixels, segments: NDArray[Any]) -> Pixels:
    """Each segment (H, W) in the mean colour of its pixels (H, W, 3), outlined."""
    flat = segments.ravel()
    sizes = np.maximum(np.bincount(flat), 1)
    means = np.stack([np.bincount(flat, weights=channel) / sizes for channel in image.reshape(-1, 3).T], axis=1)
    picture: Pixels = means.round().astype(np.uint8)[segments]
    edge = np.zeros(segments.shape, bool)
    edge[:, :-1] |= segments[:, :-1] != segments[:, 1:]
    edge[:-1] |= segments[:-1] != segments[1:]
    picture[edge] = _OUTLINE
    return picture


def shaded(values: NDArray[Any]) -> Pixels:
    """Numbers (H, W) from dark at the least to light at the largest."""
    from matplotlib import colormaps  # a second

    low, high = float(values.min()), float(values.max())
    picture = colormaps["viridis"]((values - low) / ((high - low) or 1), bytes=True)
    return np.ascontiguousarray(picture[..., :3])


def strip(pictures: list[Pixels], captions: list[str], *, title: str) -> Pixels:
    """At most twelve evenly spaced steps side by side, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, _STEPS).astype(int))
    tiles = [thumbnail(pictures[step], _TILE) for step in chosen]
    return contact_sheet(tiles, [captions[step] for step in chosen], [], columns=4, title=title)
