"""Data sets of known content, in every shape that people's own come in.

Each kind writes six samples whose foreground is bright and whose background is dark, and says what is right: that they are read,
or refused with what is to be said. `read` builds a kind's splits as a training does and measures what came of it.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageFilter, TiffImagePlugin

from atrous.data.folder import Folder
from atrous.data.quick_check import check
from atrous.errors import AtrousError

NAMES = tuple(f"s{number}" for number in range(6))
SIZE = (48, 64)  # height, width
BRIGHT, DARK = 200, 40
TWO = ["ground", "cell"]
Settings = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One shape of data set.

    Args:
        write: Called with a folder and the truth, name -> mask of 0 and 1, uint8 (H, W). Returns settings of `data`.
        refused: What the message must hold; empty: the data set is read.
        samples: How many there are in all splits.
        edges: Pixels of a mask that may differ from the truth, where its edges were smeared.
    """

    write: Callable[[Path, dict[str, np.ndarray]], Settings]
    refused: tuple[str, ...] = ()
    samples: int = len(NAMES)
    edges: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of a kind.

    Args:
        message: Why it was refused; None: it was read.
        aligned: Of the pixels read as foreground, how many are bright.
        found: Foreground pixels read.
        true: Foreground pixels written, of the samples that were read.
        samples: How many samples were read.
    """

    message: str | None
    aligned: float = float("nan")
    found: int = 0
    true: int = 0
    samples: int = 0
    differs: int = 0
    splits: dict[str, int] = field(default_factory=dict)


def truth_of(names: tuple[str, ...] = NAMES) -> dict[str, np.ndarray]:
    """Rectangles of whole 8 x 8 blocks, at another place in each sample and in the middle of none, asymmetric."""
    masks = {}
    for number, name in enumerate(names):
        masks[name] = np.zeros(SIZE, np.uint8)
        masks[name][8 : 24 + 8 * (number % 2), 8 : 24 + 8 * (number % 4)] = 1
        masks[name][32:40, 32 + 8 * (number // 4) : 48] = 1
    return masks


def picture(mask: np.ndarray) -> np.ndarray:
    """RGB, uint8: bright where the mask is 1."""
    noise = np.random.default_rng(int(mask.sum())).integers(0, 20, mask.shape, np.uint8)
    grey = np.where(mask > 0, np.uint8(BRIGHT), np.uint8(DARK)) + noise
    return np.stack([grey, grey, grey], axis=2)


def read(kind: Kind, root: Path) -> Outcome:
    """Writes a kind below `root` and reads it as a training would: train and val are built and checked, then read."""
    truth = truth_of()
    with np.errstate(all="raise"):
        settings = kind.write(root, truth)
    names = settings.pop("class_names", TWO)
    bright = found = true = samples = differs = 0
    splits = {}
    try:
        for split in ("train", "val"):
            data = Folder(
                split=split, class_names=names, cache_folder=str(root / "cache"), **{"val_fraction": 0.34} | settings
            )
            check(data)
            splits[split] = len(data)
            for sample in map(data.__getitem__, range(len(data))):
                mask, expected = sample.mask == 1, truth[_name(sample.name)] == 1
                bright += int((sample.image[mask].mean(-1) > (BRIGHT + DARK) / 2).sum())
                found, true, samples = found + int(mask.sum()), true + int(expected.sum()), samples + 1
                differs += int((mask != expected).sum())
    except AtrousError as error:
        return Outcome(str(error))
    return Outcome(None, bright / max(1, found), found, true, samples, differs, splits)


def _name(sample: str) -> str:
    """The truth's name in a sample's."""
    return next(name for name in NAMES if name in unicodedata.normalize("NFC", sample))


# ------------------------------------------------------------------------------------------------------- what writes them


def images(root: Path, truth: dict[str, np.ndarray], change=lambda image, name: image, suffix=".png", **options) -> str:
    """Writes the images, each changed; their folder."""
    return _saved(root / "images", {name: change(Image.fromarray(picture(mask)), name) for name, mask in truth.items()},
                  suffix, options)  # fmt: skip


def masks(root: Path, truth: dict[str, np.ndarray], change=lambda mask, name: mask, suffix=".png", **options) -> str:
    """Writes the masks, each changed; their folder."""
    return _saved(root / "masks", {name: change(mask, name) for name, mask in truth.items()}, suffix, options)


def _saved(folder: Path, content: dict[str, Any], suffix: str, options: dict[str, Any]) -> str:
    for name, image in content.items():
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return str(folder)


def two_folders(settings: Settings | None = None, **how) -> Callable[[Path, dict[str, np.ndarray]], Settings]:
    """A writer of images and masks; `how` are `change`, `suffix` and options of the masks."""
    return lambda root, truth: {"images": images(root, truth), "masks": masks(root, truth, **how), **(settings or {})}


def pictures(settings: Settings | None = None, **how) -> Callable[[Path, dict[str, np.ndarray]], Settings]:
    """The same, of the images."""
    return lambda root, truth: {"images": images(root, truth, **how), "masks": masks(root, truth), **(settings or {})}


def then(write, do) -> Callable[[Path, dict[str, np.ndarray]], Settings]:
    """Writes, then `do(root, settings)`, which may change files and return other settings."""

    def both(root: Path, truth: dict[str, np.ndarray]) -> Settings:
        settings = write(root, truth)
        return do(root, settings) or settings

    return both


def times(factor: int):
    return lambda mask, name: mask * np.uint8(factor)


def only(names: tuple[str, ...], change):
    return lambda mask, name: change(mask, name) if name in names else mask


def indexed(*colors, order=None):
    def change(mask, name):
        image = Image.fromarray(mask, mode="P")
        table = colors if order is None or name not in order else [colors[0], *reversed(colors[1:])]
        image.putpalette([part for color in table for part in color])
        return image

    return change


def colored(*colors):
    return lambda mask, name: np.array(colors, np.uint8)[mask]


def soft(mask, name):
    return Image.fromarray(cv2.GaussianBlur(mask * np.uint8(255), (3, 3), 0.5))


def alpha(mask, name):
    return np.dstack([np.zeros((*mask.shape, 3), np.uint8), mask * np.uint8(255)])


def instances(mask, name):
    return cv2.connectedComponents(mask)[1].astype(np.uint8) * np.uint8(3)


def empty(root: Path, truth: dict[str, np.ndarray]) -> Settings:
    folder = images(root, truth)
    for mask in truth.values():
        mask[:] = 0
    return {"images": folder, "masks": masks(root, truth)}


def stack(root, settings):
    pages = [Image.fromarray(np.full(SIZE, number, np.uint8)) for number in (0, 1, 0)]
    (root / "masks" / "s0.png").unlink()
    pages[0].save(root / "masks" / "s0.tif", save_all=True, append_images=pages[1:])


def renamed(image: str, mask: str):
    def do(root, settings):
        for folder, pattern in (("images", image), ("masks", mask)):
            for path in list((root / folder).iterdir()):
                path.rename(path.with_name(pattern.replace("*", path.stem) + path.suffix))

    return do


def two_forms(root, settings):
    for folder, form in (("images", "NFD"), ("masks", "NFC")):
        for path in list((root / folder).iterdir()):
            path.rename(path.with_name(unicodedata.normalize(form, f"ü {path.name}")))


def rows(root: Path, header: str, line: str, *, sep: str = ",", encoding: str = "utf-8", names=NAMES) -> Settings:
    """A CSV file with a line for each sample; the first two are val."""
    lines = [line.format(name=name, split="val" if number < 2 else "train") for number, name in enumerate(names)]
    (root / "all.csv").write_text("\n".join([header, *lines]).replace(",", sep), encoding=encoding)
    return {"csv": str(root / "all.csv")}


def table(header: str, line: str = "images/{name}.png,masks/{name}.png,{split}", **how):
    return then(two_folders(), lambda root, settings: rows(root, header, line, **how))


def split_folders(root, truth, *, drawn: bool) -> Settings:
    parts = {"train": {n: truth[n] for n in NAMES[:4]}, "val": {n: truth[n] for n in NAMES[4:]}}
    for split, part in parts.items():
        images(root / "x" / split, part), masks(root / "x" / split, part)
        for kind in ("images", "masks"):
            (root / kind).mkdir(exist_ok=True)
            (root / "x" / split / kind).rename(root / kind / split)
    if drawn:
        return {kind: str(root / kind) for kind in ("images", "masks")}
    return {kind: {split: str(root / kind / split) for split in parts} for kind in ("images", "masks")}


def outlines(write) -> Callable[[Path, dict[str, np.ndarray]], Settings]:
    """Images, and the truth's outlines in an annotation tool's files: `write(root, name -> list of corners)`."""

    def both(root: Path, truth: dict[str, np.ndarray]) -> Settings:
        found = {}
        for name, mask in truth.items():
            finer = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
            contours, _ = cv2.findContours(finer, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            found[name] = [np.ceil(contour[:, 0] / 2).tolist() for contour in contours]
        return {"images": images(root, truth), **write(root, found)}

    return both


def coco(root, found, *, box=False, height=SIZE[0]) -> Settings:
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "cell"}]}
    for number, (name, shapes) in enumerate(found.items()):
        content["images"].append({"id": number, "file_name": f"{name}.png", "height": height, "width": SIZE[1]})
        content["annotations"] += [
            {"id": f"{number}.{at}", "image_id": number, "category_id": 3, "bbox": [0, 0, 9, 9],
             "segmentation": [] if box else [np.ravel(corners).tolist()]}
            for at, corners in enumerate(shapes)
        ]  # fmt: skip
    (root / "all.json").write_text(json.dumps(content))
    return {"annotations": str(root / "all.json")}


def labelme(root, found, *, key="annotations") -> Settings:
    (root / "json").mkdir()
    for name, shapes in found.items():
        entries = [{"label": "cell", "points": corners, "shape_type": "polygon"} for corners in shapes]
        content = {"shapes": entries, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (root / "json" / f"{name}.json").write_text(json.dumps(content))
    return {key: str(root / "json")}


def yolo(root, found) -> Settings:
    (root / "labels").mkdir()
    (root / "data.yaml").write_text("names: [cell]\n")
    for name, shapes in found.items():
        lines = [" ".join(["0", *(f"{v:.17g}" for v in (np.array(s) / SIZE[::-1]).ravel())]) for s in shapes]
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines))
    return {"annotations": str(root / "labels")}


def cityscapes(root, found) -> Settings:
    (root / "gtFine").mkdir()
    for name, shapes in found.items():
        content = {"imgHeight": SIZE[0], "imgWidth": SIZE[1]}
        content["objects"] = [{"label": "cell", "polygon": corners} for corners in shapes]
        (root / "gtFine" / f"{name}_gtFine_polygons.json").write_text(json.dumps(content))
    return {"annotations": str(root / "gtFine"), "mask_name": "*_gtFine_polygons"}


def cvat(root, found) -> Settings:
    images = []
    for name, shapes in found.items():
        drawn = [f'<polygon label="cell" points="{";".join(f"{x},{y}" for x, y in s)}"/>' for s in shapes]
        images.append(f'<image name="{name}.png" width="{SIZE[1]}" height="{SIZE[0]}">{"".join(drawn)}</image>')
    (root / "all.xml").write_text(f"<annotations>{''.join(images)}</annotations>")
    return {"annotations": str(root / "all.xml")}


def few(count: int, settings: Callable[[Path], Settings] = lambda root: {}):
    def write(root, truth):
        part = {name: truth[name] for name in NAMES[:count]}
        return {"images": images(root, part), "masks": masks(root, part), **settings(root)}

    return write


def turned(image: Image.Image, name: str) -> Image.Image:
    """Stored half a turn around, with an EXIF tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 3
    image = image.rotate(180)
    image.info["exif"] = exif.tobytes()
    return image


