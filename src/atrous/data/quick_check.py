"""Reads a few samples: to find bad files before a training, and to fingerprint a data set."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from atrous.data.io.files import first_few
from atrous.errors import DataError
from atrous.system.pool import in_threads
from atrous.types import ClassInfo, SegmentationDataset


def check(dataset: SegmentationDataset, *, max_files: int = 64) -> None:
    """Reads evenly spaced samples, in threads, to find bad files before a training does.

    Args:
        dataset: What to check.
        max_files: How many samples to read at most.

    Raises:
        DataError: If files beside the samples belong to none; the first in the dataset's order, if a sample can't be read;
            or if the masks hold nothing but one class and ignored pixels, as 0/255 masks do where 255 is the ignore index.
    """
    message = left_out(dataset)
    if message is not None:
        raise DataError(
            f"{message} `python -m atrous audit data=... 'accept=[unpaired]'` with the same data settings leaves them out."
        )
    indices = _spread(dataset, max_files)
    info = dataset.class_info
    seen = np.zeros(info.num_classes, bool)
    ignored = False

    def read(index: int) -> tuple[NDArray[np.intp], bool]:
        mask = dataset[index].mask
        labelled = mask[mask != info.ignore_index]
        return np.flatnonzero(np.bincount(labelled)), len(labelled) < mask.size

    for classes, has_ignored in in_threads(read, indices.tolist(), description="checking"):
        seen[classes] = True
        ignored |= has_ignored
    message = nothing_but_one_class(info, seen, ignored=ignored, masks=len(indices))
    if message is not None and getattr(dataset, "labelled", True):
        raise DataError(message)


def left_out(dataset: SegmentationDataset) -> str | None:
    """The message for files beside the samples that belong to none of them; None where there are no such files."""
    files: tuple[str, ...] = getattr(dataset, "left_out", ())
    if not files:
        return None
    return (
        f"{len(files)} files belong to no sample, being masks without an image or images that can't be read: "
        f"{first_few(files)}. Add or convert what is missing, or take them away."
    )


def nothing_but_one_class(info: ClassInfo, seen: NDArray[np.bool_], *, ignored: bool, masks: int) -> str | None:
    """The message for masks that hold ignored pixels and at most one class; None for others.

    Args:
        info: The classes.
        seen: (C,), whether each class occurs.
        ignored: Whether ignored pixels occur.
        masks: How many masks were read.
    """
    if not ignored or info.num_classes == 1 or seen.sum() > 1:
        return None
    only = f"class {info.names[int(seen.argmax())]!r} and " if seen.any() else ""
    return (
        f"the {masks} masks read hold only {only}ignored pixels ({info.ignore_index}). If they are 0/255 masks, set "
        "value_map={0: 0, 255: 1}."
    )


def fingerprint(dataset: SegmentationDataset, *, max_files: int = 16) -> str:
    """Identifies a split by twelve hex digits of its length and of the names and pixels of evenly spaced samples."""
    digest = hashlib.sha256(str(len(dataset)).encode())
    for index in map(int, _spread(dataset, max_files)):
        sample = dataset[index]
        digest.update(sample.name.encode())
        digest.update(sample.image.tobytes())
        digest.update(sample.mask.tobytes())
    return digest.hexdigest()[:12]


def _spread(dataset: SegmentationDataset, max_files: int) -> NDArray[np.intp]:
    """Evenly spaced indices, at most `max_files`."""
    return np.unique(np.linspace(0, len(dataset) - 1, min(max_files, len(dataset)), dtype=np.intp))
