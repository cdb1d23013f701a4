"""What `hydra/launcher=local` shows: a live table of the jobs that run, on a terminal; else a line as each starts or ends."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from atrous.metrics.main_score import main_score_of
from atrous.runs.history import HISTORY, read_last_rows
from atrous.runs.run import Status
from atrous.studies.study import Job
from atrous.system.text import duration, printable

FIRST_GUESS = 0.02  # of a job; before so much is done no time left is told


class JobTable:
    """Shows the jobs while it is entered.

    Args:
        jobs: All of them.
        configs: Theirs, whose trainer says how long they are.
        cores: How many a job has.
        at_once: How many run at once.
    """

    def __init__(self, jobs: Sequence[Job], configs: Sequence[dict[str, Any]], cores: int, at_once: int) -> None:
        self.console = Console()
        self._jobs = jobs
        self._histories = [HistoryTail(job.folder, config) for job, config in zip(jobs, configs, strict=True)]
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
        run, status = job.run, job.status
        history.read()
        if status in (Status.FINISHED, Status.PRUNED):
            self._ended["finished"] += 1
            history.share = 1.0
            score = f"{run.main_score.name} {run.objective:.4f}"
            self._say(number, f"{status}, {score}, after {duration(round(seconds))}{self._left()}")
        elif status == Status.INTERRUPTED:
            self._ended["stopped"] += 1
            self._say(number, f"stopped by {run.result['signal']}")
        elif status == Status.NOT_STARTED:
            self._ended["stopped"] += 1
            self._say(number, "stopped before its training began")
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
            Column("job", overflow="fold"),
            Column("", width=20),
            "so far",
            f"val {self._histories[0].main_score.name}",
            "for",
            box=None,
            pad_edge=False,
        )
        for number, since in self._running.items():
            history = self._histories[number]
            score = "" if math.isnan(history.best) else f"{history.score:.3f} (best {history.best:.3f})"
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
        config: The run's.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.share = 0.0  # of the training that is done, up to 1
        self.place = ""  # in epochs or updates
        self.score = self.best = math.nan  # the main score of the last validation, and of the best
        self._seen = 0
        trainer = config["trainer"]
        self.main_score = main_score_of(config)
        steps = trainer.get("max_steps", -1) or -1
        self._unit, self._total = ("step", steps) if steps > 0 else ("epoch", trainer.get("max_epochs", 1) or 1)
        self.read()

    def read(self) -> None:
        """Reads what was added."""
        try:
            written = (self.folder / HISTORY).stat().st_mtime_ns
            if written == self._seen:
                return
            rows = read_last_rows(self.folder)
        except OSError:  # not there yet
            return
        self._seen = written
        for row in rows:
            self._take(row)

    def _take(self, row: dict[str, str]) -> None:
        score = row.get(self.main_score.monitor)
        if score:
            self.score = float(score)
            self.best = self.main_score.best([self.best, self.score])
        if row.get(self._unit):
            number = int(float(row[self._unit]))
            done = number + 1 if self._unit == "step" or score else number
            self.share = min(1.0, done / self._total)
            self.place = f"{self._unit} {min(number + 1, self._total)}/{self._total}"
