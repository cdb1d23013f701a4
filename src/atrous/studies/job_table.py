"""What `hydra/launcher=local` shows: a live table of the jobs that run, on a terminal; else a line as each starts or ends."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from atrous.studies.study import Job
from atrous.system.text import duration, printable

TAIL = 1 << 18  # bytes of a history that are read
FIRST_GUESS = 0.02  # of a job; before so much is done no time left is told


class JobTable:
    """Shows the jobs while it is entered.

    Args:
        jobs: All of them.
        trainers: Their trainers' settings, which say how long they are.
        cores: How many a job has.
        at_once: How many run at once.
    """

    def __init__(self, jobs: Sequence[Job], trainers: Sequence[dict[str, Any]], cores: int, at_once: int) -> None:
        self.console = Console()
        self._jobs = jobs
        self._histories = [HistoryTail(job.folder, trainer) for job, trainer in zip(jobs, trainers, strict=True)]
        self._each = f"{min(at_once, len(jobs))} at once on {cores} core{'s' * (cores > 1)} each"
        self._running: dict[int, float] = {}  # job -> when it was started
        self._ended = {"finished": 0, "failed": 0, "stopped": 0}
        self._began: float | None = None
        self._before = sum(history.share for history in self._histories)
        self._live: Live | None = None

    def __enter__(self) -> JobTable:
        count = f"{len(self._jobs)} job{'s' * (len(self._jobs) != 1)}"
        self.console.print(f"{count}, {self._each}; each writes what it says to its console.log\n")
        if self.console.is_terminal:
            self._live = Live(console=self.console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()
        self.console.print()

    def started(self, number: int) -> None:
        self._running[number] = time.monotonic()
        self._began = self._began or self._running[number]
        if not self._live:
            self._say(number, "started")

    def ended(self, number: int) -> None:
        """Tells what came of a job, and how much is left."""
        seconds = time.monotonic() - self._running.pop(number)
        job, history = self._jobs[number], self._histories[number]
        result, status = job.result(), job.status
        history.read()
        if status in ("finished", "pruned"):
            self._ended["finished"] += 1
            history.share = 1.0
            miou = result["scores"]["miou"] if status == "finished" else result["val_miou"]
            self._say(number, f"{status}, mIoU {miou:.4f}, after {duration(round(seconds))}{self._left()}")
        elif status == "interrupted":
            self._ended["stopped"] += 1
            self._say(number, f"stopped by {result['signal']}")
        else:
            self._ended["failed"] += 1
            self._say(number, f"failed: {job.reason()}", style="red")

    def show(self) -> None:
        """Brings the table up to date."""
        for number in self._running:
            self._histories[number].read()
        if self._live:
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Group:
        table = Table(
            Column("job", overflow="fold"), Column("", width=20), "so far", "val mIoU", "for", box=None, pad_edge=False
        )
        for number, since in self._running.items():
            history = self._histories[number]
            score = "" if history.miou is None else f"{history.miou:.3f} (best {history.best:.3f})"
            bar = ProgressBar(total=1.0, completed=history.share, width=20)
            table.add_row(history.folder.name, bar, history.place, score, duration(round(time.monotonic() - since)))
        waiting = len(self._jobs) - len(self._running) - sum(self._ended.values())
        counts = {**self._ended, "running": len(self._running), "waiting": waiting}
        line = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return Group(table, Text(f"{line}{self._left()}", "bold"))

    def _left(self) -> str:
        """The time left, if all jobs go on as fast as they did until now."""
        done = sum(history.share for history in self._histories) - self._before
        left = len(self._jobs) - self._ended["failed"] - self._before - done
        if self._began is None or done < FIRST_GUESS or left <= 0:
            return ""
        return f"; about {duration(round((time.monotonic() - self._began) / done * left))} left"

    def _say(self, number: int, what: str, style: str = "") -> None:
        name = f"{time.strftime('%H:%M:%S')} {self._jobs[number].folder.name}"
        self.console.print(Text(printable(f"{name}: {what}", keep="\n"), style), soft_wrap=True)


class HistoryTail:
    """How far a run is, by the end of its metrics.csv.

    Args:
        folder: The run folder; it need not be there.
        trainer: The trainer's settings.
    """

    def __init__(self, folder: Path, trainer: Any) -> None:
        self.folder = folder
        self.share = 0.0  # of the training that is done, up to 1
        self.place = ""  # in epochs or updates
        self.miou: float | None = None  # of the last validation
        self.best = 0.0
        self._seen = 0
        steps = trainer.get("max_steps", -1) or -1
        self._unit, self._total = ("step", steps) if steps > 0 else ("epoch", trainer.get("max_epochs", 1) or 1)
        self.read()

    def read(self) -> None:
        """Reads what was added."""
        path = self.folder / "metrics.csv"
        try:
            written = path.stat().st_mtime_ns
            if written == self._seen:
                return
            self._seen = written
            with path.open("rb") as file:
                head = file.readline()
                begin = max(file.tell(), path.stat().st_size - TAIL)
                inside = begin > file.tell()
                file.seek(begin)
                rows = file.readlines()[inside:]  # the first may be the rest of one
        except OSError:  # not there yet
            return
        for row in csv.DictReader(line.decode() for line in [head, *rows]):
            self._take(row)

    def _take(self, row: dict[str, str]) -> None:
        validated = bool(row.get("val/miou"))
        if validated:
            self.miou = float(row["val/miou"])
            self.best = max(self.best, self.miou)
        if row.get(self._unit):
            number = int(float(row[self._unit]))
            done = number + 1 if self._unit == "step" or validated else number
            self.share = min(1.0, done / self._total)
            self.place = f"{self._unit} {min(number + 1, self._total)}/{self._total}"
