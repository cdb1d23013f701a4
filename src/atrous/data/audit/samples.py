"""Reduces samples to the facts that an audit keeps, and adds them up to the figures of a split."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.data.mask_meaning import only_class
from atrous.metrics.class_weights import enet, median_frequency
from atrous.types import ClassInfo, RawSample

_IMAGE = np.dtype(
    [
        ("size", np.int32, 2),  # height, width
        ("content", np.uint64),  # equal where the pixels are
        ("look", np.uint64),  # difference hash
        ("plain", np.bool_),  # of one colour
        ("only", np.int32),  # the only class in the mask, SEVERAL or NONE
        ("ignores", np.bool_),  # whether the mask has ignored pixels
    ]
)


class SampleFacts(NamedTuple):
    """The facts kept of a sample that could be read."""

    name: str
    size: tuple[int, int]  # height, width
    content: int  # 64 bits of a hash of the pixels
    look: int  # 64-bit difference hash
    plain: bool  # the image is of one colour; such ones are no one's duplicates
    mean: NDArray[np.float64]  # (3,) of 0 to 255
    square: NDArray[np.float64]  # (3,), the mean of the squares
    pixels: NDArray[np.int64]  # (C + 1,), the ignored ones last
    table: bytes  # of an indexed mask's colours; empty without


def facts_of(sample: RawSample, info: ClassInfo, table: bytes = b"") -> SampleFacts:
    """Reduces a sample, and its mask's colour table, to what an audit keeps of it."""
    image, mask = sample.image, sample.mask
    height, width = mask.shape
    mean, deviation = (values.ravel() for values in cv2.meanStdDev(image))
    return SampleFacts(
        name=sample.name,
        size=(height, width),
        content=int.from_bytes(hashlib.sha256(np.ascontiguousarray(image).data).digest()[:8]),
        look=difference_hash(image),
        plain=not deviation.any(),
        mean=mean,
        square=mean**2 + deviation**2,
        pixels=_count(mask, info),
        table=table,
    )


def difference_hash(image: NDArray[np.uint8]) -> int:
    """Hashes an RGB image to 64 bits: whether its brightness rises from left to right in each cell of a grid of 8 x 8.

    Images that were saved anew, in another size or format, differ in few bits (Krawetz: Kind of Like That, 2013,
    http://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    step = min(grey.shape) // 64
    if step > 1:  # averages whole blocks first, which takes a tenth of the time
        height, width = (length // step for length in grey.shape)
        grey = cv2.resize(grey[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes())


class SplitFigures:
    """The figures of one split, added up over its samples.

    Args:
        length: Number of samples; those that can't be read are among them.
        class_info: The classes.
        labelled: Whether the split has masks.
    """

    def __init__(self, *, length: int, class_info: ClassInfo, labelled: bool) -> None:
        count = class_info.num_classes
        self.length = length
        self.labelled = labelled
        self.names: list[str] = []
        self.tables: dict[bytes, list[str]] = {}  # colour table -> the samples whose masks have it
        self.pixels = np.zeros(count, np.int64)  # of each class
        self.ignored = 0  # pixels
        self.images_with = np.zeros(count, np.int64)  # images in which the class occurs
        self._around = np.zeros(count, np.int64)  # labelled pixels of those images
        self._images = np.zeros(length, _IMAGE)
        self._total = 0
        self._sum = np.zeros(3)
        self._squares = np.zeros(3)

    def add(self, sample: SampleFacts) -> None:
        """Counts one more sample in."""
        at, total = len(self.names), sample.size[0] * sample.size[1]
        classes, ignored = sample.pixels[:-1], int(sample.pixels[-1])
        there = np.flatnonzero(classes)
        self.names.append(sample.name)
        only = only_class(there)
        self.tables.setdefault(sample.table, []).append(sample.name)
        self._images[at] = (sample.size, sample.content, sample.look, sample.plain, only, ignored > 0)
        self._total += total
        self._sum += total * sample.mean
        self._squares += total * sample.square
        if self.labelled:
            self.pixels += classes
            self.ignored += ignored
            self.images_with[there] += 1
            self._around[there] += classes.sum()

    @property
    def read(self) -> int:
        """Number of samples that could be read."""
        return len(self.names)

    @property
    def images(self) -> NDArray[Any]:
        """(N,) records of the images that could be read, see `_IMAGE`."""
        return self._images[: self.read]

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(N, 2), the height and width of each image that could be read."""
        sizes: NDArray[np.int32] = self.images["size"]
        return sizes

    @property
    def mean(self) -> NDArray[np.float64]:
        """(3,) of all pixels, red, green and blue, 0 to 1."""
        return self._sum / max(1, self._total) / 255

    @property
    def std(self) -> NDArray[np.float64]:
        """(3,), as `mean`."""
        variance = self._squares / max(1, self._total) / 255**2 - self.mean**2
        return np.sqrt(np.maximum(variance, 0))

    def class_weights(self) -> dict[str, list[float]]:
        """The losses' weights "median_frequency" and "enet", one for each class; all 0 and equal without labels."""
        return {
            "median_frequency": median_frequency(self.pixels, self._around).tolist(),
            "enet": enet(self.pixels).tolist(),
        }

    def as_json(self, info: ClassInfo) -> dict[str, Any]:
        """The figures as plain containers."""
        sizes: dict[str, Any] = {}
        if self.read:
            unique, counts = np.unique(self.sizes, axis=0, return_counts=True)
            sizes = {
                "different": len(unique),
                "commonest": unique[counts.argmax()].tolist(),
                **{
                    side: [int(values.min()), float(np.median(values)), int(values.max())]
                    for side, values in zip(("height", "width"), self.sizes.T, strict=True)
                },
            }
        return {
            "images": self.length,
            "read": self.read,
            "labelled": self.labelled,
            "sizes": sizes,  # height and width: least, median, most
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "pixels": dict(zip(info.names, self.pixels.tolist(), strict=True)),
            "images_with": dict(zip(info.names, self.images_with.tolist(), strict=True)),
            "ignored_pixels": self.ignored,
        }


def _count(mask: NDArray[np.uint8] | NDArray[np.int32], info: ClassInfo) -> NDArray[np.int64]:
    """The pixels of each class and, last, the ignored ones: int64 (C + 1,)."""
    classes = info.num_classes
    if mask.dtype == np.uint8:
        rows = max(1, 2**24 // mask.shape[1])  # OpenCV counts in float32, which is exact up to 2^24
        strips = [mask[top : top + rows] for top in range(0, mask.shape[0], rows)]
        counts = sum(cv2.calcHist([strip], [0], None, [256], [0, 256]).ravel().astype(np.int64) for strip in strips)
        return np.append(counts[:classes], counts[info.ignore_index])
    return np.bincount(np.where(mask == info.ignore_index, classes, mask).ravel(), minlength=classes + 1)
