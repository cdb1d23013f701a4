"""Keeps decoded samples, in memory or on disk, so that no file is decoded twice."""

from __future__ import annotations

import mmap
import os
import shutil
from typing import Any

import numpy as np

from atrous.errors import ConfigError
from atrous.system.devices import memory
from atrous.system.locks import locked
from atrous.system.pool import in_threads
from atrous.types import RawSample, SegmentationDataset

_SAMPLES, _INDEX = "samples.bin", "index.npy"
_ALIGNED = 64  # bytes
_AROUND = 2**16  # bytes that Linux loads around each page that is asked for
_GUESSED_FROM = 8  # samples from whose sizes the cache's is estimated


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
        self.labelled: bool = getattr(dataset, "labelled", True)
        first = dataset[0]
        needed = len(dataset) * (first.image.nbytes + first.mask.nbytes)
        total = memory()
        if total is not None and needed > total / 2:
            raise ConfigError(
                f"data.cache=ram would keep {len(dataset)} images in {needed / 2**30:.1f} GiB, more than half of this "
                f"machine's {total / 2**30:.1f} GiB. Set data.cache=disk or none."
            )
        self._samples = list(in_threads(dataset.__getitem__, range(len(dataset)), description="reading"))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> RawSample:
        """The kept sample itself; not to be written to."""
        return self._samples[index]


class OnDisk:
    """A dataset whose samples are decoded once, in threads, into one file that all processes map into memory.

    The file and its index lie in a folder named by the dataset's `cache_key()`, so that a changed file makes a new one.
    The folder appears whole or not at all; of several processes that want it one fills it and the others wait.

    Args:
        dataset: What to read; must have a `cache_key()`.
        folder: Where the caches of all datasets lie.

    Raises:
        ConfigError: If the dataset has no `cache_key()`, or the folder can't be written or its disk is too full.
        DataError: The first in the dataset's order, if samples can't be read.
    """

    _last: tuple[int, int]  # where the sample that was read before begins and ends

    def __init__(self, dataset: SegmentationDataset, *, folder: str | os.PathLike[str]) -> None:
        self.class_info = dataset.class_info
        self.labelled: bool = getattr(dataset, "labelled", True)
        cache_key = getattr(dataset, "cache_key", None)
        if cache_key is None:
            raise ConfigError(
                f"data.cache=disk needs to know when {type(dataset).__name__}'s samples change, but it has no method "
                "cache_key() that returns a string made of all they depend on. Add one, or set data.cache=ram or none."
            )
        self._folder = os.path.join(folder, cache_key())
        if not os.path.isdir(self._folder):
            _fill(dataset, self._folder)
        self._open()

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> RawSample:
        """Views of the file, which can't be written to; only what is read of them is loaded."""
        row = self._index[index]
        start, shape = int(row["start"]), (int(row["height"]), int(row["width"]))
        pixels = shape[0] * shape[1]
        middle = start + _padded(3 * pixels)
        end = middle + pixels * int(row["mask_bytes"])
        mask_type: Any = np.uint8 if row["mask_bytes"] == 1 else np.int32
        image = self._bytes[start : start + 3 * pixels].reshape(*shape, 3)
        mask = self._bytes[middle:end].view(mask_type).reshape(shape)
        self._forget_last(start, end)
        return RawSample(image, mask, os.fsdecode(row["name"]))

    def _forget_last(self, start: int, end: int) -> None:
        """Unmaps the pages of the sample before; otherwise a process grows to the size of the file.

        The system keeps the file's pages, and gives them back to a view that is still in use.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            first = max(0, self._last[0] - _AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, min(self._last[1] + _AROUND, len(self._map)) - first)
        self._last = start, end

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("class_info", "labelled", "_folder")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def _open(self) -> None:
        self._index = np.load(os.path.join(self._folder, _INDEX), mmap_mode="r")
        with open(os.path.join(self._folder, _SAMPLES), "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._last = (0, 0)


def _fill(dataset: SegmentationDataset, folder: str) -> None:
    part = f"{folder}.part"
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        with locked(f"{folder}.lock", waiting="waiting for another process that decodes the same images to disk"):
            if os.path.isdir(folder):  # another process has filled it meanwhile
                return
            shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
            few = np.unique(np.linspace(0, len(dataset) - 1, min(_GUESSED_FROM, len(dataset)), dtype=int))
            sizes = [_padded(s.image.nbytes) + _padded(s.mask.nbytes) for s in (dataset[int(index)] for index in few)]
            needed = len(dataset) * sum(sizes) / len(sizes)
            if needed > _free(folder):
                raise ConfigError(_no_room(folder, f"needs about {needed / 2**30:.2f} GiB"))
            try:
                _write(dataset, part)
                os.rename(part, folder)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
    except OSError as error:
        raise ConfigError(_no_room(folder, f"can't be written: {error.strerror or error}")) from error


def _write(dataset: SegmentationDataset, folder: str) -> None:
    os.mkdir(folder)
    rows = []
    with open(os.path.join(folder, _SAMPLES), "wb") as file:
        for sample in in_threads(dataset.__getitem__, range(len(dataset)), description="decoding"):
            height, width = sample.mask.shape
            rows.append((os.fsencode(sample.name), file.tell(), height, width, sample.mask.dtype.itemsize))
            for array in (sample.image, sample.mask):
                file.write(np.ascontiguousarray(array).data)
                file.write(bytes(_padded(array.nbytes) - array.nbytes))
        file.flush()
        os.fsync(file.fileno())  # the folder's new name must not reach the disk before the samples
    longest = max(len(row[0]) for row in rows)
    kinds = [("name", f"S{longest}"), ("start", "i8"), ("height", "i4"), ("width", "i4"), ("mask_bytes", "i4")]
    with open(os.path.join(folder, _INDEX), "wb") as file:
        np.save(file, np.array(rows, kinds))
        file.flush()
        os.fsync(file.fileno())


def _no_room(folder: str, trouble: str) -> str:
    return (
        f"data.cache=disk: {folder} {trouble}; its disk has {_free(folder) / 2**30:.2f} GiB free. Free some space, set "
        "data.cache_folder=... to a folder on another disk, or set data.cache=none."
    )


def _free(path: str) -> int:
    """Bytes free on the disk of a path that need not exist."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "."
    return shutil.disk_usage(path).free


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
