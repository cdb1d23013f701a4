"""The trials of a search as they are shown: a table, trials.csv, and the best one's command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from atrous.metrics.main_score import MainScore
from atrous.runs.run import Status
from atrous.runs.trials import TRIALS
from atrous.studies.study import Job, short_keys
from atrous.system.files import write_text
from atrous.system.text import csv_text, short

ENDED = (Status.FINISHED, Status.PRUNED)


@dataclass
class Trial:
    """One setting of the space.

    Args:
        values: What was drawn, as overrides' values by their keys.
        drawn: The same as Optuna has it.
        job: Trains it.
        asked: Optuna's trial, while it waits to be told.
    """

    values: dict[str, str]
    drawn: dict[str, Any]
    job: Job
    asked: Any = None

    @property
    def main_score(self) -> MainScore:
        return self.job.run.main_score

    @property
    def score(self) -> float | None:
        """The best main score on val; None before it has ended."""
        run = self.job.run
        scores = run.validation_scores() if run.status in ENDED else []
        return run.main_score.best(scores) if scores else None


def write_trials(trials: Sequence[Trial], folder: Path) -> None:
    """trials.csv: a row for each trial."""
    if not trials:
        return
    rows = []
    for number, trial in enumerate(trials, 1):
        job = trial.job
        updates = job.run.result.get("steps")
        rows.append([number, *trial.values.values(), trial.score, job.status, updates, job.folder.name])
    head = ["trial", *trials[0].values, trials[0].main_score.key, "outcome", "updates", "folder"]
    write_text(folder / TRIALS, csv_text(head, rows))


def table(trials: Sequence[Trial]) -> Table:
    """All trials, for people."""
    best = best_of(trials)
    keys = list(trials[0].values) if trials else []
    columns = [Column(escape(name), overflow="fold") for name in short_keys(keys)]  # the terminal is narrow
    rows = Table("trial", *columns, trials[0].main_score.name if trials else "score", "outcome", "updates")
    for number, trial in enumerate(trials, 1):
        score = "" if trial.score is None else f"{trial.score:.4f}"
        came = "best" if trial is best else trial.job.status
        updates = str(trial.job.run.result.get("steps", ""))
        style = "bold" if trial is best else None
        rows.add_row(str(number), *map(escape, trial.values.values()), score, came, updates, style=style)
    return rows


def say_best(console: Console, trials: Sequence[Trial]) -> None:
    """The best trial and the command that repeats it."""
    best = best_of(trials)
    if best is not None:
        told = f"best: trial {trials.index(best) + 1}, val {best.main_score.name} {best.score:.4f}, {short(best.job.folder)}"
        console.print(told, soft_wrap=True, highlight=False, markup=False)
        console.print(f"  {best.job.run.result['command']}\n", soft_wrap=True, highlight=False, markup=False)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the best score."""
    finished = [trial for trial in trials if trial.job.status == Status.FINISHED and trial.score is not None]
    return max(finished, key=lambda trial: trial.main_score.rank(trial.score or 0.0), default=None)
