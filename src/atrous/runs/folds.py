"""The folds of a cross-validation as one evaluation. Imports no torch."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atrous.errors import DataError
from atrous.runs.protocol import differences
from atrous.runs.scores import Evaluation, read_evaluation


def read_evaluations(folders: Sequence[Path]) -> list[Evaluation]:
    """Reads runs' evaluations; the folds of one seed are pooled.

    Raises:
        DataError: If a folder can't be read, or folds can't be pooled.
    """
    return pooled([read_evaluation(folder) for folder in folders])


def pooled(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Joins the folds of each seed to one evaluation, in which each image counts once; the others stay as they are.

    Folds of one seed are no repeats: each was scored on other images, and together they are one evaluation of all.

    Raises:
        DataError: If a seed lacks a fold or has it twice, or its folds were scored on common images or by other rules.
    """
    seeds: dict[str, list[Evaluation]] = defaultdict(list)
    found: list[Evaluation] = []
    for evaluation in evaluations:
        if evaluation.fold is None:
            found.append(evaluation)
        else:
            seeds[str(evaluation.seed)].append(evaluation)
    return found + [_joined(seed, folds) for seed, folds in seeds.items()]


def _joined(seed: str, folds: Sequence[Evaluation]) -> Evaluation:
    places = [fold.fold for fold in folds if fold.fold is not None]
    counts = Counter(places)
    missing = sorted(set(range(max(count for _, count in places))) - {fold for fold, _ in places})
    if missing or len(counts) < len(folds) or len({count for _, count in places}) > 1:
        raise DataError(
            f"seed {seed} has the folds {', '.join(f'{fold} of {count}' for fold, count in sorted(places))}; expected each once. "
            + (f"Train fold {', '.join(map(str, missing))} as well." if missing else "Leave the others out.")
        )
    first = folds[0]
    for other in folds[1:]:
        errors, _ = differences(first.protocol, other.protocol)
        if errors := [error for error in errors if not error.startswith(("images:", "data:"))]:
            raise DataError(
                f"the folds of seed {seed} were scored by different rules: {'; '.join(errors)}. Score them alike."
            )
        if first.classes != other.classes:
            raise DataError(f"the folds of seed {seed} have different classes. Score folds of one data set.")
    names = np.array([name for fold in folds for name in fold.names])
    if len(set(names)) < len(names):
        raise DataError(
            f"the folds of seed {seed} were scored on common images, such as {Counter(names).most_common(1)[0][0]}; only the val "
            "splits of one division can be pooled. Train them with eval_split=val and one split_seed."
        )
    order = np.argsort(names)
    data = hashlib.sha256(" ".join(sorted(str(fold.protocol.get("data")) for fold in folds)).encode()).hexdigest()[:12]
    sources = [str(fold.source) for fold in folds if fold.source is not None]
    return Evaluation(
        names[order].tolist(),
        np.concatenate([fold.matrices for fold in folds])[order],
        first.classes,
        {**first.protocol, "images": len(names), "data": data, "folds": len(folds)},
        source=Path(os.path.commonpath(sources)) if sources else None,
        seed=first.seed,
        main_score=first.main_score,
    )
