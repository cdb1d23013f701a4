"""Cityscapes as its archives unpack."""

from pathlib import Path

import numpy as np
from fixtures import blocks, image_of
from PIL import Image

CITIES = {
    "train": ("aachen", "zurich"),
    "val": ("frankfurt", "munster"),
    "test": ("berlin", "munich"),
    "train_extra": ("bad-honnef", "troisdorf"),
}
IDS = 34  # labels with an id from 0 on
HIDDEN = 4  # the ids that gtFine's placeholders for the test split hold
THINGS = range(24, 34)


def write_cityscapes(
    root: Path, *, frames: dict[str, int] | None = None, size: tuple[int, int] = (48, 64), seed: int = 0
) -> Path:
    """`root/leftImg8bit`, `root/gtFine` and `root/gtCoarse`; `frames` maps a split to its number of frames.

    The frames alternate between two cities. Label files hold every id; the coarse labels of a frame are mostly
    unlabelled. Split train_extra has the frame that is published black, besides.
    """
    rng = np.random.default_rng(seed)
    frames = {"train": 5, "val": 3, "test": 2, "train_extra": 4} if frames is None else frames
    for split, count in frames.items():
        for number in range(count):
            city = CITIES[split][number % 2]
            stem = f"{split}/{city}/{city}_{number:06d}_000019"
            ids = blocks(rng, IDS, size)
            write(root / f"leftImg8bit/{stem}_leftImg8bit.png", image_of(ids, rng))
            if split != "train_extra":
                write_labels(root, "gtFine", stem, blocks(rng, HIDDEN, size) if split == "test" else ids)
            if split != "test":
                write_labels(root, "gtCoarse", stem, np.where(blocks(rng, 2, size) == 0, ids, 0).astype(np.uint8))
    if "train_extra" in frames:
        stem = "train_extra/troisdorf/troisdorf_000000_000073"
        write(root / f"leftImg8bit/{stem}_leftImg8bit.png", np.zeros((*size, 3), np.uint8))
        write_labels(root, "gtCoarse", stem, np.zeros(size, np.uint8))
    return root


def write_labels(root: Path, kind: str, stem: str, ids: np.ndarray) -> None:
    """The three PNGs of a frame; `ids` of things become one instance each."""
    instances = np.where(np.isin(ids, THINGS), ids.astype(np.uint16) * 1000, ids.astype(np.uint16))
    write(root / kind / f"{stem}_{kind}_labelIds.png", ids)
    write(root / kind / f"{stem}_{kind}_instanceIds.png", instances)
    write(root / kind / f"{stem}_{kind}_color.png", np.stack([ids * 7] * 3 + [np.full_like(ids, 255)], -1))


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
