"""Segments images of any size by a method without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from atrous.classical.method import Iterate, Method, Pixels, Segments, enlarged
from atrous.classical.seeds import UNMARKED
from atrous.data.io.files import read_mask
from atrous.data.io.png import write_labels
from atrous.errors import DataError
from atrous.inference.image import Rows
from atrous.pages.contact_sheet import thumbnail
from atrous.pages.images import save_image
from atrous.pages.segments import mean_colours, shaded, strip
from atrous.types import IGNORE_INDEX


def write_segments(
    method: Method,
    image: Rows,
    out: Path,
    name: str,
    kinds: Sequence[str],
    *,
    overlay_size: int,
    seeds_of: Callable[[str], Segments | None] = lambda name: None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Path:
    """Segments an image and writes its label PNG, whose values number the segments, and its pictures.

    Args:
        method: Segments it.
        image: The image.
        out: The folder to write to.
        name: Of the image.
        kinds: Of "labels", "overlays" (mean colours) and "iterates" (the method's steps); each has a folder in `out`.
        overlay_size: The overlay's longer side at most.
        seeds_of: The seeds of an image, by its name.
        advance: Told how many rows are done: all at once.

    Returns:
        The label PNG.

    Raises:
        DataError: If there are more segments than a PNG has values, 65,536.
    """
    pixels = np.ascontiguousarray(image[slice(0, image.shape[0])])
    seeds = seeds_of(name)
    segments = method(pixels, seeds)
    if (count := int(segments.max()) + 1) > 2**16:
        raise DataError(
            f"{name} falls into {count} segments, and a PNG holds 65536; choose settings that make fewer, larger ones."
        )
    for kind in kinds:
        (out / kind / name).parent.mkdir(parents=True, exist_ok=True)
    path = out / "labels" / f"{name}.png"
    dtype = np.dtype(np.uint8 if count <= 256 else np.uint16)
    with write_labels(path, segments.shape, dtype) as write:
        write(segments.astype(dtype))
    advance(len(segments))
    if "overlays" in kinds:
        small: Segments = thumbnail(segments, overlay_size, labels=True)
        save_image(out / "overlays" / f"{name}.png", mean_colours(thumbnail(pixels, overlay_size), small))
    if "iterates" in kinds:
        save_image(out / "iterates" / f"{name}.png", picture_of_iterates(method, pixels, seeds))
    return path


def picture_of_iterates(method: Method, image: Pixels, seeds: Segments | None = None) -> Pixels:
    """The method's steps on an image, side by side."""
    small = method.reduced(image)
    steps = list(method.steps(image, seeds))
    pictures = [_shown(step, small) for step in steps]
    captions = [step.title + ("" if step.energy is None else f"\nenergy {step.energy:.5g}") for step in steps]
    return strip(pictures, captions, title=type(method).__name__)


def read_seeds(scribbles: Path, name: str) -> Segments:
    """Seeds out of a label image whose value 255 is unmarked: a file, or NAME.png of a folder.

    Raises:
        DataError: If it can't be read.
    """
    path = scribbles / f"{name}.png" if scribbles.is_dir() else scribbles
    values = read_mask(path).astype(np.int32)
    values[values == IGNORE_INDEX] = UNMARKED
    return values


def _shown(step: Iterate, image: Pixels) -> Pixels:
    if step.picture is None:
        return mean_colours(image, enlarged(step.segments, image.shape[:2]))
    return shaded(step.picture) if step.picture.ndim == 2 else step.picture
