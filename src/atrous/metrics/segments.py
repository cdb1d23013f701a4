"""How well segments without classes meet a truth, and which class each is given. Pure functions; imports no torch.

All but the boundaries follow from one table of an image: how many pixels each segment shares with each class, (S, C). The
truth's regions are its classes' pixels; void pixels count nowhere.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from atrous.errors import ConfigError
from atrous.metrics.boundary import F1_TOLERANCE

Counts = NDArray[np.int64]
Labels = NDArray[np.integer[Any]]
Matching = Literal["majority", "hungarian", "seeds"]


def shared_pixels(segments: Labels, truth: Labels, *, num_classes: int, ignore_index: int) -> Counts:
    """The table (S, C) of segments (H, W), numbered from 0, and classes (H, W)."""
    known = truth != ignore_index
    count = int(segments.max(initial=-1)) + 1
    pairs = segments[known].astype(np.int64) * num_classes + truth[known]
    return np.bincount(pairs, minlength=count * num_classes).reshape(count, num_classes)


def matched(table: Counts, by: Matching) -> NDArray[np.intp]:
    """The class of each segment, (S,).

    majority: that of most of its pixels, the first of equals. hungarian: no two segments have the same class, and as many
    pixels as possible are right (Kuhn 1955). seeds: its number.

    Raises:
        ConfigError: If there are more segments than classes for `hungarian`.
    """
    count, classes = table.shape
    if by == "hungarian" and count > classes:
        raise ConfigError(
            f"matching.by=hungarian gives each of {count} segments a class of its own, and there are {classes} classes; use "
            "matching.by=majority, or a method with fewer segments."
        )
    if by == "seeds":
        return np.arange(count)
    found: NDArray[np.intp] = table.argmax(1) if by == "majority" else linear_sum_assignment(table, maximize=True)[1]
    return found


def confusion_of(table: Counts, classes: NDArray[np.intp]) -> Counts:
    """The confusion matrix (C, C), rows as truth, of segments that have `classes` (S,)."""
    confusion = np.zeros((table.shape[1],) * 2, np.int64)
    np.add.at(confusion.T, classes, table)
    return confusion


def partition_scores(table: Counts) -> dict[str, float]:
    """Scores of an image that need no classes, each NaN where nothing is labelled.

    `covering`: the share that each true region's best segment covers, by IoU, weighted by the region's pixels (Arbeláez,
    Maire, Fowlkes, Malik, TPAMI 2011). `variation_of_information` in bits, 0 for equal partitions (Meilă, 2007).
    `undersegmentation_error`: pixels that leak over true regions (Neubert, Protzel, 2012). `achievable_accuracy`: the pixel
    accuracy of the best labelling of segments (Liu, Tuzel, Ramalingam, Chellappa, CVPR 2011).
    """
    names = ("covering", "variation_of_information", "undersegmentation_error", "achievable_accuracy")
    total = table.sum()
    if total == 0:
        return dict.fromkeys(names, math.nan)
    segments, regions = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
    overlap = table / np.maximum(segments + regions - table, 1)
    shares = table[table > 0] / total
    joint, parts, truth = (
        -float((share[share > 0] * np.log2(share[share > 0])).sum())
        for share in (shares, segments / total, regions / total)
    )
    values = (
        float((regions * overlap.max(0)).sum() / total),
        max(0.0, 2 * joint - parts - truth),
        float(np.where(table > 0, np.minimum(table, segments - table), 0).sum() / total),
        float(table.max(1).sum() / total),
    )
    return dict(zip(names, values, strict=True))


def outline_f1(segments: Labels, truth: Labels, *, ignore_index: int, tolerance: float = F1_TOLERANCE) -> float:
    """F1 score of the segments' outlines against those between the truth's classes.

    A pixel is on an outline where its right or lower neighbour is of another segment. Precision is the share of the outline
    that is nearer to a true one than the tolerance, recall the other way round. Pairs of pixels with a void one have no outline.

    Args:
        segments: (H, W).
        truth: (H, W).
        ignore_index: What `truth` has for void.
        tolerance: As a share of the image's diagonal.

    Returns:
        0 to 1; NaN where the truth has no outline.
    """
    void = truth == ignore_index
    found, true = _outline(segments, void), _outline(truth, void)
    if not true.any():
        return math.nan
    limit = tolerance * math.hypot(*truth.shape)
    precision, recall = _near(found, true, limit), _near(true, found, limit)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _outline(labels: Labels, void: NDArray[np.bool_]) -> NDArray[np.bool_]:
    outline = np.zeros(labels.shape, bool)
    outline[:, :-1] |= (labels[:, :-1] != labels[:, 1:]) & ~(void[:, :-1] | void[:, 1:])
    outline[:-1] |= (labels[:-1] != labels[1:]) & ~(void[:-1] | void[1:])
    return outline


def _near(outline: NDArray[np.bool_], other: NDArray[np.bool_], limit: float) -> float:
    """The share of an outline that is nearer to the other one than the limit."""
    if not outline.any() or not other.any():
        return 0.0
    distances = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distances[outline] < limit).mean())
