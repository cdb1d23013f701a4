"""`evaluate --compare A B`: whether two scores may be compared, and whether their difference is more than chance.

Imports no torch, so that the answer is there in a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from atrous.errors import DataError
from atrous.metrics.bootstrap import Difference, Resampled, paired_difference, resampled
from atrous.runs.protocol import differences, lines

OPTIONS = {"resamples": 10_000, "seed": 0}


@dataclass(frozen=True)
class Scored:
    """What an evaluation or a training left: result.json and confusion.npz.

    Args:
        source: The folder.
        protocol: How it was scored.
        names: The images' names, (N,).
        matrices: One confusion matrix per image, (N, C, C), rows as truth.
        classes: The classes' names.
        seed: That the network was trained with, where it is known.
    """

    source: Path
    protocol: dict[str, Any]
    names: list[str]
    matrices: NDArray[np.int32]
    classes: list[str]
    seed: Any
    _resampled: dict[tuple[int, int], Resampled] = field(default_factory=dict, repr=False)

    def resampled(self, resamples: int, seed: int) -> Resampled:
        """Its scores on resamples of its images, kept, since a report compares the baseline's runs with all others."""
        if (resamples, seed) not in self._resampled:
            self._resampled[resamples, seed] = resampled(self.matrices, resamples=resamples, seed=seed)
        return self._resampled[resamples, seed]


def load(path: Path) -> Scored:
    """Reads what a run left.

    Raises:
        DataError: If a file is missing or holds something else.
    """
    folder = path.parent if path.name == "result.json" else path
    files = (folder / "result.json", folder / "confusion.npz")
    for file in files:
        if not file.is_file():
            raise DataError(
                f"no {file.name} in {folder}. Give the folder of a finished training, or what `evaluate` writes with out=FOLDER."
            )
    try:
        result = json.loads(files[0].read_text(encoding="utf-8"))
        with np.load(files[1]) as arrays:
            names, matrices, classes = (arrays[key] for key in ("names", "matrices", "classes"))
    except (ValueError, KeyError, OSError) as error:
        raise DataError(f"{folder} holds a damaged result.json or confusion.npz ({error}). Score it again.") from error
    if "protocol" not in result:
        raise DataError(f"{files[0]} has no scores; its status is {result.get('status')}. Give a finished run.")
    order = np.argsort(names)
    seed = (result.get("provenance") or {}).get("seed")
    return Scored(folder, result["protocol"], names[order].tolist(), matrices[order], classes.tolist(), seed)


def check_comparable(console: Console, runs: Sequence[Scored]) -> None:
    """Says what was scored and what differs.

    Raises:
        DataError: If the scores are not of the same images, truth and rules.
    """
    first = runs[0]
    for line in lines_of(first):
        console.print(line, style="dim", soft_wrap=True, highlight=False)
    forbidding: list[str] = []
    told: list[str] = []
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
        told += [warning for warning in warnings if warning not in told]
    if forbidding:
        raise DataError(
            "these scores can't be compared; they differ in\n  "
            + "\n  ".join(forbidding)
            + "\nScore both checkpoints with the same `evaluate` settings."
        )
    for warning in told:
        console.print(f"[yellow]differs[/] {warning}", soft_wrap=True, highlight=False)


def difference(a: Sequence[Scored], b: Sequence[Scored], *, resamples: int, seed: int) -> Difference:
    """A's mIoU minus B's; runs of the same seed go together where both sides have the same seeds."""
    paired = paired_by_seed(a, b)
    if paired:
        a, b = (sorted(side, key=lambda run: str(run.seed)) for side in (a, b))
    sides = ([run.resampled(resamples, seed) for run in side] for side in (a, b))
    return paired_difference(*sides, paired_runs=paired, resamples=resamples, seed=seed)


def paired_by_seed(a: Sequence[Scored], b: Sequence[Scored]) -> bool:
    """Whether each seed is there once a side."""
    seeds = [{str(run.seed) for run in side if run.seed is not None} for side in (a, b)]
    return seeds[0] == seeds[1] and len(seeds[0]) == len(a) == len(b)


def verdict(found: Difference) -> str:
    """What the difference in mIoU comes to, in words."""
    if not found.shown:
        return f"no difference shown: mIoU {found.miou:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    if found.miou > 0:
        return f"A is better: mIoU +{found.miou:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return f"B is better: mIoU +{-found.miou:.3f} [{-found.high:.3f}, {-found.low:.3f}]"


def lines_of(run: Scored) -> Sequence[str]:
    """The run's protocol for people; of a run from before it was stored in full, as it is."""
    try:
        return lines(run.protocol)
    except KeyError:
        return [", ".join(f"{key}: {value}" for key, value in run.protocol.items())]
