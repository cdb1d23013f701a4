"""Counts the pixels of each class in each image, once; the counts are kept on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atrous.data.io.files import Mask
from atrous.errors import DataError
from atrous.system.files import write_arrays
from atrous.system.locks import locked
from atrous.system.pool import in_processes
from atrous.types import SegmentationDataset


def count_classes(dataset: SegmentationDataset, *, folder: str | Path | None) -> NDArray[np.int64]:
    """Counts the pixels of each class in each image, in processes; ignored pixels count nowhere.

    A dataset with a method `mask(index)` is asked for its masks alone. One with `cache_key()` is counted once: the
    counts are kept in `folder`, and of several processes one counts while the others wait for it.

    Args:
        dataset: What to count.
        folder: Where counts are kept; made if it is not there. None: they are not kept.

    Returns:
        int64 (N, C).

    Raises:
        DataError: If a mask can't be read or holds a value that is no class.
    """
    key: Callable[[], str] | None = getattr(dataset, "cache_key", None)
    if folder is None or key is None:
        return _count(dataset)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"class_counts-{key()}.npz")
    with locked(f"{path}.lock", waiting="waiting for another process that counts the same classes"):
        counts = _load(path, (len(dataset), dataset.class_info.num_classes))
        if counts is None:
            counts = _count(dataset)
            write_arrays(path, counts=counts)
    return counts


def _count(dataset: SegmentationDataset) -> NDArray[np.int64]:
    classes, ignored = dataset.class_info.num_classes, dataset.class_info.ignore_index
    mask_of: Callable[[int], Mask | None] = getattr(dataset, "mask", lambda index: dataset[index].mask)

    def count(index: int) -> NDArray[np.int64]:
        mask = mask_of(index)
        if mask is None:  # a split without labels
            return np.zeros(classes, np.int64)
        labelled = mask[mask != ignored]
        if labelled.size and not 0 <= labelled.min() <= labelled.max() < classes:
            wrong = sorted({int(value) for value in np.unique(labelled)} - set(range(classes)))
            raise DataError(
                f"the mask of {dataset[index].name!r} holds {wrong[0]}, which is no class; expected 0 to {classes - 1} "
                f"and {ignored} (ignored). Map it to a class or to {ignored}."
            )
        return np.bincount(labelled, minlength=classes).astype(np.int64, copy=False)

    counts = np.empty((len(dataset), classes), np.int64)
    for index, row in enumerate(in_processes(count, range(len(dataset)), description="counting classes")):
        counts[index] = row
    return counts


def _load(path: str, shape: tuple[int, int]) -> NDArray[np.int64] | None:
    """The counts kept at `path`; None where there are none, or the file is damaged."""
    try:
        with np.load(path) as file:
            counts: NDArray[np.int64] = file["counts"]
    except Exception:  # a damaged file raises whatever its bytes lead to
        return None
    return counts if counts.shape == shape and counts.dtype == np.int64 else None
