"""metrics.csv of a run folder, as its readers see it. Imports no torch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HISTORY = "metrics.csv"
TAIL = 1 << 18  # bytes of a history of which the end is read
Series = tuple[NDArray[np.float64], NDArray[np.float64]]


def read_history(folder: Path) -> dict[str, Series]:
    """Steps and values of every column that holds numbers; empty where the file can't be read."""
    columns: dict[str, tuple[list[float], list[float]]] = {}
    try:
        with (folder / HISTORY).open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                _collect(row, columns)
    except (OSError, csv.Error):
        return {}
    return {key: (np.array(steps), np.array(values)) for key, (steps, values) in columns.items()}


def read_last_rows(folder: Path) -> list[dict[str, str]]:
    """The last rows, of a file that another process may be writing.

    Raises:
        OSError: If it is not there.
    """
    path = folder / HISTORY
    with path.open("rb") as file:
        head = file.readline()
        begin = max(file.tell(), path.stat().st_size - TAIL)
        inside = begin > file.tell()
        file.seek(begin)
        rows = file.readlines()[inside:]  # the first may be the rest of one
    return list(csv.DictReader(line.decode() for line in [head, *rows]))


def _collect(row: dict[Any, Any], columns: dict[str, tuple[list[float], list[float]]]) -> None:
    try:
        step = float(row["step"])
    except (KeyError, TypeError, ValueError):
        return
    for key, text in row.items():
        if not text or not isinstance(key, str) or not isinstance(text, str):
            continue
        try:
            value = float(text)
        except ValueError:
            continue
        if np.isfinite(value) and np.isfinite(step):
            steps, values = columns.setdefault(key, ([], []))
            steps.append(step)
            values.append(value)
