"""Times one training sample, from its files to its tensors, in several orders: python experiments/input_pipeline/run.py"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # before its import, which asks a registry otherwise

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image

from atrous.data.cache import InMemory, OnDisk
from atrous.data.io import png
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs
from atrous.data.sampling import Transformed
from atrous.data.scenes.scenes import CLASS_INFO, Scenes
from atrous.data.transforms import IMAGENET_MEAN, IMAGENET_STD, TrainTransform

SIZE, CROP, SCALE = (1024, 2048), (768, 768), (0.5, 2.0)
COLOR = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.05}
ROUNDS, WARM_UP = 61, 3


def natural_image() -> tuple[np.ndarray, np.ndarray]:
    """A street scene under noise whose power falls with its frequency, as a photograph's does; and the scene's mask."""
    scene = Scenes(split="train", size=SIZE, length=1, noise=0, texture=0, light=0)[0]
    rng = np.random.default_rng(0)

    def octaves(channels: int) -> np.ndarray:
        total = np.zeros((*SIZE, channels), np.float32)
        for length in 2 ** np.arange(8):
            grid = rng.standard_normal((SIZE[0] // length, SIZE[1] // length, channels)).astype(np.float32)
            total += length**0.75 * cv2.resize(grid, SIZE[::-1], interpolation=cv2.INTER_CUBIC).reshape(total.shape)
        return total

    image = scene.image + octaves(1) + 0.2 * octaves(3)
    return image.round().clip(0, 255).astype(np.uint8), scene.mask


def with_opencv(path: Path, pixels: np.ndarray) -> None:
    cv2.imwrite(str(path), pixels if pixels.ndim == 2 else pixels[..., ::-1])


def with_pillow(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def usual_order(image: Path, mask: Path) -> Callable[[int], Any]:
    """Decode all, resize all, crop, flip, colour, normalise: the recipe of albumentations' documentation."""
    augment = A.Compose(
        [
            A.RandomScale(scale_limit=(SCALE[0] - 1, SCALE[1] - 1), p=1),
            A.PadIfNeeded(*CROP, border_mode=cv2.BORDER_CONSTANT, fill_mask=255),
            A.RandomCrop(*CROP),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(**{name: (1 - v, 1 + v) if name != "hue" else (-v, v) for name, v in COLOR.items()}, p=1),
            A.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ToTensorV2(),
        ]
    )

    def sample(number: int) -> Any:
        pixels = cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB)
        augmented = augment(image=pixels, mask=cv2.imread(str(mask), cv2.IMREAD_UNCHANGED))
        return augmented["image"], augmented["mask"].long()

    return sample


def contenders(image: Path, mask: Path, folder: Path) -> dict[str, Callable[[int], Any]]:
    """Each makes the sample's augmentation of a number."""
    pairs = FilePairs(
        title="", remedy="", names=["a"], images=[image], masks=[mask], reader=MaskReader(class_info=CLASS_INFO)
    )
    transform = TrainTransform(crop_size=CROP, scale=SCALE, blur=0, **COLOR)
    ours = {
        name: Transformed(dataset=dataset, transform=transform, seed=0)
        for name, dataset in {"none": pairs, "ram": InMemory(pairs), "disk": OnDisk(pairs, folder=folder)}.items()
    }
    kornia = png.decode_image_png_u8

    def with_opencv_alone(number: int) -> Any:
        png.decode_image_png_u8 = None
        try:
            return ours["none"][number, 0]
        finally:
            png.decode_image_png_u8 = kornia

    found: dict[str, Callable[[int], Any]] = {
        "bare decoding, OpenCV": lambda number: (cv2.imread(str(image)), cv2.imread(str(mask), -1)),
        "usual order": usual_order(image, mask),
        "crop first, OpenCV": with_opencv_alone,
    }
    if kornia is not None:
        found["bare decoding, kornia-rs"] = lambda number: (
            kornia(image.read_bytes(), SIZE, "rgb"),
            kornia(mask.read_bytes(), SIZE, "mono"),
        )
        found["crop first, kornia-rs"] = lambda number: ours["none"][number, 0]
    found["crop first, `cache=ram`"] = lambda number: ours["ram"][number, 0]
    found["crop first, `cache=disk`"] = lambda number: ours["disk"][number, 0]
    return found


def medians(calls: dict[str, Callable[[int], Any]]) -> dict[str, float]:
    """Milliseconds of one sample; the contenders take turns, in a new order each round."""
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + ROUNDS):
        for name in order.sample(list(calls), len(calls)):
            start = time.perf_counter()
            calls[name](number)
            seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values[WARM_UP:]) for name, values in seconds.items()}


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print(f"OpenCV {cv2.__version__}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f} before", file=sys.stderr)
    pixels, classes = natural_image()
    print(
        "| PNG written by | variant | median ms | of bare decoding | faster than the usual order |\n|---|---|---|---|---|"
    )
    for writer, write in {"OpenCV": with_opencv, "Pillow": with_pillow}.items():
        with tempfile.TemporaryDirectory() as folder:
            image, mask = Path(folder, "image.png"), Path(folder, "mask.png")
            write(image, pixels)
            write(mask, classes)
            case = f"{writer}, {image.stat().st_size / 1e6:.2f} MB"
            times = medians(contenders(image, mask, Path(folder)))
        for name, value in times.items():
            bare, usual = value / times["bare decoding, OpenCV"], times["usual order"] / value
            print(f"| {case} | {name} | {value:.1f} | {bare:.2f} | {usual:.1f} x |", flush=True)
    print(f"load {os.getloadavg()[0]:.1f} after", file=sys.stderr)


if __name__ == "__main__":
    main()
