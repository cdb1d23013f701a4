"""Reads samples before training: all of them to keep, or a few of them to find bad files early."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError, DataError
from atrous.types import RawSample, SegmentationDataset


class InMemory:
    """A dataset whose samples are read once, in threads, and kept decoded.

    Workers that are forked share the memory; each process of a distributed run keeps its own.

    Args:
        dataset: What to read.

    Raises:
        ConfigError: If the samples, taken to be as large as the first, need more than half of the machine's memory.
        DataError: The first in the dataset's order, if samples can't be read.
    """

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.class_info = dataset.class_info
        first = dataset[0]
        needed = len(dataset) * (first.image.nbytes + first.mask.nbytes)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > memory / 2:
            raise ConfigError(
                f"data.cache=true would keep {len(dataset)} images in {needed / 2**30:.1f} GiB, more than half of this "
                f"machine's {memory / 2**30:.1f} GiB. Set data.cache=false."
            )
        with ThreadPoolExecutor() as pool:
            self._samples = list(pool.map(dataset.__getitem__, range(len(dataset))))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> RawSample:
        """The kept sample itself; not to be written to."""
        return self._samples[index]


def check(dataset: SegmentationDataset, *, max_files: int = 64) -> None:
    """Reads evenly spaced samples, in threads, to find bad files before a training does.

    Args:
        dataset: What to check.
        max_files: How many samples to read at most.

    Raises:
        DataError: The first in the dataset's order, if a sample can't be read; or if the masks hold nothing but one
            class and ignored pixels, as 0/255 masks do where 255 is the ignore index.
    """
    indices = _spread(dataset, max_files)
    info = dataset.class_info
    seen = np.zeros(info.num_classes, bool)
    ignored = False

    def read(index: int) -> tuple[NDArray[np.intp], bool]:
        mask = dataset[index].mask
        labelled = mask[mask != info.ignore_index]
        return np.flatnonzero(np.bincount(labelled)), len(labelled) < mask.size

    with ThreadPoolExecutor() as pool:
        for classes, has_ignored in pool.map(read, map(int, indices)):
            seen[classes] = True
            ignored |= has_ignored
    if ignored and info.num_classes > 1 and seen.sum() <= 1:
        only = f"class {info.names[int(seen.argmax())]!r} and " if seen.any() else ""
        raise DataError(
            f"the {len(indices)} masks read hold only {only}ignored pixels ({info.ignore_index}). If they are 0/255 "
            "masks, set value_map={0: 0, 255: 1}."
        )


def fingerprint(dataset: SegmentationDataset, *, max_files: int = 16) -> str:
    """Twelve hex digits that tell one split from another: its length, and names and pixels of evenly spaced samples."""
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
