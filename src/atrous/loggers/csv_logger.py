"""metrics.csv of a run folder: the history of a training, across interruptions."""

from __future__ import annotations

import csv
import io
import os
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from atrous.system.files import write_text


class CSVLogger(Logger):
    """Writes a row to `folder`/metrics.csv per call of `log_metrics`, before that returns.

    Lightning's `CSVLogger` deletes an earlier process's file, and loses it if it is killed while it adds a column. Columns
    are in alphabetical order.

    Args:
        folder: The run folder; made if it is not there.
    """

    def __init__(self, *, folder: str) -> None:
        super().__init__()
        self.rows = 0  # in the file
        self._path = Path(folder) / "metrics.csv"
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._path.parent)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {**metrics, "step": self.rows if step is None else step}
        if set(row) <= set(self._columns):
            with self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(self._text([row]))
        else:
            rows = self._read()[: self.rows]
            self._columns = sorted({*self._columns, *row})
            self._rewrite([*rows, row])
        self.rows += 1

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: they are in config.yaml."""

    def keep(self, rows: int) -> None:
        """Keeps the first `rows` rows of an earlier process and drops the others."""
        kept = self._read()[:rows]
        self._columns = sorted(kept[0]) if kept else []
        self.rows = len(kept)
        if kept:
            self._rewrite(kept)

    def kept(self) -> list[dict[str, str]]:
        """The rows of this training so far, an earlier process's included."""
        return self._read()[: self.rows]

    def sync(self) -> None:
        """Waits until the rows are on the disk."""
        if self.rows:
            with self._path.open("a") as file:
                os.fsync(file.fileno())

    def _read(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with self._path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: Iterable[dict[str, Any]]) -> None:
        write_text(self._path, self._text([dict(zip(self._columns, self._columns, strict=True)), *rows]))

    def _text(self, rows: Iterable[dict[str, Any]]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self._columns, restval="", extrasaction="ignore").writerows(rows)
        return text.getvalue()
