"""Scores of confusion matrices, as pure functions on arrays. Imports no torch, so that reports can use them.

Every function takes confusion matrices (..., C, C), counts of pixels with rows = truth and columns = prediction, and
scores each of the leading axes by itself; a dataset's score is that of the sum of its images' matrices. (..., C, C + 1)
are those of a network with an output for void: the last column's pixels are right for no class and predicted for none.

A class absent from truth and prediction has no score: NaN, and left out of means. A class that is only predicted has
IoU and Dice 0, and no accuracy. A mean of no class is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]


def summary(confusion: ArrayLike) -> dict[str, float]:
    """The scores of one dataset, each 0 to 1 or NaN.

    Args:
        confusion: (C, C).

    Returns:
        `miou` and `dice` (means over classes), `pixel_accuracy`, `class_accuracy` (mean over classes), and `fwiou`
        (frequency-weighted IoU).

    Raises:
        ValueError: If `confusion` is not one square matrix.
    """
    if np.ndim(confusion) != 2:
        raise ValueError(f"confusion has shape {np.shape(confusion)}; give one (C, C) matrix, such as confusion.sum(0)")
    return {
        "miou": float(mean(iou(confusion))),
        "dice": float(mean(dice(confusion))),
        "pixel_accuracy": float(pixel_accuracy(confusion)),
        "class_accuracy": float(mean(class_accuracy(confusion))),
        "fwiou": float(frequency_weighted_iou(confusion)),
    }


def per_class(confusion: ArrayLike) -> dict[str, Scores]:
    """`iou`, `dice` and `class_accuracy` of every class, each (..., C)."""
    return {"iou": iou(confusion), "dice": dice(confusion), "class_accuracy": class_accuracy(confusion)}


def iou(confusion: ArrayLike) -> Scores:
    """Intersection over union (Jaccard index) of every class, (..., C)."""
    hits, true, predicted = marginals(confusion)
    return ratio(hits, true + predicted - hits)


def dice(confusion: ArrayLike) -> Scores:
    """Dice coefficient (F1 score) of every class, (..., C)."""
    hits, true, predicted = marginals(confusion)
    return ratio(2 * hits, true + predicted)


def class_accuracy(confusion: ArrayLike) -> Scores:
    """The share of each class's pixels that is found (recall), (..., C)."""
    hits, true, _ = marginals(confusion)
    return ratio(hits, true)


def pixel_accuracy(confusion: ArrayLike) -> Scores:
    """The share of all pixels that is right, (...)."""
    hits, true, _ = marginals(confusion)
    return ratio(hits.sum(-1), true.sum(-1))


def frequency_weighted_iou(confusion: ArrayLike) -> Scores:
    """IoU averaged with each class's share of the true pixels as its weight, (...).

    Source: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5.
    """
    _, true, _ = marginals(confusion)
    return ratio((true * np.nan_to_num(iou(confusion))).sum(-1), true.sum(-1))


def mean(scores: ArrayLike) -> Scores:
    """The mean over the classes that have a score: (..., C) -> (...)."""
    scores = np.asarray(scores, dtype=np.float64)
    return ratio(np.nansum(scores, axis=-1), np.count_nonzero(~np.isnan(scores), axis=-1))


def marginals(confusion: ArrayLike) -> tuple[Scores, Scores, Scores]:
    """Pixels that are right, true and predicted, of every class, each (..., C)."""
    confusion = np.asarray(confusion, dtype=np.float64)  # exact up to 2^53 pixels
    classes = confusion.shape[-2] if confusion.ndim > 1 else -1
    if confusion.shape[-1:] not in ((classes,), (classes + 1,)):
        raise ValueError(
            f"confusion has shape {confusion.shape}; expected (..., C, C), or (..., C, C + 1) with void, with rows = truth"
        )
    return np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1), confusion.sum(-2)[..., :classes]


def ratio(part: ArrayLike, whole: ArrayLike) -> Scores:
    """part / whole, NaN where there is no whole."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    shares: Scores = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return shares
