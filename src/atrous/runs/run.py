"""A run folder: what lies in it, how it stands, and what it says of itself. Imports no torch."""

from __future__ import annotations

import enum
import functools
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from atrous.config.fingerprint import VERSION, fingerprint
from atrous.config.upgrade import upgraded
from atrous.metrics.main_score import BY_KEY, MEAN_IOU, MainScore
from atrous.runs.history import Series, read_history
from atrous.system.locks import is_held
from atrous.system.text import number, one_line, short

CONFIG, RESULT, MATRICES = "config.yaml", "result.json", "confusion.npz"  # and HISTORY
_MOST_VALUES = 20_000  # of one config; aliases can make a small yaml grow without end
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's: a tenth of the time


class Status(enum.StrEnum):
    """How a run stands. result.json holds `RUNNING` to `PRUNED`, the others are derived."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    PRUNED = "pruned"
    KILLED = "killed"  # it says that it is running, and no process holds its folder
    UNKNOWN = "unknown"  # result.json is not ours


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        folder: Where it lies.
        result: What its result.json held when it was read.
    """

    folder: Path
    result: dict[str, Any]

    @classmethod
    def at(cls, folder: Path) -> Run:
        """The run of a folder; one that is not started where there is none."""
        return load_run(folder) or cls(folder, {})

    @functools.cached_property
    def status(self) -> Status:
        """What result.json says; one that is running and that no process writes was killed."""
        stored = self.result.get("status", Status.NOT_STARTED)
        if stored == Status.RUNNING and not is_held(self.folder):
            return Status.KILLED
        return Status(stored) if stored in list(Status) else Status.UNKNOWN

    @property
    def finished(self) -> bool:
        return self.result.get("status") == Status.FINISHED

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml in today's names.

        Raises:
            OSError, ValueError, yaml.YAMLError: If it can't be read.
        """
        config = _parse((self.folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"{CONFIG} is no mapping")
        flat(config)  # refuses one that grows
        return upgraded(config)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The config by dotted keys: `model.output_stride` to its value; a list is a value."""
        return flat(self.config)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of its settings; made again where an earlier version of atrous stored one by other names. Empty: not known."""
        if self.result.get("fingerprint_version") == VERSION:
            return str(self.result.get("fingerprint"))
        try:
            return fingerprint(self.config, self.files)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return ""

    @functools.cached_property
    def fingerprint_by_place(self) -> str:
        """As `fingerprint`, with where its data lay instead of what they were. Empty: not known."""
        try:
            return fingerprint(self.config)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return ""

    @property
    def files(self) -> dict[str, str]:
        """What identifies its data's files, by split; empty where it has not come so far."""
        files = self.part("provenance").get("data")
        return {str(split): str(value) for split, value in files.items()} if isinstance(files, dict) else {}

    @property
    def main_score(self) -> MainScore:
        """That of its task; runs of before it was stored have the mean IoU."""
        return BY_KEY.get(str(self.result.get("main_score")), MEAN_IOU)

    @property
    def scores(self) -> dict[str, float]:
        """All scores of its best checkpoint on `eval_split`, NaN where one is not defined; none before it has finished."""
        return {key: number(value) for key, value in self.part("scores").items()}

    @property
    def score(self) -> float:
        """The main score of its best checkpoint on `eval_split`; NaN before it has finished."""
        return number(self.part("scores").get(self.main_score.key))

    @property
    def objective(self) -> float:
        """What a sweeper is told: the score, or that which a pruned run had come to on val."""
        return number(self.result.get(f"val_{self.main_score.key}")) if self.status == Status.PRUNED else self.score

    @property
    def checkpoint(self) -> Path:
        return self.folder / str(self.result.get("best_checkpoint") or "checkpoints/best.ckpt")

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, of a finished run."""
        names = self.part("per_class").get("names")
        return tuple(one_line(name, 80) for name in names) if isinstance(names, list) else ()

    @functools.cached_property
    def iou(self) -> NDArray[np.float64]:
        """Each class's IoU, (C,), NaN where it has none."""
        values = self.part("per_class").get("iou")
        return np.array([number(value) for value in values]) if isinstance(values, list) else np.zeros(0)

    @property
    def seed(self) -> Any:
        return self.settings.get("seed")

    @functools.cached_property
    def fold(self) -> tuple[int, int] | None:
        """Which fold its val split is, of how many; None where that is none, or it is not known."""
        try:
            fold, folds = (self.settings.get(f"data.{key}") for key in ("fold", "folds"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return None
        return (fold, folds) if isinstance(fold, int) and isinstance(folds, int) else None

    @property
    def command(self) -> str:
        return one_line(self.result.get("command", ""), longest=20_000)

    @property
    def error(self) -> str:
        """Why it did not finish, where it says so: the message, the signal that stopped it, or that its search gave it up."""
        if self.status == Status.PRUNED:
            return f"given up by its search at a {self.main_score.monitor} of {self.objective:.4f}"
        why = {Status.KILLED: "no process is writing it any more", Status.NOT_STARTED: "planned, and not begun"}
        return one_line(self.result.get("error") or self.result.get("signal") or why.get(self.status, ""))

    @property
    def commit(self) -> str:
        """The commit that it ran at, `+` behind it where files had been changed since; empty where it is not known."""
        git = self.part("provenance").get("git")
        if not isinstance(git, dict) or not git.get("commit"):
            return ""
        return f"{one_line(git['commit'])[:7]}{'+' * bool(git.get('dirty'))}"

    def __str__(self) -> str:
        """The folder and how far the run came, for a message."""
        status = "was killed" if self.result.get("status") == Status.RUNNING else self.result.get("status")
        return f"{short(self.folder)} (started {self.result.get('started')}, {status})"

    def cost(self, key: str) -> float:
        """parameters, macs, train_seconds or peak_memory_bytes; NaN where it was not measured."""
        return number(self.part("cost").get(key))

    def part(self, key: str) -> dict[str, Any]:
        """A part of result.json; empty where it is none."""
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
        """See `read_history`."""
        return read_history(self.folder)

    def validation_scores(self) -> list[float]:
        """The main score of each validation, in order; without those that are no number."""
        series = self.history().get(self.main_score.monitor)
        return [] if series is None else [float(score) for score in series[1]]


@dataclass(frozen=True)
class Unread:
    """A folder that looks like a run's and can't be read."""

    folder: Path
    reason: str


def read_result(folder: Path) -> dict[str, Any]:
    """result.json.

    Raises:
        OSError, ValueError: If it is missing, damaged, or holds something else.
    """
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(result, dict):
        raise ValueError(f"{RESULT} is no mapping")
    return result


def load_run(folder: Path) -> Run | None:
    """The run of a folder; None where its result.json is missing, is not ours, or was written by no training."""
    try:
        result = read_result(folder)
    except (OSError, ValueError):  # not ours, or gone meanwhile
        return None
    return Run(folder, result) if "fingerprint" in result else None


def find_runs(roots: Iterable[Path]) -> tuple[list[Run], list[Unread]]:
    """All runs in and below the given folders, in the order of their paths, and what looks like a run and is none."""
    runs: list[Run] = []
    unread: list[Unread] = []
    seen: set[str] = set()
    for folder in (folder for root in roots for folder in run_folders(root)):
        if (real := os.path.realpath(folder)) not in seen:
            seen.add(real)
            found = checked_run(folder)
            (runs if isinstance(found, Run) else unread).append(found)  # type: ignore[arg-type]
    return runs, unread


def run_folders(root: Path) -> Iterator[Path]:
    """The folders in and below `root` that hold a result.json or a config.yaml; a run holds no runs."""
    for name, below, files in os.walk(root):
        below[:] = [] if RESULT in files else sorted(folder for folder in below if not folder.startswith("."))
        if RESULT in files or CONFIG in files:
            yield Path(name)


def checked_run(folder: Path) -> Run | Unread:
    """A run whose files hold what a report needs, or why they don't. One that a study has planned has no result.json yet."""
    name = RESULT
    try:
        planned = not (folder / RESULT).exists()
        run = Run(folder, {} if planned else read_result(folder))
        name = CONFIG
        if planned and not {"model", "method"} & set(run.config):
            return Unread(folder, f"no {RESULT}")
        run.settings  # noqa: B018 - read here, where what stands in the way is told
    except FileNotFoundError as error:
        return Unread(folder, f"no {Path(error.filename).name}")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        return Unread(folder, f"{name} can't be read: {one_line(error, 300)}")
    if run.finished and np.isnan(run.score):
        return Unread(folder, f"{RESULT} says finished and holds no scores.{run.main_score.key}")
    if run.finished and not len(run.classes) == len(run.iou) > 0:
        return Unread(folder, f"{RESULT} says finished and its per_class holds no IoU for each name")
    return run


def _parse(text: str) -> Any:
    """A config, whose top-level keys are read one by one, since runs of a study share most of what stands below them."""
    try:
        parts = [_parse_part(part) for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE) if part]
    except yaml.YAMLError:  # what hangs together across top-level keys
        parts = [None]
    if not parts or not all(isinstance(part, dict) for part in parts):
        return yaml.load(text, Loader=_LOADER)
    return {key: value for part in parts for key, value in part.items()}


@functools.lru_cache(maxsize=512)
def _parse_part(text: str) -> Any:
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
