"""Run folders as trainings leave them: config.yaml, result.json, metrics.csv. What can't be read is told, never raised."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from atrous.system.text import number, one_line

_MOST_VALUES = 20_000  # of one config; aliases can make a small yaml grow without end
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's: a tenth of the time
Series = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        folder: Where it lies.
        status: finished, failed, interrupted, pruned, running, or what else its result.json says.
        config: The resolved config, flat: `model.output_stride` to its value; a list is a value.
        result: result.json.
        classes: The classes' names, of a finished run.
        iou: Each class's IoU, (C,), NaN where it has none.
    """

    folder: Path
    status: str
    config: dict[str, Any]
    result: dict[str, Any]
    classes: tuple[str, ...] = ()
    iou: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def miou(self) -> float:
        return number(self.part("scores").get("miou"))

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def command(self) -> str:
        return one_line(self.result.get("command", ""), longest=20_000)

    @property
    def error(self) -> str:
        """Why it did not finish, where it says so: the message, the signal that stopped it, or that its search gave it up."""
        if self.status == "pruned":
            return f"given up by its search at a val/miou of {number(self.result.get('val_miou')):.4f}"
        return one_line(self.result.get("error") or self.result.get("signal") or "")

    @property
    def commit(self) -> str:
        """The commit that it ran at, `+` behind it where files had been changed since; empty where it is not known."""
        git = self.part("provenance").get("git")
        if not isinstance(git, dict) or not git.get("commit"):
            return ""
        return f"{one_line(git['commit'])[:7]}{'+' * bool(git.get('dirty'))}"

    def cost(self, key: str) -> float:
        """parameters, macs, train_seconds or peak_memory_bytes; NaN where it was not measured."""
        return number(self.part("cost").get(key))

    def part(self, key: str) -> dict[str, Any]:
        part = self.result.get(key)
        return part if isinstance(part, dict) else {}

    def overrides(self) -> dict[str, str]:
        """What its command set, `key=value`, in that order."""
        try:
            words = shlex.split(self.command)
        except ValueError:
            return {}
        pairs = (word.lstrip("+").partition("=") for word in words if "=" in word and not word.startswith(("-", "~")))
        return {key: value for key, _, value in pairs if key}

    def history(self) -> dict[str, Series]:
        """Steps and values of every column of metrics.csv that holds numbers; empty where the file can't be read."""
        columns: dict[str, tuple[list[float], list[float]]] = {}
        try:
            with (self.folder / "metrics.csv").open(encoding="utf-8", errors="replace", newline="") as file:
                for row in csv.DictReader(file):
                    _collect(row, columns)
        except (OSError, csv.Error):
            return {}
        return {key: (np.array(steps), np.array(values)) for key, (steps, values) in columns.items()}


@dataclass(frozen=True)
class Unread:
    """A folder that looks like a run's and can't be read."""

    folder: Path
    reason: str


def find(roots: Iterable[Path]) -> tuple[list[Run], list[Unread]]:
    """All runs in and below the given folders, in the order of their paths; a run holds no runs."""
    runs: list[Run] = []
    unread: list[Unread] = []
    seen: set[str] = set()
    for root in roots:
        for name, below, files in os.walk(root):
            below[:] = sorted(folder for folder in below if not folder.startswith("."))
            if "result.json" not in files and "config.yaml" not in files:
                continue
            below.clear()
            if (real := os.path.realpath(name)) in seen:
                continue
            seen.add(real)
            found = read(Path(name))
            (runs if isinstance(found, Run) else unread).append(found)  # type: ignore[arg-type]
    return runs, unread


def read(folder: Path) -> Run | Unread:
    """One run folder."""
    result = config = None
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        config = _config((folder / "config.yaml").read_text(encoding="utf-8"))
        if not isinstance(result, dict) or not isinstance(config, dict):
            return Unread(folder, f"{'config.yaml' if isinstance(result, dict) else 'result.json'} is no mapping")
        status = one_line(result.get("status", "no status"), 40)
        run = Run(folder, status, flat(config), result)
        return _with_classes(run) if run.finished else run
    except FileNotFoundError as error:
        return Unread(folder, f"no {Path(error.filename).name}")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        name = "result.json" if result is None else "config.yaml" if config is None else "the run"
        return Unread(folder, f"{name} can't be read: {one_line(error, 300)}")


def _config(text: str) -> Any:
    """A config, whose top-level keys are read one by one, since runs of a study share most of what stands below them."""
    try:
        parts = [_part(part) for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE) if part]
    except yaml.YAMLError:  # what hangs together across top-level keys
        parts = [None]
    if not parts or not all(isinstance(part, dict) for part in parts):
        return yaml.load(text, Loader=_LOADER)
    return {key: value for part in parts for key, value in part.items()}


@functools.lru_cache(maxsize=512)
def _part(text: str) -> Any:
    return yaml.load(text, Loader=_LOADER)


def flat(config: dict[Any, Any]) -> dict[str, Any]:
    """A nested config by dotted keys.

    Raises:
        ValueError: If it holds more than 20,000 values.
    """
    found: dict[str, Any] = {}
    visited = 0

    def visit(name: str, value: Any, *, kept: bool) -> None:
        nonlocal visited
        visited += 1
        if visited > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES} values; a config of ours has a few hundred")
        opened = isinstance(value, dict) and bool(value)
        if kept and not opened:
            found[name] = value
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            visit(f"{name}.{key}" if name else str(key), child, kept=kept and opened)

    visit("", config, kept=True)
    return found


def _with_classes(run: Run) -> Run | Unread:
    if np.isnan(run.miou):
        return Unread(run.folder, "result.json says finished and holds no scores.miou")
    names, iou = (run.part("per_class").get(key) for key in ("names", "iou"))
    if not isinstance(names, list) or not isinstance(iou, list) or len(names) != len(iou):
        return Unread(run.folder, "result.json says finished and its per_class holds no IoU for each name")
    classes = tuple(one_line(name, 80) for name in names)
    return Run(run.folder, run.status, run.config, run.result, classes, np.array([number(value) for value in iou]))


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
