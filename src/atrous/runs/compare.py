"""Whether two scores may be compared, and whether their difference is more than chance.

Imports no torch, so that the answer is there in a second.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atrous.errors import DataError
from atrous.metrics.bootstrap import Difference, paired_difference
from atrous.runs.folds import read_evaluations
from atrous.runs.protocol import differences
from atrous.runs.scores import Evaluation

RESAMPLES = 10_000
FEWEST = 3  # runs a side before a difference is called one; below, nothing tells how much a seed changes
# Images before a difference is called one: of fewer, a bootstrap's interval of 95 % holds in less than 93 %, of four in 81 %
# (for a mean of normal values: P(|t| < 1.96 sqrt((n - 1) / n)) at n - 1 degrees of freedom).
FEWEST_IMAGES = 20


@dataclass(frozen=True)
class Comparison:
    """What two sides' scores come to.

    Args:
        difference: A's main score and IoU minus B's, with their intervals.
        verdict: On A; see `verdict`.
        notes: What differs between their protocols and does not forbid the comparison.
    """

    difference: Difference
    verdict: str
    notes: list[str]


def compared(
    a: Sequence[Evaluation], b: Sequence[Evaluation], *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compares two sides of one run or several.

    Raises:
        DataError: If the scores are not of the same images, truth and rules.
    """
    notes = check_comparable([*a, *b])
    found = difference(a, b, resamples=resamples, seed=seed)
    return Comparison(found, verdict(found, len(a), len(b)), notes)


def check_comparable(runs: Sequence[Evaluation]) -> list[str]:
    """What a reader of the comparison should know: protocol entries that differ and don't forbid it.

    Raises:
        DataError: If the scores are not of the same images, truth and rules.
    """
    first = runs[0]
    forbidding: list[str] = []
    notes: list[str] = []
    for run in runs[1:]:
        errors, warnings = differences(first.protocol, run.protocol)
        if first.classes != run.classes:
            errors.append(f"class names: {', '.join(first.classes)} / {', '.join(run.classes)}")
        elif first.names != run.names:
            alone = len(set(first.names) ^ set(run.names))
            errors.append(f"images: {alone} were scored on one side only")
        elif not np.array_equal(first.matrices.sum(2), run.matrices.sum(2)):
            changed = int((first.matrices.sum(2) != run.matrices.sum(2)).any(1).sum())
            errors.append(f"truth: the masks of {changed} images have other pixels per class")
        forbidding += [error for error in errors if error not in forbidding]
        notes += [warning for warning in warnings if warning not in notes]
    if forbidding:
        raise DataError(
            "these scores can't be compared; they differ in\n  "
            + "\n  ".join(forbidding)
            + "\nScore both checkpoints with the same `evaluate` settings."
        )
    return notes


def difference(a: Sequence[Evaluation], b: Sequence[Evaluation], *, resamples: int, seed: int) -> Difference:
    """A's main score minus B's; runs of the same seed go together where both sides have the same seeds."""
    paired = paired_by_seed(a, b)
    if paired:
        a, b = (sorted(side, key=lambda run: str(run.seed)) for side in (a, b))
    sides = ([run.resampled(resamples, seed) for run in side] for side in (a, b))
    return paired_difference(*sides, paired_runs=paired, resamples=resamples, seed=seed)


def paired_by_seed(a: Sequence[Evaluation], b: Sequence[Evaluation]) -> bool:
    """Whether each seed is there once a side."""
    seeds = [{str(run.seed) for run in side if run.seed is not None} for side in (a, b)]
    return seeds[0] == seeds[1] and len(seeds[0]) == len(a) == len(b)


class Baseline:
    """Run folders with which others are compared; they are read once.

    Args:
        folders: Of the runs.
        resamples, seed: Of the images.
    """

    def __init__(self, folders: Sequence[Path], *, resamples: int, seed: int) -> None:
        self._folders, self._options = folders, {"resamples": resamples, "seed": seed}

    @functools.cached_property
    def _runs(self) -> list[Evaluation]:
        return read_evaluations(self._folders)

    def difference(self, folders: Sequence[Path]) -> Difference:
        """The main score of the runs in `folders` less that of the baseline.

        Raises:
            DataError: If a folder can't be read, or the scores can't be compared.
        """
        runs = read_evaluations(folders)
        check_comparable([*self._runs, *runs])
        return difference(runs, self._runs, **self._options)


def verdict(found: Difference, runs: int, others: int) -> str:
    """What the difference of `runs` runs from `others` comes to.

    One of: no difference shown; better; worse; higher or lower, too few seeds, images, or both.
    """
    if not found.shown:
        return "no difference shown"
    few = ["seeds"] * (min(runs, others) < FEWEST) + ["images"] * (found.images < FEWEST_IMAGES)
    if few:
        return f"{'higher' if found.score > 0 else 'lower'}, too few {' and '.join(few)}"
    return "better" if found.score > 0 else "worse"
