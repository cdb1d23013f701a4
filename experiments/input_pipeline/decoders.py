"""Times PNG decoders, those that are installed: python experiments/input_pipeline/decoders.py"""

from __future__ import annotations

import importlib
import io
import os
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from run import SIZE, natural_image
from torchvision.io import decode_image

ROUNDS, WARM_UP = 25, 2


def decoders() -> dict[str, Callable[[bytes], Any]]:
    """Each decodes a file's bytes to an array."""
    found: dict[str, Callable[[bytes], Any]] = {
        "OpenCV": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED),
        "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data))),
        "torchvision": lambda data: decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8)),
    }

    def add(package: str, make: Callable[[Any], dict[str, Callable[[bytes], Any]]]) -> None:
        try:
            found.update(make(importlib.import_module(package)))
        except ImportError:
            print(f"{package} is not installed")

    add("imagecodecs", lambda m: {"imagecodecs, libpng": m.png_decode, "imagecodecs, spng": m.spng_decode})
    add("pyspng", lambda m: {"pyspng": m.load})
    add("pyvips", lambda m: {"pyvips": lambda data: m.Image.new_from_buffer(data, "").numpy()})
    # Byte 25 is the colour type: 2 is RGB, 0 grey.
    add("kornia_rs.io", lambda m: {"kornia-rs": lambda d: m.decode_image_png_u8(d, SIZE, "rgb" if d[25] else "mono")})
    return found


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    os.environ["VIPS_CONCURRENCY"] = "1"
    pixels, mask = natural_image()
    files = {}
    for name, array in (("image", pixels), ("mask", mask)):
        bgr = array if array.ndim == 2 else np.ascontiguousarray(array[..., ::-1])
        files[f"{name} by OpenCV"] = cv2.imencode(".png", bgr)[1].tobytes()
        by_pillow = io.BytesIO()
        Image.fromarray(array).save(by_pillow, "PNG")
        files[f"{name} by Pillow"] = by_pillow.getvalue()
    calls, order = decoders(), random.Random(0)
    seconds: dict[tuple[str, str], list[float]] = {(name, file): [] for name in calls for file in files}
    for _ in range(WARM_UP + ROUNDS):
        for name, file in order.sample(list(seconds), len(seconds)):
            start = time.perf_counter()
            calls[name](files[file])
            seconds[name, file].append(time.perf_counter() - start)
    times = {key: 1000 * statistics.median(values[WARM_UP:]) for key, values in seconds.items()}
    print(f"| decoder | {' | '.join(files)} |\n|---|{'---|' * len(files)}")
    for name in calls:
        cells = [f"{times[name, f]:.1f} ({times['OpenCV', f] / times[name, f]:.2f} x)" for f in files]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
