"""What the trials of a search have scored, read from their folders, and whether one is to be given up. Imports no torch.

A trial's process may run on another machine, so it opens no database: the folders tell all that it needs.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from atrous.errors import ConfigError

MONITOR = "val/miou"
TRIALS = "trials.csv"  # of a search: its trials' values, scores and folders


def import_optuna() -> Any:
    """Optuna, without its log lines.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("a search needs optuna, which is not installed; `pip install 'atrous[search]'`.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def scores_of(folder: Path) -> list[float]:
    """The val/miou of each validation of a run, in order; without those that are no number."""
    try:
        with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
            scores = [float(row.get(MONITOR) or "nan") for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    return [score for score in scores if math.isfinite(score)]


def gives_up(folder: Path, *, after_trials: int, after_validations: int) -> bool:
    """Whether a trial's best score is below the median of what the finished ones had after as many validations.

    By Optuna's median pruner, on the run folders that trials.csv beside `folder` lists.

    Args:
        folder: The trial's run folder.
        after_trials: None is given up before so many have finished.
        after_validations: Nor in so many of its first validations.
    """
    optuna = import_optuna()
    pruner = optuna.pruners.MedianPruner(n_startup_trials=after_trials, n_warmup_steps=after_validations)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for other in _finished(folder.parent):
        scores = scores_of(other)
        if scores and other != folder:
            values = dict(enumerate(scores))
            study.add_trial(optuna.trial.create_trial(value=max(scores), intermediate_values=values))
    trial = study.ask()
    for step, score in enumerate(scores_of(folder)):
        trial.report(score, step)
    return bool(trial.should_prune())


def _finished(search: Path) -> list[Path]:
    """The folders of the trials that are finished by now."""
    path = search / TRIALS
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        folders = [search / row["folder"] for row in csv.DictReader(file)]
    return [folder for folder in folders if _status(folder) == "finished"]


def _status(folder: Path) -> str | None:
    path = folder / "result.json"
    return json.loads(path.read_text(encoding="utf-8")).get("status") if path.exists() else None
