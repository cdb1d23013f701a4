"""Labels images of any size by a checkpoint's network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.config.messages import describe
from atrous.data.io.files import read_image
from atrous.data.io.png import write_labels
from atrous.data.io.strips import open_image
from atrous.engine.checkpoint import Restored
from atrous.engine.trainer import build_fabric
from atrous.errors import ConfigError, DataError
from atrous.inference.image import Decoded, Rows
from atrous.inference.labels import most_likely, strip_labels
from atrous.pages.images import overlay, save_image
from atrous.system.files import write_arrays
from atrous.system.text import one_line
from atrous.types import ClassInfo

LARGEST = 2**32  # bytes of probabilities that are gathered for one file
AnyImage = NDArray[np.uint8] | PIL.Image.Image | Path | str


class Predictor:
    """A checkpoint's network with all that it takes to label an image as `atrous predict` does.

    An image is an array, uint8 RGB (H, W, 3) or grey (H, W), a PIL image, or the path of a file.

    Args:
        restored: The checkpoint.
    """

    def __init__(self, restored: Restored) -> None:
        self._restored = restored
        self._fabric = build_fabric(restored.config["trainer"])
        self._scorer = restored.scorer.to(self._fabric.device).eval()

    @property
    def model(self) -> torch.nn.Module:
        """The network, on the device that it runs on."""
        return self._scorer.model

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, and void where the network has an output for it; a label is an index of them."""
        return self._restored.scorer.label_info.names

    def predict(self, image: AnyImage) -> NDArray[np.integer[Any]]:
        """The most likely class of each pixel, indices (H, W): uint8 up to 256 classes and int64 above.

        Raises:
            DataError: If the file can't be read, or the array is no image.
        """
        pixels = _pixels(image)
        labels: NDArray[np.integer[Any]] = strip_labels(self.scores(pixels), len(pixels))[0].cpu().numpy()
        return labels

    def probabilities(self, image: AnyImage) -> NDArray[np.float32]:
        """The probability of each class at each pixel, (C, H, W).

        Raises:
            DataError: As `predict`.
        """
        strips = [strip[0].softmax(0).float().cpu() for strip in self.scores(_pixels(image))]
        probabilities: NDArray[np.float32] = torch.cat(strips, dim=1).numpy()
        return probabilities

    def overlay(self, image: AnyImage) -> NDArray[np.uint8]:
        """The palette's colours over the image, RGB (H, W, 3).

        Raises:
            DataError: As `predict`.
        """
        pixels = _pixels(image)
        return overlay(pixels, self.predict(pixels), self._restored.scorer.label_info)

    def scores(self, image: Rows) -> Iterator[Tensor]:
        """Strips of scores (1, C, any, W) from top to bottom, whose softmax are the probabilities."""
        scorer = self._scorer
        source = Decoded(
            image, self._restored.normalise, device=self._fabric.device, memory_format=scorer.memory_format
        )
        strips = scorer.inference(scorer.model, source)
        while True:
            with torch.no_grad(), self._fabric.autocast():
                strip = next(strips, None)
            if strip is None:
                return
            yield strip


def _pixels(image: AnyImage) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3)."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, PIL.Image.Image) and image.mode.startswith(("I", "F")):  # Pillow would cut them to 255
        raise DataError(
            f"an image is of Pillow's mode {image.mode}; expected 8 bits for each channel. Give its file, or scale it to 0 to 255."
        )
    pixels = np.asarray(image.convert("RGB") if isinstance(image, PIL.Image.Image) else image)
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=2)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DataError(
            f"an image is {pixels.dtype} {pixels.shape}; expected uint8 RGB (H, W, 3), such as numpy.asarray(Image.open(path).convert('RGB'))."
        )
    return np.ascontiguousarray(pixels)


Named = Iterator[tuple[str, Rows | Exception]]
SUFFIXES = {"labels": ".png", "overlays": ".png", "iterates": ".png", "probabilities": ".npz"}  # of each kind of result


