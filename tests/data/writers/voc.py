"""VOC 2012 and SBD as their archives unpack, and DeepLab's form of SBD's masks."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from fixtures import blocks, image_of
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

CLASSES = 21


def write_voc(
    root: Path,
    *,
    train: int = 4,
    val: int = 3,
    test: int = 2,
    more: int = 4,
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
) -> Path:
    """`root/VOCdevkit/VOC2012` and `root/benchmark_RELEASE`.

    SBD has masks of its own for all of VOC's train and val images but the first of either, and for `more` others; its
    two lists share them out. Every second image is upright.
    """
    rng = np.random.default_rng(seed)
    voc, sbd = root / "VOCdevkit" / "VOC2012", root / "benchmark_RELEASE" / "dataset"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    (sbd / "cls").mkdir(parents=True)
    names = [f"{2007 + number // 4}_{number:06d}" for number in range(train + val + test + more)]
    parts, start = {}, 0
    for part, count in {"train": train, "val": val, "test": test, "more": more}.items():
        parts[part] = names[start : start + count]
        start += count
    for number, name in enumerate(names):
        values = blocks(rng, CLASSES, size if number % 2 else size[::-1])
        Image.fromarray(image_of(values, rng)).save(voc / "JPEGImages" / f"{name}.jpg")
        if name in parts["train"] + parts["val"]:
            save_palette(with_borders(values), voc / "SegmentationClass" / f"{name}.png")
        if name in parts["train"][1:] + parts["val"][1:] + parts["more"]:
            save_sbd(blocks(rng, CLASSES, values.shape), sbd / "cls" / f"{name}.mat")
    lists = {part: parts[part] for part in ("train", "val", "test")} | {
        "trainval": sorted(parts["train"] + parts["val"])
    }
    for part, listed in lists.items():
        write_lines(voc / "ImageSets" / "Segmentation" / f"{part}.txt", listed)
    annotated = sorted(parts["train"][1:] + parts["val"][1:] + parts["more"])
    write_lines(sbd / "train.txt", annotated[::2])
    write_lines(sbd / "val.txt", annotated[1::2])
    return root


def write_aug(root: Path, *, paths: bool) -> None:
    """Adds VOC2012/SegmentationClassAug and trainaug.txt to what `write_voc` wrote, of names or of files' paths."""
    from scipy.io import loadmat

    voc, sbd = root / "VOCdevkit" / "VOC2012", root / "benchmark_RELEASE" / "dataset"
    (voc / "SegmentationClassAug").mkdir()
    for file in sorted((sbd / "cls").iterdir()):
        values = loadmat(file)["GTcls"]["Segmentation"][0, 0]
        Image.fromarray(values).save(voc / "SegmentationClassAug" / f"{file.stem}.png")
    lists = voc / "ImageSets" / "Segmentation"
    held_out = (lists / "val.txt").read_text().split()
    names = {file.stem for file in (sbd / "cls").iterdir()} | set((lists / "train.txt").read_text().split())
    lines = sorted(names - set(held_out))
    if paths:
        lines = [f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png" for name in lines]
    write_lines(lists / "trainaug.txt", lines)


def save_sbd(values: np.ndarray, path: Path) -> None:
    """A file of SBD's folder cls."""
    boundaries = np.empty((CLASSES - 1, 1), object)
    for label in range(1, CLASSES):
        edge = np.zeros(values.shape, bool)
        edge[:, 1:] = (values[:, 1:] == label) != (values[:, :-1] == label)
        boundaries[label - 1, 0] = csc_matrix(edge)
    present = np.setdiff1d(values, [0]).astype(np.uint8)[:, None]
    content = {"Boundaries": boundaries, "Segmentation": values, "CategoriesPresent": present}
    savemat(path, {"GTcls": content}, do_compression=True)


def save_palette(values: np.ndarray, path: Path) -> None:
    image = Image.fromarray(values, mode="P")
    image.putpalette(label_color_map().tobytes())
    image.save(path)


def label_color_map() -> np.ndarray:
    """The development kit's VOClabelcolormap.m, uint8 (256, 3)."""
    colors = np.zeros((256, 3), np.uint8)
    for index in range(256):
        rest = index
        for shift in range(7, -1, -1):
            for channel in range(3):
                colors[index, channel] |= (rest >> channel & 1) << shift
            rest >>= 3
    return colors


def with_borders(values: np.ndarray) -> np.ndarray:
    """With 255 where a class begins, as VOC marks objects' borders."""
    bordered = values.copy()
    bordered[:, 1:][values[:, 1:] != values[:, :-1]] = 255
    return bordered


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
