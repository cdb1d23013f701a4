"""From folders to the study that a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atrous.config.fingerprint import NOT_COUNTED
from atrous.errors import DataError
from atrous.report.study import Study, study_of
from atrous.runs.compare import RESAMPLES
from atrous.runs.run import find_runs

_MANY, _FEWER = 100, 2000


def read_study(
    roots: Sequence[Path],
    *,
    baseline: str | None = None,
    compared: bool = True,
    resamples: int | None = None,
    seed: int = 0,
) -> Study:
    """Reads all runs in and below folders, and compares each setting with the baseline.

    Args:
        roots: Folders that hold run folders.
        baseline: See conf/report.yaml.
        compared: Whether the settings are compared at all.
        resamples: Of the images, for the intervals; None: 10,000, or fewer where there are many to compare.
        seed: Of the resamples.

    Raises:
        ConfigError: If the baseline fits no row, or several.
        DataError: If a folder is not there, or there are no run folders.
    """
    for root in roots:
        if not root.is_dir():
            raise DataError(f"no folder {root}. Give folders that hold run folders, such as runs/sweep.")
    runs, unread = find_runs(roots)
    if not runs and not unread:
        raise DataError(
            f"no run folder in {', '.join(map(str, roots))}: none below it holds a result.json. Give the folder of a study, "
            "or `paths.runs` of its trainings."
        )
    count = sum(run.finished for run in runs)
    draws = (resamples or (RESAMPLES if count <= _MANY else _FEWER)) if compared else None
    return study_of(runs, unread, ignored=NOT_COUNTED, baseline=baseline, resamples=draws, seed=seed)
