"""The scores of one network on one split. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import DataError
from atrous.metrics.bootstrap import Resampled, resampled
from atrous.metrics.main_score import MEAN_IOU, MainScore
from atrous.metrics.scores import Scores, mean, per_class, pixel_accuracy, summary
from atrous.runs.run import MATRICES, RESULT, Run, read_result
from atrous.system.files import write_arrays, write_text
from atrous.system.text import csv_text

if TYPE_CHECKING:  # it imports OpenCV
    from atrous.metrics.extra import ExtraScores


@dataclass(frozen=True)
class Evaluation:
    """Scores of one network on one split: what an evaluation or a training leaves in result.json and confusion.npz.

    Args:
        names: The images' names, (N,).
        matrices: One confusion matrix per image, int32 (N, C, C), with void (N, C, C + 1), rows as truth.
        classes: The classes' names, C.
        protocol: How the scores were made.
        extra: The scores beside the confusion matrix; None: they were not asked for, or it was read from a folder.
        source: The folder that it was read from.
        seed: That the network was trained with, where it is known.
        main_score: That of the task.
        fold: Which of how many folds it is, where val is one; see `atrous.runs.folds`.
    """

    names: list[str]
    matrices: NDArray[np.int32]
    classes: tuple[str, ...]
    protocol: dict[str, Any]
    extra: ExtraScores | None = None
    source: Path | None = None
    seed: Any = None
    main_score: MainScore = MEAN_IOU
    fold: tuple[int, int] | None = None
    _resampled: dict[tuple[int, int], Resampled] = field(default_factory=dict, repr=False)

    @property
    def confusion(self) -> NDArray[np.int64]:
        total: NDArray[np.int64] = self.matrices.sum(0, dtype=np.int64)
        return total

    @property
    def scores(self) -> dict[str, float]:
        return summary(self.confusion)

    @property
    def score(self) -> float:
        """The main score."""
        return self.scores[self.main_score.key]

    @property
    def class_scores(self) -> dict[str, NDArray[np.float64]]:
        return per_class(self.confusion)

    @property
    def constant_score(self) -> float:
        """The main score of labelling every pixel with the class that is commonest in the truth."""
        truth = self.confusion.sum(1)
        constant = np.zeros_like(self.confusion)
        constant[:, truth.argmax()] = truth
        return float(self.main_score.of(constant))

    @property
    def image_scores(self) -> dict[str, Scores]:
        """Scores of each image by itself, (N,) each: means over the classes that it has, NaN where it has none."""
        scores = {
            self.main_score.key: self.main_score.of(self.matrices),
            "pixel_accuracy": pixel_accuracy(self.matrices),
        }
        if self.extra is not None:
            scores["boundary_f1"] = self.extra.image_f1(self.names)
        return scores

    @property
    def extra_scores(self) -> dict[str, Any]:
        return {} if self.extra is None else self.extra.as_json(self.classes)

    def as_json(self) -> dict[str, Any]:
        """The part of result.json that holds the scores."""
        return {
            "scores": self.scores,
            "per_class": {"names": self.classes, **self.class_scores},
            "per_image": {name: float(mean(values)) for name, values in self.image_scores.items()},
            **self.extra_scores,
            f"constant_prediction_{self.main_score.key}": self.constant_score,
            "images": len(self.names),
            "protocol": self.protocol,
        }

    def resampled(self, resamples: int, seed: int) -> Resampled:
        """The scores on resamples of the images, kept, since a report compares the baseline's runs with all others."""
        if (resamples, seed) not in self._resampled:
            self._resampled[resamples, seed] = resampled(self.matrices, resamples=resamples, seed=seed)
        return self._resampled[resamples, seed]


def read_evaluation(path: Path) -> Evaluation:
    """Reads what a training, or `evaluate` with out=FOLDER, has left.

    Raises:
        DataError: If a file is missing or holds something else.
    """
    folder = path.parent if path.name == RESULT else path
    for name in (RESULT, MATRICES):
        if not (folder / name).is_file():
            raise DataError(
                f"no {name} in {folder}. Give the folder of a finished training, or what `evaluate` writes with out=FOLDER."
            )
    try:
        run = Run(folder, read_result(folder))
        with np.load(folder / MATRICES) as arrays:
            names, matrices, classes = (arrays[key] for key in ("names", "matrices", "classes"))
    except (ValueError, KeyError, OSError) as error:
        raise DataError(f"{folder} holds a damaged {RESULT} or {MATRICES} ({error}). Score it again.") from error
    if "protocol" not in run.result:
        raise DataError(f"{folder / RESULT} has no scores; its status is {run.status}. Give a finished run.")
    order = np.argsort(names)
    return Evaluation(
        names[order].tolist(),
        matrices[order],
        tuple(classes.tolist()),
        run.part("protocol"),
        source=folder,
        seed=run.part("provenance").get("seed"),
        main_score=run.main_score,
        fold=run.fold,
    )


def write_matrices(folder: Path, evaluation: Evaluation) -> None:
    """Writes confusion.npz and per_image.csv.

    confusion.npz: `names` (N,), `matrices` int32 (N, C, C) with rows as truth, and a last column for what a network with an
    output for void labels so, `classes` (C,). per_image.csv: the worst main score first.
    """
    write_arrays(
        folder / MATRICES,
        names=np.array(evaluation.names),
        matrices=evaluation.matrices,
        classes=np.array(evaluation.classes),
    )
    scores = evaluation.image_scores
    rows = zip(evaluation.names, *scores.values(), strict=True)
    table = [
        [name, *("" if np.isnan(value) else f"{value:.6f}" for value in values)]
        for name, *values in sorted(rows, key=lambda row: (bool(np.isnan(row[1])), row[1]))
    ]
    write_text(folder / "per_image.csv", csv_text(["name", *scores], table))
