"""Draws the figures of this folder and measures how fast scenes are drawn: python experiments/scenes/run.py"""

from __future__ import annotations

import csv
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.data.scenes.scenes import Scenes

HERE = Path(__file__).parent
SEED = 7  # its first scenes show every class
MARGIN, LEGEND = 6, 26  # pixels
KNOBS: list[tuple[str, dict[str, object]]] = [
    ("default", {}),
    ("texture=0 light=0 noise=0", {"texture": 0.0, "light": 0.0, "noise": 0.0}),
    ("color_variation=0", {"color_variation": 0.0}),
    ("context_distance=96", {"context_distance": 96}),
    ("context_distance=0 (off)", {"context_distance": 0}),
    ("scale_range=[32,32]", {"scale_range": (32, 32)}),
    ("thin_width=[6,6]", {"thin_width": (6, 6)}),
    ("rare_probability=1 rare_size=[24,24]", {"rare_probability": 1.0, "rare_size": (24, 24)}),
]


def main() -> None:
    cv2.setNumThreads(1)
    save(sample_sheet(columns=4), "samples.png")
    save(knob_sheet(), "knobs.png")
    rows = [measure(size) for size in ((128, 128), (256, 256), (512, 512), (512, 1024))]
    with (HERE / "speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row)


def sample_sheet(columns: int) -> NDArray[np.uint8]:
    """Images over their masks, then the classes' colours."""
    scenes = Scenes(split="train", size=(192, 256), length=columns, seed=SEED)
    palette = np.array(scenes.class_info.palette, np.uint8)
    samples = [scenes[index] for index in range(columns)]
    sheet = tile([[sample.image for sample in samples], [palette[sample.mask] for sample in samples]])
    legend = np.full((LEGEND, sheet.shape[1], 3), 255, np.uint8)
    step = sheet.shape[1] / scenes.class_info.num_classes
    for k, (name, color) in enumerate(zip(scenes.class_info.names, scenes.class_info.palette, strict=True)):
        x = int(MARGIN + k * step)
        cv2.rectangle(legend, (x, 4), (x + 13, 17), color, cv2.FILLED)
        write(legend, name, (x + 18, 15))
    return np.vstack([sheet, legend])


def knob_sheet() -> NDArray[np.uint8]:
    """One scene with one knob turned at a time."""
    panels = []
    for title, knobs in KNOBS:
        image = Scenes(split="train", length=1000, seed=SEED, **knobs)[28].image  # type: ignore[arg-type]
        caption = np.full((18, image.shape[1], 3), 255, np.uint8)
        write(caption, title, (0, 13))
        panels.append(np.vstack([caption, image]))
    return tile([panels[:4], panels[4:]])


def measure(size: tuple[int, int], *, scenes_per_repeat: int = 100, repeats: int = 9) -> dict[str, object]:
    """Images per second of one core's processor time: the median over the repeats, and their range."""
    scenes = Scenes(split="train", size=size, length=scenes_per_repeat)
    scenes[0]  # builds the texture tiles
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        for index in range(scenes_per_repeat):
            scenes[index]
        rates.append(scenes_per_repeat / (time.process_time() - start))
    return {
        "height": size[0],
        "width": size[1],
        "images_per_second": round(statistics.median(rates)),
        "slowest_repeat": round(min(rates)),
        "fastest_repeat": round(max(rates)),
    }


def tile(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    padded = [
        [cv2.copyMakeBorder(p, 0, MARGIN, 0, MARGIN, cv2.BORDER_CONSTANT, value=(255,) * 3) for p in row]
        for row in rows
    ]
    return np.vstack([np.hstack(row) for row in padded])


def write(image: NDArray[np.uint8], text: str, corner: tuple[int, int]) -> None:
    cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)


def save(image: NDArray[np.uint8], name: str) -> None:
    """As a PNG of 256 colours, which keeps the noisy pictures small."""
    Image.fromarray(image).quantize(256, kmeans=2, dither=Image.Dither.NONE).save(HERE / name, optimize=True)


if __name__ == "__main__":
    main()
