"""Writers of tiny data sets in their real layout; the same seed writes the same files."""

from pathlib import Path

import cv2
import numpy as np

from atrous.errors import DataError
from atrous.types import ClassInfo, RawSample

VALUES_OF_CAMVID = 12  # 11 classes and void


def write_camvid(root: Path, *, splits: dict[str, int], size: tuple[int, int] = (24, 32), seed: int = 0) -> Path:
    """CamVid as the SegNet tutorial lays it out: `splits` maps a split to its number of frames."""
    rng = np.random.default_rng(seed)
    for split, count in splits.items():
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for number in range(count):
            mask = blocks(rng, VALUES_OF_CAMVID, size)
            name = f"{split}_{number:05d}.png"
            cv2.imwrite(str(root / split / name), image_of(mask, rng))
            cv2.imwrite(str(root / f"{split}annot" / name), mask)
    return root


def write_folder(
    root: Path, *, names: list[str], classes: int = 2, size: tuple[int, int] = (24, 32), seed: int = 0
) -> Path:
    """`root/images/NAME.jpg` and `root/masks/NAME.png`; the names may hold folders."""
    rng = np.random.default_rng(seed)
    for name in names:
        image, mask = root / "images" / f"{name}.jpg", root / "masks" / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        mask.parent.mkdir(parents=True, exist_ok=True)
        values = blocks(rng, classes, size)
        cv2.imwrite(str(image), image_of(values, rng))
        cv2.imwrite(str(mask), values)
    return root


def blocks(rng: np.random.Generator, classes: int, size: tuple[int, int]) -> np.ndarray:
    """A mask of 8 x 8 blocks of random classes, uint8."""
    coarse = rng.integers(0, classes, (-(-size[0] // 8), -(-size[1] // 8)), dtype=np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]


def image_of(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image whose colours follow the mask, with noise, uint8 (H, W, 3)."""
    colors = np.random.default_rng(7).integers(20, 236, (256, 3))
    return (colors[mask] + rng.integers(-20, 20, (*mask.shape, 3))).astype(np.uint8)


class Reads:
    """Samples whose reading is noted and fails for `bad` indices."""

    class_info = ClassInfo(("ground", "cell", "edge"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))

    def __init__(self, length, bad=(), values=(0, 1, 255)):
        self.length, self.bad, self.values = length, bad, values
        self.reads = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.reads.append(index)
        if index in self.bad:
            raise DataError(f"file {index} is bad")
        mask = np.resize(np.array(self.values, np.uint8), (4, 6))
        return RawSample(np.full((4, 6, 3), index % 256, np.uint8), mask, str(index))
