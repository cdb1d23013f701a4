"""Whether a network is as often right as it is sure. Pure functions; imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atrous.metrics.scores import Scores, ratio

BINS = 15


def reliability(confidence: ArrayLike, right: ArrayLike, *, bins: int = BINS) -> Scores:
    """Sorts pixels by how sure the network is, into bins of equal width.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, with its 15 bins, which
    are open on the left. The sums of several images can be added.

    Args:
        confidence: The probability of the predicted class of every pixel that counts, any shape, 0 to 1.
        right: Whether that class is the true one, of the same shape.
        bins: B.

    Returns:
        float64 (3, B): pixels, the sum of their confidence, and how many are right.

    Raises:
        ValueError: If the shapes differ or a confidence is not from 0 to 1.
    """
    sure, hit = np.asarray(confidence), np.asarray(right)
    if sure.shape != hit.shape:
        raise ValueError(f"confidence has shape {sure.shape} and right {hit.shape}; give one of each per pixel")
    if sure.size and not 0 <= sure.min() <= sure.max() <= 1 + 1e-5:  # a float32 softmax may sum to a little more
        raise ValueError(f"confidence goes from {sure.min()} to {sure.max()}; expected probabilities, 0 to 1")
    sure, hit = sure.ravel(), hit.ravel()
    index = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    return np.stack(
        [
            np.bincount(index, minlength=bins).astype(np.float64),
            np.bincount(index, sure, bins),
            np.bincount(index[hit.astype(bool)], minlength=bins).astype(np.float64),
        ]
    )


def expected_calibration_error(table: NDArray[np.float64]) -> float:
    """The mean over pixels of |confidence - accuracy| of their bin, 0 to 1; NaN without pixels.

    Args:
        table: The sum of what `reliability` returned, (3, B).
    """
    pixels, confidence, right = table
    return float(ratio(np.abs(confidence - right).sum(), pixels.sum()))
