"""Scores a network on a split: what training ends with and what `evaluate` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray

from atrous.data.datamodule import SegmentationDataModule
from atrous.data.quick_check import fingerprint
from atrous.engine.build import build_datamodule
from atrous.engine.checkpoint import Restored, check_classes
from atrous.engine.ensemble import check_division
from atrous.engine.resolution import resolution_of
from atrous.engine.trainer import build_trainer
from atrous.pages.images import save_image, side_by_side
from atrous.runs.protocol import protocol
from atrous.runs.record import RunRecord
from atrous.runs.run import Status
from atrous.runs.scores import Evaluation, write_matrices
from atrous.tasks.scoring import ScoreAccumulator, ScoringPass
from atrous.tasks.semantic import SemanticScorer
from atrous.types import ClassInfo, RawSample


def evaluate(
    trainer: pl.Trainer,
    scorer: SemanticScorer,
    datamodule: SegmentationDataModule,
    split: str,
    *,
    resolution: str,
    weights: str,
    extra: bool = False,
) -> Evaluation:
    """Labels every image of `split` once and counts.

    Args:
        trainer, scorer, datamodule, split: What scores what.
        resolution: The network's, for the protocol; see `atrous.engine.resolution.resolution_of`.
        weights: Which weights the scorer has, for the protocol; see `atrous.runs.protocol.weights_of`.
        extra: Also score boundaries, object sizes and calibration; see `ExtraScores` for what that costs.
    """
    scores = ScoreAccumulator(scorer.class_info, void=scorer.void_output, extra=extra)
    trainer.test(ScoringPass(scorer, scores), dataloaders=datamodule.eval_dataloader(split), verbose=False)
    about = protocol(
        split=split,
        images=len(scores.names),
        data=fingerprint(datamodule.dataset(split)),
        class_info=scorer.class_info,
        void_output=scorer.void_output,
        resolution=resolution,
        inference=str(scorer.inference),
        precision=trainer.precision,
        weights=weights,
    )
    return Evaluation(
        scores.names, scores.matrices, scorer.class_info.names, about, scores.extra, main_score=scorer.main_score
    )


def evaluate_checkpoint(
    restored: Restored,
    split: str,
    *,
    extra: bool = False,
    out: Path | None = None,
    callbacks: Sequence[pl.Callback] = (),
    command: str | None = None,
) -> Evaluation:
    """Scores a checkpoint on a split of the data that its config names.

    Args:
        restored: The checkpoint.
        split: train, val or test.
        extra: As for `evaluate`.
        out: A folder for result.json, confusion.npz, per_image.csv and pictures; None: nothing is written.
        callbacks: The Trainer's, such as one that shows progress.
        command: What was typed, for result.json.

    Raises:
        CheckpointError: If the data has other classes.
        DataError: If it can't be read.
    """
    config, scorer = restored.config, restored.scorer
    datamodule = build_datamodule(config)
    check_classes(restored, datamodule.class_info)
    check_division(restored, split)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    trainer = build_trainer(config["trainer"], callbacks=list(callbacks), loggers=[], folder=out or Path())
    members = restored.members or (restored,)
    resolution = "; ".join(dict.fromkeys(resolution_of(one.config["model"], one.scorer.model) for one in members))
    weights = "; ".join(dict.fromkeys(one.weights for one in members))
    scored = evaluate(trainer, scorer, datamodule, split, resolution=resolution, weights=weights, extra=extra)
    if out is not None:
        record = RunRecord(out, config, command=command)
        write_evaluation(out, scored)
        write_samples(out / "samples", scorer, datamodule, split)
        record.end(Status.FINISHED, checkpoint=restored.sources, **scored.as_json())
        record.release()
    return scored


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Writes confusion.npz and per_image.csv, and with the extra scores trimap.png and reliability.png."""
    write_matrices(folder, evaluation)
    if evaluation.extra is not None:
        from atrous.report.evaluation_plots import write_reliability, write_trimap  # matplotlib takes a second

        write_trimap(folder / "trimap.png", evaluation.extra_scores["boundary"])
        write_reliability(folder / "reliability.png", evaluation.extra_scores["calibration"])


@torch.no_grad()
def write_samples(
    folder: Path, scorer: SemanticScorer, datamodule: SegmentationDataModule, split: str, *, count: int = 8
) -> list[Path]:
    """Writes `image | truth | prediction` of evenly spaced images of a split as PNGs and returns their paths."""
    dataset = datamodule.dataset(split)
    scorer.eval()
    paths = []
    for index in sample_indices(len(dataset), count):
        raw = dataset[index]
        image = datamodule.normalise(raw.image)[None].to(scorer.device)
        prediction = scorer.predict_labels(image)[0].cpu().numpy()
        paths.append(write_sample(folder, raw, prediction, scorer.label_info))
    return paths


def sample_indices(length: int, count: int = 8) -> list[int]:
    """Evenly spaced indices of a split, at most `count`."""
    return np.unique(np.linspace(0, length - 1, count).astype(int)).tolist()  # type: ignore[no-any-return]


def write_sample(folder: Path, raw: RawSample, prediction: NDArray[Any], class_info: ClassInfo) -> Path:
    """Writes `image | truth | prediction` of one image as a PNG and returns its path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{raw.name.replace('/', '_')}.png"
    save_image(path, side_by_side(raw.image, raw.mask, prediction, class_info))
    return path
