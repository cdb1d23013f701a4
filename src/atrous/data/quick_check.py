"""Reads a few samples: to find bad files before a training, and to fingerprint a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atrous.data.io.files import first_few
from atrous.data.mask_meaning import (
    color_table,
    nothing_but_one_class,
    only_class,
    other_tables,
    two_meanings,
    two_meanings_message,
)
from atrous.errors import DataError
from atrous.system.pool import in_threads
from atrous.types import SegmentationDataset


def check(dataset: SegmentationDataset, *, max_files: int = 64) -> None:
    """Reads evenly spaced samples, in threads, to find bad files before a training does.

    Args:
        dataset: What to check.
        max_files: How many samples to read at most.

    Raises:
        DataError: If files beside the samples belong to none; the first in the dataset's order, if a sample can't be read;
            or if the masks hold nothing but one class and ignored pixels, as 0/255 masks do where 255 is the ignore index, or
            mean different things by one value.
    """
    message = left_out(dataset)
    if message is not None:
        raise DataError(f"{message} {_accepted('unpaired')}")
    indices = _spread(dataset, max_files)
    info = dataset.class_info
    only = np.zeros(len(indices), np.int32)
    ignores = np.zeros(len(indices), bool)
    tables: dict[bytes, list[str]] = {}

    def read(index: int) -> tuple[int, bool, bytes]:
        mask = dataset[index].mask
        labelled = mask[mask != info.ignore_index]
        return only_class(np.flatnonzero(np.bincount(labelled))), len(labelled) < mask.size, table_of(dataset, index)

    for at, (held, ignored, table) in enumerate(in_threads(read, indices.tolist(), description="checking")):
        only[at], ignores[at] = held, ignored
        tables.setdefault(table, []).append(f"mask {indices[at]}" if not table else str(dataset.mask_path(indices[at])))  # type: ignore[attr-defined]
    if not getattr(dataset, "labelled", True):
        return
    message = nothing_but_one_class(info, only, ignores)
    if message is not None:
        raise DataError(message)
    mixed = two_meanings(info, only, ignores)
    if len(mixed):
        raise DataError(f"{two_meanings_message(info, len(mixed), len(only))}; {_accepted('mixed')}")
    tabled = other_tables(tables)
    if tabled is not None:
        raise DataError(f"{tabled[0]}; {_accepted('mixed')}")


def table_of(dataset: SegmentationDataset, index: int) -> bytes:
    """The colour table of a mask that is read by value; empty where it has none, or colours are read."""
    values: Sequence[int] | None = getattr(dataset, "indexed_values", None)
    path = None if values is None else dataset.mask_path(index)  # type: ignore[attr-defined]
    return b"" if path is None or values is None else color_table(path, values)


def _accepted(kind: str) -> str:
    return f"`python -m atrous audit data=... 'accept=[{kind}]'` with the same data settings says more, and accepts it."


def left_out(dataset: SegmentationDataset) -> str | None:
    """The message for files beside the samples that belong to none of them; None where there are no such files."""
    files: tuple[str, ...] = getattr(dataset, "left_out", ())
    if not files:
        return None
    return (
        f"{len(files)} files belong to no sample, being masks without an image or images that can't be read: "
        f"{first_few(files)}. Add or convert what is missing, or take them away."
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
