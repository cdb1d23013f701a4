"""What `predict` leaves of one image, written while its scores come in from top to bottom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from atrous.data.io.png import write_labels
from atrous.errors import ConfigError
from atrous.inference.image import Rows
from atrous.inference.labels import most_likely
from atrous.pages.images import overlay, save_image
from atrous.system.files import write_arrays
from atrous.types import ClassInfo

LARGEST = 2**32  # bytes of probabilities that are gathered for one file


class Results:
    """The label PNG of an image, and where they are asked for its overlay and probabilities.

    A context manager; the files appear when it is left without an error.

    Args:
        out: The folder.
        name: Of the image.
        kinds: Of "labels", "overlays" and "probabilities"; each has a folder in `out`, which must exist.
        class_info: The classes; labels are written as their ids.
        image: The image, for the overlay.
        overlay_size: The overlay's longer side at most; it shows every n-th row and column of a larger image.

    Raises:
        ConfigError: If the probabilities would take more than `LARGEST` bytes.
    """

    def __init__(
        self, out: Path, name: str, kinds: list[str], class_info: ClassInfo, image: Rows, *, overlay_size: int
    ) -> None:
        if overlay_size < 1:
            raise ConfigError(f"overlay_size={overlay_size} is impossible; give a number of pixels, such as 4096.")
        self.labels = out / "labels" / f"{name}.png"
        self._out, self._name, self._kinds = out, name, kinds
        self._info, self._image = class_info, image
        self._ids = np.array(class_info.ids, np.uint8 if max(class_info.ids) < 256 else np.uint16)
        self._size = image.shape[0], image.shape[1]
        self._top = 0
        self._step = -(-max(self._size) // overlay_size)
        self._overlay: list[NDArray[np.uint8]] = []
        self._scores: NDArray[Any] | None = None
        if "probabilities" in kinds:
            shape = (class_info.num_classes, *self._size)
            size = 2 * int(np.prod(shape, dtype=np.int64))
            if size > LARGEST:
                raise ConfigError(
                    f"probabilities=true would gather {size / 2**30:.1f} GiB for {name}, {self._size[0]} x {self._size[1]} pixels of "
                    f"{shape[0]} classes; up to {LARGEST / 2**30:.0f} GiB are possible. Leave it out, or cut the image."
                )
            self._scores = np.empty(shape, np.float16)

    def add(self, scores: Tensor) -> None:
        """The next rows: scores (1, C, any, W)."""
        labels = most_likely(scores)[0].cpu().numpy()
        bottom = self._top + len(labels)
        self._write(self._ids[labels])
        if "overlays" in self._kinds:
            first = -self._top % self._step
            pixels = self._image[slice(self._top, bottom)][first :: self._step, :: self._step]
            if len(pixels):
                self._overlay.append(overlay(pixels, labels[first :: self._step, :: self._step], self._info))
        if self._scores is not None:
            self._scores[:, self._top : bottom] = scores[0].softmax(0).cpu().numpy()
        self._top = bottom

    def __enter__(self) -> Results:
        self._file = write_labels(self.labels, self._size, self._ids.dtype)
        self._write = self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        self._file.__exit__(kind, *details)
        if kind is not None:
            return
        if self._overlay:
            save_image(self._out / "overlays" / f"{self._name}.png", np.concatenate(self._overlay))
        if self._scores is not None:
            write_arrays(self._out / "probabilities" / f"{self._name}.npz", probabilities=self._scores)
