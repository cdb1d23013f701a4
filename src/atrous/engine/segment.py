"""Segments a split by a method without a network, scores it as a network's labels are, and records what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger

from atrous.classical.method import Method, Segments
from atrous.config.compose import build
from atrous.data.datamodule import SegmentationDataModule
from atrous.data.quick_check import fingerprint
from atrous.engine.build import build_datamodule
from atrous.engine.evaluate import sample_indices, write_evaluation, write_sample
from atrous.loggers.wandb import log_scores
from atrous.metrics.segments import Counts, Matching, confusion_of, matched, outline_f1, partition_scores, shared_pixels
from atrous.report.training import TrainingReport
from atrous.runs.protocol import method_protocol
from atrous.runs.record import RunRecord
from atrous.runs.run import Status
from atrous.runs.scores import Evaluation
from atrous.types import ClassInfo, RawSample, SegmentationDataset


@dataclass(frozen=True)
class Segmented:
    """One image's segments and what they share with its truth."""

    name: str
    table: Counts  # (S, C) pixels
    scores: dict[str, float]  # that need no classes
    seconds: float


def build_method(config: dict[str, Any], datamodule: SegmentationDataModule | None = None) -> Method:
    """The method of a config, fitted on the train split where it asks for that and there is one."""
    method: Method = build(config["method"], "method")
    if datamodule is not None and method.fitted_on():
        train = datamodule.dataset("train")
        chosen = np.unique(np.linspace(0, len(train) - 1, method.fitted_on()).astype(int))
        method.fit(train[int(index)].image for index in chosen)
    return method


def segment_and_score(
    config: dict[str, Any], folder: Path, loggers: list[Logger], record: RunRecord | None, report: TrainingReport
) -> float:
    """Segments every image of `eval_split` once and writes the files that a training leaves. Returns the main score."""
    split, matching = config["eval_split"], config["matching"]
    datamodule = build_datamodule(config)
    dataset = datamodule.dataset(split)
    data = fingerprint(dataset)
    if record:
        record.update(provenance={**record.content["provenance"], "data": {split: data}})
    method = build_method(config, datamodule)
    info = dataset.class_info
    report.start_method(str(method), classes=info.num_classes, split=split, images=len(dataset), folder=folder)
    shown: dict[int, Segments] = {}
    found = list(segmented(method, dataset, keep=shown, samples=sample_indices(len(dataset))))
    classes = classes_of([image.table for image in found], matching["by"], over=matching["over"])
    matrices = [confusion_of(image.table, own) for image, own in zip(found, classes, strict=True)]
    order = np.argsort([image.name for image in found])
    about = method_protocol(
        split=split,
        images=len(found),
        data=data,
        class_info=info,
        method=str(method),
        matching=matching_line(**matching),
    )
    size = (-1, info.num_classes, info.num_classes)
    stacked = np.array(matrices, np.int32).reshape(size)[order]
    scored = Evaluation([found[index].name for index in order], stacked, info.names, about)
    segments = {
        "number": float(np.mean([np.count_nonzero(image.table.sum(1)) for image in found])),
        **mean_scores(found),
    }
    seconds = float(np.median([image.seconds for image in found]))
    if record:
        write_evaluation(folder, scored)
        samples = [
            write_sample(folder / "samples", dataset[index], np.asarray(classes[index])[segments_], info)
            for index, segments_ in shown.items()
        ]
        cost = {"parameters": 0, "train_seconds": 0.0, "seconds_per_image": seconds}
        if split == "val":  # what a search goes by
            for logger in loggers:
                logger.log_metrics({f"val/{key}": value for key, value in scored.scores.items()}, step=0)
        record.end(Status.FINISHED, **scored.as_json(), segments=segments, cost=cost)
        log_scores(
            loggers,
            scores=scored.scores,
            classes=scored.classes,
            class_scores=scored.class_scores,
            confusion=scored.confusion,
            samples=samples,
        )
        report.finish_method(scored, segments=segments, seconds=seconds, folder=folder)
    return scored.score


def segmented(
    method: Method, dataset: SegmentationDataset, *, keep: dict[int, Segments], samples: list[int]
) -> Iterator[Segmented]:
    """Every image of a split, segmented.

    Args:
        method: Segments it.
        dataset: The split.
        keep: Gets the segments of `samples`.
        samples: Indices of images.
    """
    for index in range(len(dataset)):
        raw = dataset[index]
        started = time.perf_counter()
        segments = method(raw.image, method.seeds_from(raw.mask, ignore_index=dataset.class_info.ignore_index))
        seconds = time.perf_counter() - started
        if index in samples:
            keep[index] = segments
        yield compared(raw, segments, dataset.class_info, seconds)


def compared(raw: RawSample, segments: Segments, info: ClassInfo, seconds: float) -> Segmented:
    """Segments held against the truth."""
    table = shared_pixels(segments, raw.mask, num_classes=info.num_classes, ignore_index=info.ignore_index)
    outline = outline_f1(segments, raw.mask, ignore_index=info.ignore_index)
    return Segmented(raw.name, table, {**partition_scores(table), "outline_f1": outline}, seconds)


def classes_of(tables: list[Counts], by: Matching, *, over: str) -> list[Any]:
    """The class of each segment of each image, (S,) each.

    Args:
        tables: Of each image, (S, C).
        by: See `matched`.
        over: image: each image for itself; data: a segment's number has one class in all images.
    """
    if over == "image":
        return [matched(table, by) for table in tables]
    count = max(len(table) for table in tables)
    whole = sum(np.pad(table, ((0, count - len(table)), (0, 0))) for table in tables)
    classes = matched(np.asarray(whole), by)
    return [classes[: len(table)] for table in tables]


def matching_line(by: Matching, over: str) -> str:
    """How segments get their classes, for the protocol."""
    if by == "seeds":
        return "none: seeds drawn from the truth of each image have classes"
    return f"{by}, by the truth of {'each image' if over == 'image' else 'the whole split'}"


def mean_scores(images: list[Segmented]) -> dict[str, float]:
    """The mean over images of the scores that need no classes; those without a labelled pixel are left out."""
    names = images[0].scores
    columns = {name: np.array([image.scores[name] for image in images]) for name in names}
    return {
        name: float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")
        for name, values in columns.items()
    }
