"""What `browse` writes: one HTML page without anything beside it (browse.html is its template), and one contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.pages.contact_sheet import NARROWEST, Swatch, contact_sheet, hatched, hatched_swatch, shortened, thumbnail
from atrous.pages.frame import render
from atrous.pages.images import Pixels, colour, overlay, picture_uri
from atrous.system.text import one_line
from atrous.types import ClassInfo

_SHEET_WIDTH = 1900  # pixels
_SHEET_SIDE = 240  # longest side of an image on the sheet
_COMPARED_SIDE = 384  # longest side of an image that is shown in several epochs
_ENLARGED = 256  # images up to this wide are enlarged without smoothing
_NAMED = 4  # classes that a caption names at most


@dataclass(frozen=True)
class BrowsedSample:
    """A sample as it is shown.

    Attributes:
        image: uint8 RGB (H, W, 3), un-normalised.
        mask: int32 (H, W), class indices or the ignore index.
        name: The sample's name.
        key: Epoch and index, and how often it came earlier in the epoch where it may come again.
        moments: Mean, mean square, least and largest of the normalised values that the network gets.
    """

    image: Pixels
    mask: NDArray[np.int32]
    name: str
    key: tuple[int, ...]
    moments: tuple[float, float, float, float]

    @classmethod
    def from_batch(
        cls,
        image: NDArray[np.float32],
        mask: NDArray[np.int64],
        name: str,
        key: tuple[int, ...],
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> BrowsedSample:
        """From a batch's float32 (3, H, W) and int64 (H, W); `mean` and `std` are those of its normalisation."""
        values = 255 * (image * np.reshape(std, (3, 1, 1)) + np.reshape(mean, (3, 1, 1)))  # (3, H, W)
        pixels = np.ascontiguousarray(values.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        moments = (image.mean(dtype=float), np.square(image, dtype=float).mean(), image.min(), image.max())
        return cls(pixels, mask.astype(np.int32), name, key, tuple(map(float, moments)))  # type: ignore[arg-type]

    @property
    def height(self) -> int:
        return len(self.mask)

    @property
    def width(self) -> int:
        return len(self.mask[0])

    def counts(self, info: ClassInfo) -> NDArray[np.int64]:
        """Pixels of each class, then the ignored ones, (C + 1)."""
        labelled = self.mask[self.mask != info.ignore_index]
        return np.append(np.bincount(labelled, minlength=info.num_classes), self.mask.size - labelled.size)

    def shares(self, info: ClassInfo) -> list[tuple[int, int, str]]:
        """Class (C: ignored), pixels and share of those that occur, the most frequent first."""
        counts = self.counts(info)
        order = np.argsort(-counts, kind="stable").tolist()
        return [(c, int(counts[c]), _percent(counts[c] / self.mask.size)) for c in order if counts[c]]

    def shrunk(self, side: int) -> BrowsedSample:
        return replace(self, image=thumbnail(self.image, side), mask=thumbnail(self.mask, side, labels=True))

    def image_uri(self) -> str:
        return picture_uri(Image.fromarray(self.image), "png")

    def mask_uri(self, info: ClassInfo) -> str:
        mask = hatched(colour(self.mask, info), self.mask == info.ignore_index)
        return picture_uri(Image.fromarray(mask), "png")


@dataclass(frozen=True)
class BrowsedSplit:
    """What all samples have in common. `epoch` is None for a split without augmentation."""

    data: str
    split: str
    length: int
    seed: int
    epoch: int | None
    batch_size: int
    class_info: ClassInfo

    @property
    def ignored(self) -> str:
        return "ignored" if self.epoch is None else "ignored or padding"

    @property
    def names(self) -> list[str]:
        """Of the classes, and behind them of ignored pixels."""
        return [*self.class_info.names, "ignored"]

    def title(self, count: int) -> str:
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        return f"{self.data}, {self.split}{epoch}: {count} of {self.length} samples"


def sheet(split: BrowsedSplit, samples: Sequence[BrowsedSample]) -> Pixels:
    """image | overlay of every sample on one picture."""
    info, tiles, captions = split.class_info, [], []
    for sample in samples:
        small = sample.shrunk(_SHEET_SIDE)
        gap = np.full((small.height, 4, 3), 255, np.uint8)
        blended = hatched(overlay(small.image, small.mask, info), small.mask == info.ignore_index)
        tiles.append(np.concatenate([small.image, gap, blended], axis=1))
        room = max(NARROWEST, tiles[-1].shape[1])
        lists = [_classes(split, sample, named) for named in range(_NAMED, 0, -1)]
        fits = next((text for text in lists if shortened(text, room) == text), lists[-1])
        captions.append("\n".join([one_line(sample.name), _place(split, sample), fits]))
    columns = max(1, _SHEET_WIDTH // max(tile.shape[1] for tile in tiles))
    title = "\n".join([split.title(len(samples)), _summary(split, samples), *_notes(split, samples)])
    legend: list[tuple[str, Swatch]] = [*zip(info.names, info.palette, strict=True), (split.ignored, hatched_swatch())]
    return contact_sheet(tiles, captions, legend, columns, title=title)


def page(
    split: BrowsedSplit,
    samples: Sequence[BrowsedSample],
    compared: Sequence[tuple[BrowsedSample, Sequence[BrowsedSample]]],
) -> str:
    """The whole HTML page; images are data URIs of their pixels.

    Args:
        split: For the head.
        samples: To show.
        compared: For some images the sample without augmentation, and in several epochs.
    """
    info = split.class_info
    counts = np.stack([sample.counts(info) for sample in samples])  # (samples, C + 1)
    pixels, images = counts.sum(0), (counts > 0).sum(0).tolist()
    rows = []
    for whole, epochs in compared:
        views = [(whole, "without augmentation"), *((sample, f"epoch {sample.key[0]}") for sample in epochs)]
        rows.append((whole.name, [(sample.shrunk(_COMPARED_SIDE), caption) for sample, caption in views]))
    return render(
        "pages/browse.html",
        title=split.title(len(samples)),
        summary=_summary(split, samples),
        notes=_notes(split, samples),
        info=info,
        names=split.names,
        colours=[*("rgb({},{},{})".format(*colour) for colour in info.palette), "var(--hatch)"],
        legend=[(c, _percent(pixels[c] / pixels.sum()), images[c]) for c in range(len(pixels))],
        cards=[(sample, _place(split, sample), sample.shares(info)) for sample in samples],
        rows=rows,
        side=_COMPARED_SIDE,
        enlarged=_ENLARGED,
    )


def _summary(split: BrowsedSplit, samples: Sequence[BrowsedSample]) -> str:
    sizes = sorted({sample.mask.shape for sample in samples})
    size = f"{sizes[0][0]} x {sizes[0][1]}" + (f" to {sizes[-1][0]} x {sizes[-1][1]}" if len(sizes) > 1 else "")
    weights = [sample.mask.size for sample in samples]
    means, squares, lows, highs = np.array([sample.moments for sample in samples]).T
    mean = np.average(means, weights=weights)
    deviation = np.sqrt(max(0.0, np.average(squares, weights=weights) - mean**2))
    order = f"seed {split.seed}, in the epoch's order" if split.epoch is not None else "evenly spaced, not augmented"
    return (
        f"{order}; {size} pixels (height x width), batches of {split.batch_size}; the network gets values of mean "
        f"{mean:.2f} and standard deviation {deviation:.2f}, from {lows.min():.2f} to {highs.max():.2f}"
    )


def _notes(split: BrowsedSplit, samples: Sequence[BrowsedSample]) -> list[str]:
    """What a reader should not miss."""
    info = split.class_info
    pixels = np.sum([sample.counts(info) for sample in samples], axis=0)
    ignored = pixels[-1] / pixels.sum()
    if ignored == 1:
        return ["No pixel has a label: all are ignored."]
    absent = [info.names[c] for c in range(info.num_classes) if not pixels[c]]
    notes = [f"In none of these samples: {', '.join(absent)}."] if absent else []
    return notes + [f"{_percent(ignored)} of the pixels are {split.ignored}."] * bool(ignored)


def _place(split: BrowsedSplit, sample: BrowsedSample) -> str:
    """Epoch, index and size of a sample."""
    epoch, index, *earlier = sample.key
    again = f", draw {earlier[0] + 1} of it" if earlier and earlier[0] else ""
    size = f"{sample.height} x {sample.width}"
    return f"index {index}, {size}" if split.epoch is None else f"epoch {epoch}, index {index}{again}, {size}"


def _classes(split: BrowsedSplit, sample: BrowsedSample, named: int) -> str:
    """The shares of the largest `named` classes, and of ignored pixels."""
    shares, ignored = sample.shares(split.class_info), split.class_info.num_classes
    largest = [share for share in shares if share[0] != ignored][:named] + [
        share for share in shares if share[0] == ignored
    ]
    return ", ".join(f"{one_line(split.names[c])} {percent}" for c, _, percent in largest)


def _percent(share: Any) -> str:
    percent = 100 * float(share)
    if 0 < percent < 0.01:
        return "<0.01 %"
    return f"{percent:.0f} %" if percent == 0 or percent >= 9.95 else f"{percent:.2g} %"
