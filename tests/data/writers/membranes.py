"""Writes a tiny ISBI 2012 stack as the challenge's TIFF files, or as the folders of PNGs that many copies have."""

from pathlib import Path

import numpy as np
from fixtures import blocks, image_of
from PIL import Image


def write_membranes(
    root: Path,
    *,
    slices: int = 30,
    test_slices: int = 3,
    png: bool = False,
    size: tuple[int, int] = (24, 32),
    seed: int = 0,
) -> Path:
    """`slices` labelled ones and `test_slices` without labels; PNGs are called 0.png to 29.png, without zeros."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    masks = [blocks(rng, 2, size) for _ in range(slices + test_slices)]
    images = [image_of(mask, rng)[..., 0] for mask in masks]
    parts = {
        ("train-volume.tif", "train/image"): images[:slices],
        ("train-labels.tif", "train/label"): [mask * np.uint8(255) for mask in masks[:slices]],
        ("test-volume.tif", "test"): images[slices:],
    }
    for (stack, folder), arrays in parts.items():
        pages = [Image.fromarray(array) for array in arrays]
        if png:
            (root / folder).mkdir(parents=True)
            for number, page in enumerate(pages):
                page.save(root / folder / f"{number}.png")
        else:
            pages[0].save(root / stack, save_all=True, append_images=pages[1:])
    return root
