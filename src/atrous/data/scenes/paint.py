"""Paints the surfaces of a scene: colour, texture, light and sensor noise."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.data.scenes.canvas import Canvas, Texture

_PERIOD = 512  # pixels after which textures and noise repeat


def paint(
    canvas: Canvas,
    *,
    texture_rng: np.random.Generator,
    light_rng: np.random.Generator,
    texture: float,
    light: float,
    noise: float,
) -> NDArray[np.uint8]:
    """Colours the map of surfaces.

    Args:
        canvas: The drawn scene.
        texture_rng: Stream of the textures' and the noise's positions.
        light_rng: Stream of the light.
        texture: Strength of the textures, 0 (flat colours) to 1.
        light: Strength of exposure, colour cast, brightness gradient and shadows, 0 (none) to 1.
        noise: Standard deviation of the sensor noise in grey levels of 255.

    Returns:
        The image, uint8 (H, W, 3) RGB.
    """
    H, W = canvas.ids.shape
    table = np.zeros((1, 256, 3), np.float32)
    table[0, : len(canvas.colors)] = np.clip(canvas.colors, 0, 255)
    gain = np.ones((H, W), np.float32)
    if light > 0:
        exposure, cast = light_rng.normal(0.0, 0.2), light_rng.normal(0.0, 0.06, 3)
        table *= np.exp(light * (exposure + cast)).astype(np.float32)
        gain = _illumination(H, W, light_rng, light)
    offsets = texture_rng.integers(_PERIOD, size=(len(Texture) + 1, 2))
    if texture > 0:
        gain *= 1 + np.float32(texture) * _relief(canvas, offsets)
    image = cv2.LUT(cv2.merge([canvas.ids] * 3), table)  # float32 (H, W, 3)
    cv2.multiply(image, cv2.merge([gain] * 3), dst=image)
    if noise > 0:
        y, x = offsets[-1]
        image = cv2.scaleAdd(_noise(H, W)[y : y + H, x : x + W], noise, image)
    painted: NDArray[np.uint8] = cv2.add(image, 0.0, dtype=cv2.CV_8U)  # rounds and saturates
    return painted


def _illumination(H: int, W: int, rng: np.random.Generator, light: float) -> NDArray[np.float32]:
    """Brightness over the image: a linear gradient and two soft-edged shadows."""
    angle, steepness = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.35)
    x = np.linspace(-1, 1, W, dtype=np.float32) * np.float32(light * steepness * np.cos(angle))
    y = np.linspace(-1, 1, H, dtype=np.float32) * np.float32(light * steepness * np.sin(angle))
    shadow = np.ones((H, W), np.float32)
    for _ in range(2):
        depth = 1 - light * rng.uniform(0.2, 0.5)
        left, width, lean = W * rng.uniform(-0.2, 1.0), W * rng.uniform(0.08, 0.3), W * rng.uniform(-0.6, 0.6)
        top, bottom = H * rng.uniform(0.0, 0.6), H * rng.uniform(0.7, 1.1)
        corners = ((left, top), (left + width, top), (left + width + lean, bottom), (left + lean, bottom))
        cv2.fillConvexPoly(shadow, np.array(corners).round().astype(np.int32), depth)
    softness = max(3, H // 64 * 2 + 1)
    blurred: NDArray[np.float32] = cv2.blur(shadow, (softness, softness))
    return blurred * (1 + y[:, None] + x[None, :])


def _relief(canvas: Canvas, offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each pixel's texture value, about -0.5 to 0.5, from the tile that its surface wears."""
    H, W = canvas.ids.shape
    kinds = np.zeros(256, np.uint8)
    kinds[: len(canvas.textures)] = canvas.textures
    kind_map = cv2.LUT(canvas.ids, kinds)
    relief = np.zeros((H, W), np.float32)
    for kind, tile in _tiles(H, W).items():
        y, x = offsets[kind]
        cv2.copyTo(tile[y : y + H, x : x + W], cv2.compare(kind_map, float(kind), cv2.CMP_EQ), relief)
    return relief


@lru_cache(maxsize=4)
def _tiles(H: int, W: int) -> dict[Texture, NDArray[np.float32]]:
    """Periodic textures, each (512 + H, 512 + W) so that a window of (H, W) fits at any offset."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:_PERIOD, 0:_PERIOD] * (2 * np.pi / _PERIOD)
    coarse, fine, warp = _fractal(rng, 1.6), _fractal(rng, 0.6), _fractal(rng, 1.8)
    grain = rng.normal(0.0, 1.0, (_PERIOD, _PERIOD))
    course = np.floor(y * _PERIOD / (2 * np.pi) / 4).astype(int)
    bond = (x * _PERIOD / (2 * np.pi) + 4 * (course % 2)).astype(int)
    mortar = ((np.arange(_PERIOD)[:, None] % 4) == 0) | (bond % 8 == 0)
    tiles = {
        Texture.GRAIN: 0.09 * grain + 0.08 * coarse,
        Texture.CLOUD: 0.09 * coarse,
        Texture.GRASS: 0.12 * coarse + 0.16 * fine,
        Texture.FURROW: 0.24 * np.sin(64 * y + 1.6 * warp) + 0.06 * fine,
        Texture.BRICK: 0.1 - 0.24 * mortar + 0.05 * coarse,
    }
    return {kind: _extend(tile, H, W) for kind, tile in tiles.items()}


@lru_cache(maxsize=4)
def _noise(H: int, W: int) -> NDArray[np.float32]:
    """Periodic Gaussian noise of standard deviation 1, (512 + H, 512 + W, 3)."""
    return _extend(np.random.default_rng(1).normal(0.0, 1.0, (_PERIOD, _PERIOD, 3)), H, W)


def _fractal(rng: np.random.Generator, slope: float) -> NDArray[np.float64]:
    """Periodic noise whose amplitude falls as frequency to the power of -slope; standard deviation 1."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_PERIOD), np.fft.rfftfreq(_PERIOD), indexing="ij"))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.normal(0.0, 1.0, (_PERIOD, _PERIOD))) / np.maximum(frequency, 4 / _PERIOD) ** slope
    spectrum[0, 0] = 0
    pattern: NDArray[np.float64] = np.fft.irfft2(spectrum, s=(_PERIOD, _PERIOD))
    pattern /= pattern.std()
    return pattern


def _extend(tile: NDArray[np.float64], H: int, W: int) -> NDArray[np.float32]:
    padding = ((0, H), (0, W)) + ((0, 0),) * (tile.ndim - 2)
    return np.pad(tile, padding, mode="wrap").astype(np.float32)