def geotiff(root, truth) -> Settings:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, value in ((33550, 12, (1.0, 1.0, 0.0)), (34735, 3, (1, 1, 0, 1)), (42113, 2, "nan")):
        tags.tagtype[tag] = kind
        tags[tag] = value
    how = {"suffix": ".tif", "tiffinfo": tags}
    return {"images": images(root, truth, **how), "masks": masks(root, truth, **how)}


def spoil(path: str, do: Callable[[Path], object]):
    return lambda root, settings: do(root / path) and None


def cut(path: Path):
    return path.write_bytes(path.read_bytes()[:90])


MAP = {"value_map": {0: 0, 255: 1}}
GREEN = {"palette": [[0, 0, 0], [0, 255, 0]]}

KINDS: dict[str, Kind] = {
    # -------------------------------------------------------------------------------------------------- values of masks
    "0 and 1": Kind(two_folders()),
    "0 and 255": Kind(two_folders(change=times(255)), ("value_map={0: 0, 255: 1}",)),
    "0 and 255, value_map": Kind(two_folders(MAP, change=times(255))),
    "0 and 255 among 0 and 1": Kind(two_folders(change=only(NAMES[1::2], times(255))), ("masks", "value_map={0: 0, 1: 1, 255: 1}")),
    "1 and 2": Kind(two_folders(change=lambda m, n: m + np.uint8(1)), ("value_map={1: 0, 2: 1}",)),
    "1 and 2, value_map": Kind(two_folders({"value_map": {1: 0, 2: 1}}, change=lambda m, n: m + np.uint8(1))),
    "7 and 26": Kind(two_folders(change=lambda m, n: m * np.uint8(19) + np.uint8(7)), ("7 (", "value_map")),
    "255 beside 0 and 1": Kind(two_folders(change=lambda m, n: np.where(np.arange(64) < 2, 255, m).astype(np.uint8))),
    "-1 beside 0 and 1": Kind(two_folders(change=lambda m, n: np.where(np.arange(64) < 2, -1, m.astype(np.int32)), suffix=".tif"),
        ("-1 (", "value_map={-1: 255")),
    "-1 beside 0 and 1, value_map": Kind(two_folders({"value_map": {-1: 255, 0: 0, 1: 1}},
        change=lambda m, n: np.where(np.arange(64) < 2, -1, m.astype(np.int32)), suffix=".tif")),
    "a number for each object": Kind(two_folders(change=instances), ("3 (", "mask_threshold=1")),
    "a number for each object, mask_threshold": Kind(two_folders({"mask_threshold": 1}, change=instances)),
    "soft edges": Kind(two_folders(change=soft), ("mask_threshold=128",)),
    "soft edges, mask_threshold": Kind(two_folders({"mask_threshold": 128}, change=soft), edges=60),
    "floats 0 and 1": Kind(two_folders(change=lambda m, n: m.astype(np.float32), suffix=".tif"), ("mode F",)),
    "floats 0 to 1, mask_threshold": Kind(two_folders({"mask_threshold": 0.5}, change=lambda m, n: m * np.float32(0.9), suffix=".tif")),
    "NaN": Kind(two_folders({"mask_threshold": 0.5}, change=lambda m, n: np.where(m, np.nan, 0).astype(np.float32), suffix=".tif"),
        ("not finite",)),
    "background alone": Kind(empty),
    # ------------------------------------------------------------------------------------------------- formats of masks
    "1-bit masks": Kind(two_folders(change=lambda m, n: m > 0)),
    "16-bit masks": Kind(two_folders(change=lambda m, n: m.astype(np.uint16))),
    "TIFF masks": Kind(two_folders(suffix=".tif", compression="tiff_lzw")),
    "BMP masks": Kind(two_folders(suffix=".bmp")),
    "GIF masks": Kind(two_folders(suffix=".gif")),
    "PGM masks": Kind(two_folders(suffix=".pgm")),
    "lossless WebP masks": Kind(two_folders(change=lambda m, n: np.dstack([m] * 3), suffix=".webp", lossless=True)),
    "indexed masks": Kind(two_folders(change=indexed((0, 0, 0), (128, 0, 0)))),
    "indexed masks of two orders": Kind(two_folders({"class_names": ["ground", "cell", "edge"]},
        change=indexed((0, 0, 0), (0, 255, 0), (255, 0, 0), order=NAMES[:2])), ("colour tables", "palette=")),
    "RGB masks": Kind(two_folders(change=colored((0, 0, 0), (0, 255, 0))), ("palette=[[r, g, b]",)),
    "RGB masks, palette": Kind(two_folders(GREEN, change=colored((0, 0, 0), (0, 255, 0)))),
    "RGB masks with soft edges, palette": Kind(two_folders(GREEN,
        change=lambda m, n: cv2.GaussianBlur(colored((0, 0, 0), (0, 255, 0))(m, n), (5, 5), 1)), ("not in the palette", "nearest_value")),
    "RGB masks with soft edges, nearest_value": Kind(two_folders({**GREEN, "nearest_value": True},
        change=lambda m, n: cv2.GaussianBlur(colored((0, 0, 0), (0, 255, 0))(m, n), (3, 3), 0.5)), edges=60),
    "a third colour": Kind(two_folders(GREEN, change=colored((0, 0, 0), (0, 250, 0))), ("[0, 250, 0]", "palette")),
    "RGBA masks": Kind(two_folders(change=lambda m, n: np.dstack([m, m, m, np.full_like(m, 255)]))),
    "masks as transparency": Kind(two_folders(change=alpha), ("transparency",)),
    "JPEG masks": Kind(two_folders(change=times(255), suffix=".jpg"), ("JPEG", "mask_threshold=128")),
    "JPEG masks, mask_threshold": Kind(two_folders({"mask_threshold": 128}, change=times(255), suffix=".jpg")),
    "a stack as mask": Kind(then(two_folders(), stack), ("holds 3 images",)),
    # --------------------------------------------------------------------------------------------------------- outlines
    "COCO": Kind(outlines(coco)),
    "LabelMe": Kind(outlines(labelme)),
    "YOLO": Kind(outlines(yolo)),
    "Cityscapes polygons": Kind(outlines(cityscapes)),
    "CVAT": Kind(outlines(cvat)),
    "COCO boxes": Kind(outlines(lambda root, found: coco(root, found, box=True)), ("is a box",)),
    "COCO of another size": Kind(outlines(lambda root, found: coco(root, found, height=96)), ("48 x 64", "96 x 64")),
    "LabelMe where masks are named": Kind(outlines(lambda root, found: labelme(root, found, key="masks")), ("6 .json", "annotations=")),
    # ---------------------------------------------------------------------------------------------------- image and mask
    "masks of another size": Kind(two_folders(change=lambda m, n: m[:40]), ("40 x 64", "48 x 64")),
    "masks on their side": Kind(two_folders(change=lambda m, n: np.ascontiguousarray(m.T)), ("turned",)),
    "folders in folders": Kind(lambda root, truth: two_folders()(root, {f"a/{n}": m for n, m in truth.items()})),
    "*_mask": Kind(then(two_folders({"mask_suffix": "_mask"}), renamed("*", "*_mask"))),
    "img_* and mask_*": Kind(then(two_folders(), renamed("img_*", "mask_*")), ("'data.image_name=img_s*' 'data.mask_name=mask_s*'",)),
    "img_* and mask_*, image_name": Kind(then(two_folders({"image_name": "img_*", "mask_name": "mask_*"}), renamed("img_*", "mask_*"))),
    "two forms of Unicode": Kind(then(two_folders(), two_forms)),
    "extensions in capitals": Kind(pictures(suffix=".PNG")),
    "two images of one name": Kind(then(two_folders(), lambda root, s: Image.new("L", (9, 9)).save(root / "images" / "s0.bmp")),
        ("have one name", "CSV")),
    "a missing mask": Kind(then(two_folders(), spoil("masks/s3.png", os.unlink)), ("1 of 6 images", "s3.png")),
    "a mask without image": Kind(then(two_folders(), spoil("images/s3.png", os.unlink)), ("belong to no sample", "s3.png")),
    "an image that isn't read": Kind(then(two_folders(), lambda root, s: (root / "images" / "s9.heic").write_bytes(b"x") and None),
        ("belong to no sample", "s9.heic")),
    "masks inside the images' folder": Kind(then(two_folders(), lambda root, s: {**s, "masks": str(
        (root / "masks").rename(root / "images" / "masks"))})),
    "one folder for both": Kind(then(two_folders(), lambda root, s: {**s, "masks": s["images"]}), ("its own mask",)),
    # --------------------------------------------------------------------------------------------------------------- CSV
    "CSV": Kind(table("image,mask,split")),
    "CSV with Split": Kind(table("Image, Mask, Split")),
    "CSV with subset": Kind(table("image,mask,subset"), ("'subset'", "Call it split")),
    "CSV without splits": Kind(table("image,mask", "images/{name}.png,masks/{name}.png")),
    "CSV with semicolons": Kind(table("image,mask,split", sep=";"), ("expected image, mask",)),
    "CSV from Excel": Kind(table("image,mask,split", encoding="utf-8-sig")),
    "CSV in UTF-16": Kind(table("image,mask,split", encoding="utf-16"), ("UTF-8",)),
    "CSV with an image twice": Kind(table("image,mask,split", names=(*NAMES, "s5")), ("twice",)),
    # ------------------------------------------------------------------------------------------------------------ splits
    "a folder for each split": Kind(lambda root, truth: split_folders(root, truth, drawn=False)),
    "train and val among what is drawn": Kind(lambda root, truth: split_folders(root, truth, drawn=True), ("folders called train, val",)),
    "two images": Kind(few(2), samples=2),
    "one image": Kind(few(1), ("'val' is empty", "'data.images={train: F, val: F}'")),
    "one image for both splits": Kind(few(1, lambda root: {
        kind: {split: str(root / kind) for split in ("train", "val")} for kind in ("images", "masks")}), samples=2),
    # ------------------------------------------------------------------------------------------------------------ damage
    "a truncated image": Kind(then(two_folders(), spoil("images/s2.png", cut)), ("s2.png", "no complete image")),
    "a truncated mask": Kind(then(two_folders(), spoil("masks/s2.png", cut)), ("s2.png", "no complete image")),
    "an empty file": Kind(then(two_folders(), lambda root, s: (root / "masks" / "s2.png").write_bytes(b"") and None), ("0 bytes",)),
    "a web page": Kind(then(two_folders(), lambda root, s: (root / "images" / "s2.png").write_text("<html>") and None),
        ("s2.png", "no complete image")),
    "an animation": Kind(pictures(suffix=".gif", save_all=True, append_images=[Image.new("L", SIZE[::-1])]), ("holds 2 images",)),
    # ------------------------------------------------------------------------------------------------------------ images
    "JPEG images": Kind(pictures(suffix=".jpg", quality=95)),
    "JFIF images": Kind(pictures(suffix=".jfif", format="JPEG", quality=95)),
    "grey images": Kind(pictures(change=lambda i, n: i.convert("L"))),
    "indexed images": Kind(pictures(change=lambda i, n: i.quantize(32))),
    "RGBA images": Kind(pictures(change=lambda i, n: i.convert("RGBA"))),
    "CMYK images": Kind(pictures(change=lambda i, n: i.convert("CMYK"), suffix=".jpg", quality=95)),
    "WebP images": Kind(pictures(suffix=".webp", quality=95)),
    "GeoTIFF": Kind(geotiff),
    "progressive JPEG images": Kind(pictures(suffix=".jpg", progressive=True, quality=95)),
    "blurred images": Kind(pictures(change=lambda i, n: i.filter(ImageFilter.GaussianBlur(0.3)))),
}  # fmt: skip
