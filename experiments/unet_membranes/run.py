"""Trains a narrow U-Net by the recipe membranes_unet_20k on made-up slices, with and without deformation and rotation.

python experiments/unet_membranes/run.py [--updates 240] [--seeds 1]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import atrous

HERE = Path(__file__).parent
SLICES = 30  # as in the challenge; the last 6 are val
SIDE = 192
ARMS = {
    "deformed and turned": [],
    "neither": ["data.train_transform.elastic=0", "data.train_transform.rotation=0"],
}
# What makes the recipe small enough for a CPU: an eighth of the channels, one pooling less, a tile of 100 pixels.
SMALL = [
    "trainer=cpu",
    "model.encoder.channels=[8,16,32,64]",
    "model.decoder_channels=[32,16,8]",
    "data.train_transform.crop_size=[100,100]",
    "data.num_workers=0",
    "logger=csv",
]


def make_slice(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cells between dark membranes, with dark organelles that are no membranes: image and label (255 is cell)."""
    places = np.mgrid[:SIDE, :SIDE].astype(float)
    places += [6 * _smooth(rng, 12) for _ in range(2)]  # bends the membranes
    seeds = rng.uniform(-20, SIDE + 20, (70, 2))
    distances = np.sqrt(((places[:, None] - seeds.T[..., None, None]) ** 2).sum(axis=0))  # (70, H, W)
    nearest = np.partition(distances, 1, axis=0)
    membrane = nearest[1] - nearest[0] < 2.5 + 0.6 * _smooth(rng, 20)
    organelles = (_smooth(rng, 3) > 1.9) & (nearest[1] - nearest[0] > 8)
    grey = 165 + 14 * _smooth(rng, 4) + 16 * _smooth(rng, 40)
    grey[organelles] -= 70
    grey[membrane] = 75 + 22 * _smooth(rng, 8)[membrane]
    grey = ndimage.gaussian_filter(grey, 0.8) + rng.normal(scale=14, size=grey.shape)
    return grey.clip(0, 255).astype(np.uint8), np.where(membrane, 0, 255).astype(np.uint8)


def _smooth(rng: np.random.Generator, sigma: float) -> NDArray[np.float64]:
    """Noise of mean 0 and standard deviation 1 that varies over `sigma` pixels."""
    noise = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), sigma, mode="wrap")
    smooth: NDArray[np.float64] = (noise - noise.mean()) / noise.std()
    return smooth


def write_stacks(root: Path) -> None:
    """The challenge's two files of labelled slices."""
    rng = np.random.default_rng(0)
    images, labels = zip(*(make_slice(rng) for _ in range(SLICES)), strict=True)
    for name, arrays in (("train-volume", images), ("train-labels", labels)):
        pages = [Image.fromarray(array) for array in arrays]
        pages[0].save(root / f"{name}.tif", save_all=True, append_images=pages[1:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_stacks(root)
        for seed in range(options.seeds):
            for arm, overrides in ARMS.items():
                run = atrous.train(
                    "experiment=membranes_unet_20k",
                    *SMALL,
                    f"data.root={root}",
                    f"paths.runs={root / 'runs'}",
                    f"paths.cache={root / 'cache'}",
                    f"trainer.max_steps={options.updates}",
                    f"trainer.val_check_interval={options.updates // 8}",
                    f"seed={seed}",
                    *overrides,
                )
                scores = {"miou": round(run.score, 4), "membrane_iou": round(float(run.iou[0]), 4)}
                rows.append({"training": arm, "seed": seed, **scores})
                print(rows[-1], flush=True)
    with (HERE / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
