"""Scores a network on a split and shows the scores: what training ends with and what `evaluate` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray

from atrous.data.datamodule import SegmentationDataModule
from atrous.data.quick_check import fingerprint
from atrous.metrics.extra import ExtraScores
from atrous.metrics.scores import Scores, iou, mean, per_class, pixel_accuracy, summary
from atrous.pages.images import save_image, side_by_side
from atrous.runs.protocol import protocol
from atrous.system.files import write_arrays, write_text
from atrous.system.text import csv_text
from atrous.tasks.semantic import SemanticScorer
from atrous.types import ClassInfo


@dataclass(frozen=True)
class Evaluation:
    """Scores of one network on one split.

    Args:
        names: The images' names, (N,).
        matrices: One confusion matrix per image, int32 (N, C, C), rows as truth.
        class_info: The classes.
        protocol: How the scores were made.
        extra: The scores beside the confusion matrix; None: they were not asked for.
    """

    names: list[str]
    matrices: NDArray[np.int32]
    class_info: ClassInfo
    protocol: dict[str, Any]
    extra: ExtraScores | None = None

    @property
    def confusion(self) -> NDArray[np.int64]:
        total: NDArray[np.int64] = self.matrices.sum(0, dtype=np.int64)
        return total

    @property
    def scores(self) -> dict[str, float]:
        return summary(self.confusion)

    @property
    def class_scores(self) -> dict[str, NDArray[np.float64]]:
        return per_class(self.confusion)

    @property
    def constant_miou(self) -> float:
        """The mIoU of labelling every pixel with the class that is commonest in the truth."""
        truth = self.confusion.sum(1)
        constant = np.zeros_like(self.confusion)
        constant[:, truth.argmax()] = truth
        return summary(constant)["miou"]

    @property
    def image_scores(self) -> dict[str, Scores]:
        """Scores of each image by itself, (N,) each: means over the classes that it has, NaN where it has none."""
        scores = {"miou": mean(iou(self.matrices)), "pixel_accuracy": pixel_accuracy(self.matrices)}
        if self.extra is not None:
            scores["boundary_f1"] = self.extra.image_f1(self.names)
        return scores

    @property
    def extra_scores(self) -> dict[str, Any]:
        return {} if self.extra is None else self.extra.as_json(self.class_info.names)

    def as_json(self) -> dict[str, Any]:
        """The part of result.json that holds the scores."""
        return {
            "scores": self.scores,
            "per_class": {"names": self.class_info.names, **self.class_scores},
            "per_image": {name: float(mean(values)) for name, values in self.image_scores.items()},
            **self.extra_scores,
            "constant_prediction_miou": self.constant_miou,
            "images": len(self.names),
            "protocol": self.protocol,
        }


def evaluate(
    trainer: pl.Trainer,
    scorer: SemanticScorer,
    datamodule: SegmentationDataModule,
    split: str,
    *,
    resolution: str,
    precision: str,
    weights: str,
    extra: bool = False,
) -> Evaluation:
    """Labels every image of `split` once and counts.

    Args:
        trainer, scorer, datamodule, split: What scores what.
        resolution: The network's, for the protocol; see `atrous.engine.resolution.resolution_of`.
        precision: The Trainer's, for the protocol.
        weights: Which weights the scorer has, for the protocol; see `atrous.runs.protocol.weights_of`.
        extra: Also score boundaries, object sizes and calibration; see `ExtraScores` for what that costs.
    """
    class_info = scorer.class_info
    size = class_info.num_classes
    scorer.extra = ExtraScores(num_classes=size, ignore_index=class_info.ignore_index) if extra else None
    trainer.test(scorer, dataloaders=datamodule.eval_dataloader(split), verbose=False)
    names = sorted(scorer.per_image)
    matrices = (
        torch.stack([scorer.per_image[name] for name in names]).numpy() if names else np.zeros((0, size, size), "i4")
    )
    about = protocol(
        split=split,
        images=len(names),
        data=fingerprint(datamodule.dataset(split)),
        class_info=class_info,
        resolution=resolution,
        inference=str(scorer.inference),
        precision=precision,
        weights=weights,
    )
    return Evaluation(names, matrices, class_info, about, scorer.extra)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Writes confusion.npz and per_image.csv, and with the extra scores trimap.png and reliability.png.

    confusion.npz: `names` (N,), `matrices` int32 (N, C, C) with rows as truth, `classes` (C,). per_image.csv: the worst mIoU
    first.
    """
    write_arrays(
        folder / "confusion.npz",
        names=np.array(evaluation.names),
        matrices=evaluation.matrices,
        classes=np.array(evaluation.class_info.names),
    )
    scores = evaluation.image_scores
    rows = zip(evaluation.names, *scores.values(), strict=True)
    table = [
        [name, *("" if np.isnan(value) else f"{value:.6f}" for value in values)]
        for name, *values in sorted(rows, key=lambda row: (bool(np.isnan(row[1])), row[1]))
    ]
    write_text(folder / "per_image.csv", csv_text(["name", *scores], table))
    if evaluation.extra is not None:
        from atrous.report.evaluation_plots import (  # matplotlib takes a second to import
            write_reliability,
            write_trimap,
        )

        write_trimap(folder / "trimap.png", evaluation.extra_scores["boundary"])
        write_reliability(folder / "reliability.png", evaluation.extra_scores["calibration"])


@torch.no_grad()
def write_samples(
    folder: Path, scorer: SemanticScorer, datamodule: SegmentationDataModule, split: str, *, count: int = 8
) -> list[Path]:
    """Writes `image | truth | prediction` of evenly spaced images of a split as PNGs and returns their paths."""
    dataset = datamodule.dataset(split)
    folder.mkdir(exist_ok=True)
    scorer.eval()
    paths = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, count).astype(int)):
        raw = dataset[int(index)]
        image = datamodule.normalise(raw.image)[None].to(scorer.device)
        prediction = scorer.predict_labels(image)[0].cpu().numpy()
        path = folder / f"{raw.name.replace('/', '_')}.png"
        save_image(path, side_by_side(raw.image, raw.mask, prediction, scorer.class_info))
        paths.append(path)
    return paths
