"""What a pixel is to a clustering: colour, place, gradient, texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from atrous.classical.method import Pixels, described
from atrous.errors import ConfigError

Features = NDArray[np.float32]  # (h, w, D)
_SCALES = (1.0, 2.0)  # of the filter bank, in pixels
_ORDERS = ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0))  # derivatives down and across


class FeatureMap(Protocol):
    """uint8 (H, W, 3) -> float32 (H, W, D)."""

    def __call__(self, image: Pixels) -> Features: ...


@dataclass(kw_only=True)
class PixelFeatures:
    """Features side by side, each kind multiplied by its weight; 0 leaves it out.

    Args:
        rgb: Red, green and blue, 0 to 1.
        lab: CIELAB (D65) / 100, so that the lightness is 0 to 1.
        position: Row and column as shares of the longer side.
        gradient: The lightness's gradient, smoothed over 1 pixel; its largest is 1.
        texture: The energy of a bank of Gaussian derivatives at two scales and five orientations, as in Malik, Belongie,
            Leung, Shi: Contour and Texture Analysis for Image Segmentation. IJCV 2001; the largest is 1.

    Raises:
        ConfigError: If all weights are 0, or one is negative.
    """

    rgb: float
    lab: float
    position: float
    gradient: float
    texture: float

    def __post_init__(self) -> None:
        weights = vars(self)
        if min(weights.values()) < 0 or not any(weights.values()):
            given = ", ".join(f"{name}={weight}" for name, weight in weights.items())
            raise ConfigError(f"method.features has {given}; give weights from 0 on, at least one of them above 0.")

    def __call__(self, image: Pixels) -> Features:
        kinds = {"rgb": _rgb, "lab": lab, "position": _position, "gradient": _gradient, "texture": _texture}
        parts = [np.float32(weight) * kinds[name](image) for name, weight in vars(self).items() if weight]
        return np.concatenate(parts, axis=2)

    def __str__(self) -> str:
        return described(self)


def lab(image: Pixels) -> Features:
    """CIELAB / 100 of RGB."""
    converted: Features = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) / 100
    return converted


def _rgb(image: Pixels) -> Features:
    return image.astype(np.float32) / np.float32(255)


def _position(image: Pixels) -> Features:
    places: Features = np.moveaxis(np.indices(image.shape[:2], dtype=np.float32), 0, 2)
    return places / np.float32(max(image.shape[:2]))


def _gradient(image: Pixels) -> Features:
    return _largest_is_1(ndimage.gaussian_gradient_magnitude(lab(image)[..., 0], 1.0)[..., None])


def _texture(image: Pixels) -> Features:
    lightness = lab(image)[..., 0]
    bank = [
        ndimage.gaussian_filter(np.abs(ndimage.gaussian_filter(lightness, scale, order)), 2 * scale)
        * scale ** sum(order)
        for scale in _SCALES
        for order in _ORDERS
    ]
    return _largest_is_1(np.stack(bank, axis=2))


def _largest_is_1(values: Features) -> Features:
    scaled: Features = (values / max(float(values.max()), 1e-6)).astype(np.float32)
    return scaled