def open_files(names: Mapping[Path, str], *, max_pixels: int, folder: Path, progress: Callable[[float], None]) -> Named:
    """Images by the names of their results, each opened when it is its turn; in place of one that can't be read its error.

    Args:
        names: The names by the files.
        max_pixels: Refuse what has more.
        folder: Made; holds the pixels of an image that is too large for memory.
        progress: Told the share of a large image that is decoded, 0 to 1.
    """
    for path, name in names.items():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            image: Rows | Exception = open_image(path, max_pixels=max_pixels, folder=folder, progress=progress)
        except (DataError, OSError) as error:
            image = error
        yield name, image


def label_images(images: Named, write: Callable[[Rows, str], object], out: Path) -> dict[str, str]:
    """Labels images one after the other, and goes on where one can't be.

    What an earlier `predict` left in `out` under an image's name goes first: it may be another network's.

    Args:
        images: By name.
        write: Labels one and writes its results.
        out: Where `write` does so.

    Returns:
        Of the images that have no results: the name and why.

    Raises:
        ConfigError: If a setting is refused and no image was labelled before.
    """
    failed: dict[str, str] = {}
    labelled = False
    for name, image in images:
        for kind, suffix in SUFFIXES.items():
            (out / kind / f"{name}{suffix}").unlink(missing_ok=True)
        try:
            if isinstance(image, Exception):
                raise image
            write(image, name)
            labelled = True
        except Exception as error:  # whatever this image leads to, the next one may do
            if isinstance(error, ConfigError) and not labelled:
                raise
            failed[name] = one_line(describe(error))
    return failed


def write_prediction(
    predictor: Predictor,
    image: Rows,
    out: Path,
    name: str,
    kinds: Sequence[str],
    *,
    class_info: ClassInfo,
    overlay_size: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> Path:
    """Labels an image and writes its label PNG, and where they are asked for its overlay and probabilities.

    Labels and overlay are written while the scores come in from top to bottom. The files appear whole or not at all.

    Args:
        predictor: Labels it.
        image: The image.
        out: The folder to write to.
        name: Of the image.
        kinds: Of "labels", "overlays" and "probabilities"; each has a folder in `out`.
        class_info: The classes; labels are written as their ids.
        overlay_size: The overlay's longer side at most; it shows every n-th row and column of a larger image.
        advance: Told how many rows are done, strip by strip.

    Returns:
        The label PNG.

    Raises:
        DataError: If the probabilities would take more than `LARGEST` bytes.
    """
    for kind in kinds:
        (out / kind / name).parent.mkdir(parents=True, exist_ok=True)
    size = image.shape[0], image.shape[1]
    gathered = _room_for_probabilities(name, class_info.num_classes, size) if "probabilities" in kinds else None
    ids = np.array(class_info.ids, np.uint8 if max(class_info.ids) < 256 else np.uint16)
    path, step, top = out / "labels" / f"{name}.png", -(-max(size) // overlay_size), 0
    overlays: list[NDArray[np.uint8]] = []
    with write_labels(path, size, ids.dtype) as write:
        for scores in predictor.scores(image):
            labels = most_likely(scores)[0].cpu().numpy()
            bottom = top + len(labels)
            write(ids[labels])
            first = -top % step
            if "overlays" in kinds and first < len(labels):
                pixels = image[slice(top, bottom)][first::step, ::step]
                overlays.append(overlay(pixels, labels[first::step, ::step], class_info))
            if gathered is not None:
                gathered[:, top:bottom] = scores[0].softmax(0).cpu().numpy()
            top = bottom
            advance(len(labels))
    if overlays:
        save_image(out / "overlays" / f"{name}.png", np.concatenate(overlays))
    if gathered is not None:
        write_arrays(out / "probabilities" / f"{name}.npz", probabilities=gathered)
    return path


def _room_for_probabilities(name: str, classes: int, size: tuple[int, int]) -> NDArray[np.float16]:
    needed = 2 * classes * size[0] * size[1]
    if needed > LARGEST:
        raise DataError(
            f"probabilities=true would gather {needed / 2**30:.1f} GiB for {name}, {size[0]} x {size[1]} pixels of {classes} "
            f"classes; up to {LARGEST / 2**30:.0f} GiB are possible. Leave it out, or cut the image."
        )
    return np.empty((classes, *size), np.float16)
