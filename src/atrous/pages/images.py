"""Pictures of labels: colouring, overlays, PNG files and data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.system.files import whole_file
from atrous.types import ClassInfo

Pixels = NDArray[np.uint8]


def colour(mask: NDArray[Any], class_info: ClassInfo) -> Pixels:
    """(H, W) class indices -> (H, W, 3) RGB by the palette; ignored pixels are black."""
    lut = np.zeros((max(256, class_info.num_classes, class_info.ignore_index + 1), 3), np.uint8)
    lut[: class_info.num_classes] = class_info.palette
    if class_info.ignore_index >= 0:
        lut[class_info.ignore_index] = 0
    picture: Pixels = lut[mask]
    return picture


def overlay(image: Pixels, mask: NDArray[Any], class_info: ClassInfo, *, opacity: float = 0.5) -> Pixels:
    """The palette's colours over the image, both (H, W, 3)."""
    blended = (1 - opacity) * image + opacity * colour(mask, class_info)
    return blended.round().astype(np.uint8)


def side_by_side(image: Pixels, truth: NDArray[Any], prediction: NDArray[Any], class_info: ClassInfo) -> Pixels:
    """image | truth | prediction, (H, 3 W + 8, 3) with white gaps."""
    gap = np.full((image.shape[0], 4, 3), 255, np.uint8)
    return np.concatenate([image, gap, colour(truth, class_info), gap, colour(prediction, class_info)], axis=1)


def save_image(path: Path, picture: NDArray[Any]) -> None:
    """Writes a PNG."""
    with whole_file(path) as file:
        Image.fromarray(picture).save(file, format="png")


def picture_uri(picture: Image.Image, file_format: str, **options: Any) -> str:
    """A data URI, `options` being those of Pillow's writer for "png" or "webp"."""
    file = io.BytesIO()
    picture.save(file, format=file_format, **options)
    return f"data:image/{file_format};base64,{base64.b64encode(file.getvalue()).decode()}"
