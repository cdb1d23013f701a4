"""The trials of a search, as its folder tells them to one of them. Imports no torch and opens no database."""

from __future__ import annotations

import csv
from pathlib import Path

from atrous.runs.run import Run, load_run

TRIALS = "trials.csv"  # their values, scores and folders


def finished_trials(search: Path) -> list[Run]:
    """Those that are finished by now."""
    path = search / TRIALS
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        runs = [load_run(search / row["folder"]) for row in csv.DictReader(file)]
    return [run for run in runs if run is not None and run.finished]
