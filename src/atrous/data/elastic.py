"""Smooth random deformations and rotations of a crop, for images of which there are only a few.

Ronneberger, Fischer, Brox (2015) "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI,
https://arxiv.org/abs/1505.04597, section 3.1: random displacements on a coarse 3 x 3 grid, drawn from a normal of 10
pixels' standard deviation, and interpolated bicubically. albumentations has others: its `ElasticTransform` smooths
noise (Simard et al. 2003), its `GridElasticDeform` moves cells by whole numbers.

Where the paper is silent: the grid spans the crop, one node in each corner; the bicubic interpolation is the cubic
spline that is flat at the crop's borders; the image is mirrored at its borders (figure 2), its labels with it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from atrous.data.io.files import Mask
from atrous.data.scale_crop import draw_factor

_NODES = 3  # along each side of the grid


def random_elastic_crop(
    image: NDArray[np.uint8],
    mask: Mask,
    *,
    size: tuple[int, int],
    scale: tuple[float, float],
    elastic: float,
    rotation: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], Mask]:
    """Scales and crops as `random_scale_crop`, but reads the crop deformed and rotated, in one resampling.

    With `elastic` and `rotation` 0 the crop is that of `random_scale_crop` with the same `rng`, up to the rounding of
    the interpolation. What lies beyond the image is mirrored instead of padded.

    Args:
        image: uint8 (H, W, 3).
        mask: (H, W).
        size: Height and width of the crop.
        scale: Smallest and largest factor, drawn uniformly.
        elastic: Standard deviation of the grid's displacements, in pixels of the crop.
        rotation: The crop is turned about its centre by up to ± so many degrees, drawn uniformly.
        rng: Draws factor, position, displacements and angle.

    Returns:
        uint8 (*size, 3), resampled bilinearly, and (*size) of the mask's type, each label that of the nearest pixel.
    """
    factor = draw_factor(scale, rng)
    scaled = [max(1, round(side * factor)) for side in mask.shape]
    offset = [int(rng.integers(min(0, s - c), max(0, s - c), endpoint=True)) for s, c in zip(scaled, size, strict=True)]
    moves = rng.normal(scale=elastic, size=(2, _NODES, _NODES))
    places = crop_places(size, moves, math.radians(rng.uniform(-rotation, rotation)))  # (2, *size)
    ys, xs = (
        _mirrored((along + o + 0.5) * length / s - 0.5, length)
        for along, o, length, s in zip(places, offset, mask.shape, scaled, strict=True)
    )
    top, left = int(ys.min()), int(xs.min())  # OpenCV's remap is limited to 32767 pixels a side
    window = image[top : int(ys.max()) + 2, left : int(xs.max()) + 2]
    out: NDArray[np.uint8] = cv2.remap(
        window,
        (xs - left).astype(np.float32),
        (ys - top).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    rows, cols = (np.floor(along + 0.5).astype(np.intp) for along in (ys, xs))
    return out, mask[rows, cols]


def crop_places(size: tuple[int, int], moves: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Computes where each pixel of a crop reads: its own place turned about the crop's centre, and displaced.

    Args:
        size: Height and width of the crop.
        moves: (2, 3, 3) displacements down and to the right, in pixels, at the nodes of a grid over the crop.
        angle: In radians.

    Returns:
        (2, *size) rows and columns; 0 is the centre of the first pixel.
    """
    down, across = (np.arange(side, dtype=np.float64) for side in size)
    y, x = np.meshgrid(down - down.mean(), across - across.mean(), indexing="ij")
    turned = np.stack(
        [
            math.cos(angle) * y + math.sin(angle) * x + down.mean(),
            math.cos(angle) * x - math.sin(angle) * y + across.mean(),
        ]
    )
    rows, cols = (_spline(side) for side in size)  # (H, 3) and (W, 3)
    places: NDArray[np.float64] = turned + rows @ moves @ cols.T
    return places


def _spline(side: int) -> NDArray[np.float64]:
    """Weights of the nodes for each of `side` pixels along one side of the grid, (side, nodes)."""
    spline = CubicSpline(np.arange(_NODES), np.eye(_NODES), bc_type="clamped")
    weights: NDArray[np.float64] = spline(np.linspace(0, _NODES - 1, side))
    return weights


def _mirrored(places: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Places along a side of `length` pixels, mirrored at both ends without repeating the end."""
    period = max(1, 2 * (length - 1))
    places = np.abs(places) % period
    return np.minimum(np.minimum(places, period - places), length - 1)
