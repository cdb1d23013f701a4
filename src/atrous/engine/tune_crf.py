"""Scores combinations of dense CRF settings on a split; the network runs once for each image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from atrous.crf.dense_crf import DenseCRF
from atrous.engine.build import build_datamodule
from atrous.engine.checkpoint import Restored, check_classes
from atrous.engine.trainer import build_fabric
from atrous.inference.crf import CRFInference
from atrous.inference.image import Decoded
from atrous.inference.mode import InferenceMode
from atrous.metrics.confusion import confusion_matrix
from atrous.metrics.scores import summary

Row = dict[str, float]
Steps = Iterable[tuple[int, int]]


def base_mode(restored: Restored) -> InferenceMode:
    """The run's inference mode, without the CRF that it may end with."""
    mode = restored.scorer.inference
    return mode.base if isinstance(mode, CRFInference) else mode


def tune_crf(
    restored: Restored,
    grid: Sequence[DenseCRF],
    *,
    iterations: Sequence[int],
    split: str,
    images: int | None = None,
    track: Callable[[Steps, int], Steps] = lambda steps, total: steps,
) -> tuple[Row, list[Row], int]:
    """Scores a network alone and with each CRF, at several numbers of iterations.

    Args:
        restored: The network.
        grid: The CRFs, each with as many iterations as the largest of `iterations`.
        iterations: Numbers of iterations.
        split: Of its data.
        images: How many, evenly spaced; None: all.
        track: Wraps the steps, of which it is told the number, to show progress.

    Returns:
        `miou` and `pixel_accuracy` of the network alone; for each CRF in order, and each number of iterations, its `place` in
        `grid`, `iterations` and the same scores; and the number of images.
    """
    datamodule = build_datamodule(restored.config)
    check_classes(restored, datamodule.class_info)
    fabric = build_fabric(restored.config["trainer"])
    scorer, mode = restored.scorer.to(fabric.device).eval(), base_mode(restored)
    dataset = datamodule.dataset(split)
    classes, ignored = dataset.class_info.num_classes, dataset.class_info.ignore_index
    number = len(dataset) if images is None else min(images, len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist()
    void = scorer.void_output
    alone = torch.zeros(classes, classes + void, dtype=torch.int64)
    confusions = torch.zeros(len(grid), len(iterations), classes, classes + void, dtype=torch.int64)
    for index, place in track(itertools.product(chosen, range(len(grid))), len(chosen) * len(grid)):
        if place == 0:
            raw = dataset[index]
            image, mask = np.ascontiguousarray(raw.image), torch.from_numpy(np.asarray(raw.mask, np.int64))
            with torch.no_grad(), fabric.autocast():
                pixels = Decoded(image, restored.normalise, device=fabric.device, memory_format=scorer.memory_format)
                scores = torch.cat(list(mode(scorer.model, pixels)), dim=2)[0].softmax(0)
            alone += confusion_matrix(scores.argmax(0).cpu(), mask, classes, ignored, void=void)
        for iteration, marginals in enumerate(grid[place].iterates(scores, image)):
            if iteration in iterations:
                found = confusion_matrix(marginals.argmax(0).cpu(), mask, classes, ignored, void=void)
                confusions[place, iterations.index(iteration)] += found
    rows = [
        {"place": place, "iterations": count, **_scores(confusion)}
        for place, per_count in enumerate(confusions)
        for count, confusion in zip(iterations, per_count, strict=True)
    ]
    return _scores(alone), rows, len(chosen)


def _scores(confusion: Any) -> Row:
    found = summary(confusion.numpy())
    return {key: found[key] for key in ("miou", "pixel_accuracy")}
