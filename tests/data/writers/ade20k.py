"""Writes a tiny ADE20K (SceneParse150) in its real layout."""

from pathlib import Path

import numpy as np
from fixtures import blocks, image_of
from PIL import Image

FOLDERS = {"train": "training", "val": "validation"}
VALUES = 151  # "other" and 150 classes
SPLITS = {"train": 5, "val": 2, "test": 2}


def write_ade20k(
    root: Path, *, splits: dict[str, int] = SPLITS, size: tuple[int, int] = (24, 32), seed: int = 0
) -> Path:
    """`splits` maps train, val or test to its number of images.

    JPEG images, every second one upright, the last one grey; 8-bit grey PNG masks of 0 to 150. Test has no masks.
    """
    rng = np.random.default_rng(seed)
    challenge = root / "ADEChallengeData2016"
    for split, count in splits.items():
        images = root / "release_test/testing" if split == "test" else challenge / "images" / FOLDERS[split]
        images.mkdir(parents=True)
        for number in range(count):
            mask = blocks(rng, VALUES, size if number % 2 == 0 else (size[1], size[0] + 4))
            name = f"ADE_{split}_{number + 1:08d}"
            image = Image.fromarray(image_of(mask, rng))
            image = image.convert("L") if number == count - 1 else image
            image.save(images / f"{name}.jpg", quality=95)
            if split != "test":
                masks = challenge / "annotations" / FOLDERS[split]
                masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(masks / f"{name}.png")
    return root
