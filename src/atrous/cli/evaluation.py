"""Scores a network on a split and shows the scores: what training ends with and what `evaluate` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from atrous.cli.images import save_image, side_by_side
from atrous.cli.record import write_arrays
from atrous.data.datamodule import SegmentationDataModule
from atrous.inference.labels import labels
from atrous.metrics.scores import per_class, summary
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
    """

    names: list[str]
    matrices: NDArray[np.int32]
    class_info: ClassInfo
    protocol: dict[str, Any]

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

    def as_json(self) -> dict[str, Any]:
        """The part of result.json that holds the scores."""
        return {
            "scores": self.scores,
            "per_class": {"names": self.class_info.names, **self.class_scores},
            "constant_prediction_miou": self.constant_miou,
            "images": len(self.names),
            "protocol": self.protocol,
        }


def evaluate(
    trainer: pl.Trainer, scorer: SemanticScorer, datamodule: SegmentationDataModule, split: str, *, precision: str
) -> Evaluation:
    """Labels every image of `split` once and counts."""
    trainer.test(scorer, dataloaders=datamodule.eval_dataloader(split), verbose=False)
    names = sorted(scorer.per_image)
    class_info = scorer.class_info
    size = class_info.num_classes
    matrices = (
        torch.stack([scorer.per_image[name] for name in names]).numpy() if names else np.zeros((0, size, size), "i4")
    )
    protocol = {
        "split": split,
        "resize": "none: logits are resized to the mask (bilinear, align_corners=False), then argmax",
        "crop": "none",
        "ignore_index": class_info.ignore_index,
        "absent_classes": "left out of means; a class only predicted counts 0",
        "averaging": "one confusion matrix over all images",
        "inference": "whole",
        "postprocess": "none",
        "precision": precision,
    }
    return Evaluation(names, matrices, class_info, protocol)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Writes confusion.npz: `names` (N,), `matrices` int32 (N, C, C) with rows as truth, `classes` (C,)."""
    write_arrays(
        folder / "confusion.npz",
        names=np.array(evaluation.names),
        matrices=evaluation.matrices,
        classes=np.array(evaluation.class_info.names),
    )


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
        height, width = raw.mask.shape
        prediction = labels(scorer(image).logits, (height, width))[0].cpu().numpy()
        path = folder / f"{raw.name.replace('/', '_')}.png"
        save_image(path, side_by_side(raw.image, raw.mask, prediction, scorer.class_info))
        paths.append(path)
    return paths


def show_evaluation(console: Console, evaluation: Evaluation) -> None:
    """A table with a row per class and the means below."""
    classes = evaluation.class_scores
    truth = evaluation.confusion.sum(1)
    share = truth / max(1, truth.sum())
    table = Table(title=f"{evaluation.protocol['split']}: {len(evaluation.names)} images", title_justify="left")
    table.add_column("class")
    for column in ("pixels", "IoU", "Dice", "accuracy"):
        table.add_column(column, justify="right")
    table.add_column("")
    for index, name in enumerate(evaluation.class_info.names):
        iou = classes["iou"][index]
        bar = "" if np.isnan(iou) else "█" * round(20 * iou)
        row = [_number(classes[key][index]) for key in ("iou", "dice", "class_accuracy")]
        table.add_row(name, f"{share[index]:.1%}", *row, f"[cyan]{bar}[/]")
    scores = evaluation.scores
    table.add_section()
    row = [_number(scores[key]) for key in ("miou", "dice", "class_accuracy")]
    table.add_row("[bold]mean[/]", "", *(f"[bold]{value}[/]" for value in row))
    console.print(table)
    console.print(
        f"pixel accuracy {_number(scores['pixel_accuracy'])}   frequency-weighted IoU {_number(scores['fwiou'])}   "
        f"mIoU of always predicting {evaluation.class_info.names[int(truth.argmax())]!r} {_number(evaluation.constant_miou)}",
        soft_wrap=True,
    )


def _number(value: float) -> str:
    return "absent" if np.isnan(value) else f"{value:.3f}"
