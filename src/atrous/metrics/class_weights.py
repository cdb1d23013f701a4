"""Class weights from how many pixels each class has: for losses, and as `audit` suggests them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Weights = NDArray[np.float64]


def labelled_around(counts: Counts) -> Counts:
    """(N, C) pixels of each class in each image -> (C,) labelled pixels of the images that have the class."""
    return np.asarray((counts.sum(1, keepdims=True) * (counts > 0)).sum(0))


def median_frequency(pixels: Counts, around: Counts) -> Weights:
    """median of the frequencies / frequency, a class's frequency being its share of the pixels of the images it is in.

    Source: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale Convolutional
    Architecture", ICCV 2015; SegNet's weights. Ignored pixels are no part of an image here.

    Args:
        pixels: (C,), pixels of each class.
        around: (C,), labelled pixels of the images that have the class, see `labelled_around`.

    Returns:
        (C,), 1 for the class of median frequency, 0 for a class that never occurs.
    """
    frequency = pixels / np.maximum(around, 1)
    occurs = pixels > 0
    middle = np.median(frequency[occurs]) if occurs.any() else 1.0
    return np.where(occurs, middle / np.where(occurs, frequency, 1), 0.0)


def enet(pixels: Counts, c: float = 1.02) -> Weights:
    """1 / ln(c + share), a class's share being that of all labelled pixels: 1.4 to 50.5 with the paper's c.

    Source: Paszke, Chaurasia, Kim and Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic
    Segmentation", 2016, https://arxiv.org/abs/1606.02147, section 5.2.

    Args:
        pixels: (C,), pixels of each class.
        c: More than 1; bounds the weight of rare classes.

    Returns:
        (C,).
    """
    return np.asarray(1 / np.log(c + pixels / max(int(pixels.sum()), 1)))


def effective_number(pixels: Counts, prototypes: float | None = None) -> Weights:
    """(1 - beta) / (1 - beta^n), n the pixels of a class and beta = (prototypes - 1) / prototypes.

    Source: Cui, Jia, Lin, Song and Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
    https://arxiv.org/abs/1901.05555. Its beta of at most 0.9999 is for thousands of images per class; with
    pixels it would make all weights equal, hence a default of the size of a class here.

    Args:
        pixels: (C,), pixels of each class.
        prototypes: The paper's N, how many different samples a class may have, at least 1. None: the mean pixels per class.

    Returns:
        (C,), with mean 1 over the classes that occur, as in the authors' code; 0 for a class that never occurs.
    """
    occurs = pixels > 0
    limit = max(float(pixels.mean()), 1.0 + 1e-9) if prototypes is None else prototypes
    with np.errstate(divide="ignore"):  # one prototype: every class that occurs counts the same
        effective = -limit * np.expm1(np.maximum(pixels, 1) * np.log1p(-1 / limit))
    weights = np.where(occurs, 1 / np.where(occurs, effective, 1), 0.0)
    return np.asarray(weights * (occurs.sum() / max(weights.sum(), np.finfo(float).tiny)))
