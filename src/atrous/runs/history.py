"""What runs have scored on their way, read from their folders. Imports no torch."""

from __future__ import annotations

import csv
from pathlib import Path

from atrous.runs.run import Run, load_run

MONITOR = "val/miou"
TRIALS = "trials.csv"  # of a search: its trials' values, scores and folders


def validation_scores(folder: Path) -> list[float]:
    """The val/miou of each validation of a run, in order; without those that are no number."""
    series = Run(folder, {}).history().get(MONITOR)
    return [] if series is None else [float(score) for score in series[1]]


def finished_trials(search: Path) -> list[Path]:
    """The folders of a search's trials that are finished by now."""
    path = search / TRIALS
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        runs = [load_run(search / row["folder"]) for row in csv.DictReader(file)]
    return [run.folder for run in runs if run is not None and run.finished]
