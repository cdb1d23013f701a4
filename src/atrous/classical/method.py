"""What every method is: `(image uint8 (H, W, 3) RGB) -> segments int32 (H, W)`, numbered from 0.

A method is a dataclass of its settings, so that its text is a line of the protocol. It segments the image at the size that
`side` allows; segments are enlarged by their nearest pixels.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
Segments = NDArray[np.int32]  # (H, W)


class Iterate(NamedTuple):
    """What a method has come to after a step.

    Args:
        title: What it is, such as "iteration 3".
        segments: int32, at the size that is segmented or, with features of a network, at theirs.
        energy: What the method makes small; None where it has none.
        picture: What to show instead of the segments: numbers (h, w), such as an eigenvector, or colours uint8 (h, w, 3).
    """

    title: str
    segments: Segments
    energy: float | None = None
    picture: NDArray[Any] | None = None


@dataclass(kw_only=True)
class Method(abc.ABC):
    """The base of all methods.

    Args:
        side: Pixels of the longer side at most that an image is segmented at; None: at its own size.
    """

    side: int | None
    most_pixels: ClassVar[int] = 2**23  # that the method can hold: about a GiB

    def __call__(self, image: Pixels, seeds: Segments | None = None) -> Segments:
        """The segments of an image at its own size, numbered without gaps unless their numbers mean the same in all images.

        Args:
            image: uint8 (H, W, 3).
            seeds: Of `SeededMethod`.

        Raises:
            ConfigError: If the image has too many pixels at that `side`, or too few for a setting, or seeds were given.
        """
        if seeds is not None:
            raise ConfigError(f"{type(self).__name__} takes no seeds; leave out scribbles, or use method=graph_cut.")
        found = self.segment(self.reduced(image))
        return enlarged(found if self.fitted_on() else numbered(found), image.shape[:2])

    def seeds_from(self, truth: NDArray[Any], *, ignore_index: int) -> Segments | None:
        """Seeds drawn from a truth (H, W), for methods that need them; None for the others."""
        return None

    def steps(self, image: Pixels, seeds: Segments | None = None) -> Iterator[Iterate]:
        """`iterates` of an image of any size, at the size that it is segmented at."""
        return self.iterates(self.reduced(image))

    @abc.abstractmethod
    def segment(self, image: Pixels) -> Segments:
        """The segments of an image that is small enough; any whole numbers."""

    def iterates(self, image: Pixels) -> Iterator[Iterate]:
        """What the method comes to step by step on an image that is small enough; the last has `segment`'s segments."""
        yield Iterate("segments", self.segment(image))

    def fitted_on(self) -> int:
        """How many images of the train split `fit` wants; above 0 a segment's number means the same in all images."""
        return 0

    def fit(self, images: Iterable[Pixels]) -> None:
        """Learns from images what is the same for all; see `fitted_on`."""
        raise NotImplementedError

    def reduced(self, image: Pixels) -> Pixels:
        """The image at the size that it is segmented at."""
        longer = max(image.shape[:2])
        if self.side is not None and longer > self.side:
            size = [max(1, round(length * self.side / longer)) for length in image.shape[:2]]
            image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA).astype(np.uint8)
        if (pixels := image.shape[0] * image.shape[1]) > self.most_pixels:
            raise ConfigError(
                f"method.side={self.side}: {type(self).__name__} can't hold the {pixels} pixels of an image, "
                f"{image.shape[0]} x {image.shape[1]}; set method.side={int(self.most_pixels**0.5)} or less."
            )
        return image

    def __str__(self) -> str:
        return described(self)


def described(part: Any) -> str:
    """A dataclass's settings as text, `KMeans(clusters 8, ...)`."""
    shown = (f"{item.name} {getattr(part, item.name)}" for item in fields(part) if item.init)
    return f"{type(part).__name__}({', '.join(shown)})"


def numbered(segments: NDArray[np.integer[Any]]) -> Segments:
    """The same segments numbered from 0 without gaps, in the order of their numbers."""
    numbers: Segments = np.unique(segments, return_inverse=True)[1].reshape(segments.shape).astype(np.int32)
    return numbers


def enlarged(segments: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Segments, or features (h, w, D), at (H, W): each pixel has its nearest one's."""
    if segments.shape[:2] == size:
        return segments
    rows, columns = (
        (np.arange(length) * small // length) for length, small in zip(size, segments.shape[:2], strict=True)
    )
    return np.ascontiguousarray(segments[rows[:, None], columns])


def library(name: str) -> Any:
    """A module of scikit-learn or scikit-image.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f'method needs {name}, which is not installed; `pip install "atrous[classical]"`.') from error
