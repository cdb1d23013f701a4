"""Class weights from how many pixels each class has in each image of the train split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError

Counts = NDArray[np.int64]
Weights = NDArray[np.float64]


def median_frequency(counts: Counts) -> Weights:
    """median of the frequencies / frequency, a class's frequency being its share of the pixels of the images it is in.

    Source: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale Convolutional
    Architecture", ICCV 2015; SegNet's weights. Ignored pixels are no part of an image here.

    Args:
        counts: (N, C), pixels of each class in each image.

    Returns:
        (C,), 1 for the class of median frequency, 0 for a class that never occurs.
    """
    pixels = counts.sum(0)
    possible = (counts.sum(1, keepdims=True) * (counts > 0)).sum(0)  # of the images that the class is in
    frequency = pixels / np.maximum(possible, 1)
    occurs = pixels > 0
    middle = np.median(frequency[occurs]) if occurs.any() else 1.0
    return np.where(occurs, middle / np.where(occurs, frequency, 1), 0.0)


def enet(counts: Counts, c: float = 1.02) -> Weights:
    """1 / ln(c + share), a class's share being that of all labelled pixels: 1.4 to 50.5 with the paper's c.

    Source: Paszke, Chaurasia, Kim and Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic
    Segmentation", 2016, https://arxiv.org/abs/1606.02147, section 5.2.

    Args:
        counts: (N, C), pixels of each class in each image.
        c: More than 1; bounds the weight of rare classes.

    Returns:
        (C,).
    """
    pixels = counts.sum(0)
    return np.asarray(1 / np.log(c + pixels / max(int(pixels.sum()), 1)))


def effective_number(counts: Counts, prototypes: float | None = None) -> Weights:
    """(1 - beta) / (1 - beta^n), n the pixels of a class and beta = (prototypes - 1) / prototypes.

    Source: Cui, Jia, Lin, Song and Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
    https://arxiv.org/abs/1901.05555. Its beta of at most 0.9999 is for thousands of images per class; with
    pixels it would make all weights equal, hence a default of the size of a class here.

    Args:
        counts: (N, C), pixels of each class in each image.
        prototypes: The paper's N, how many different samples a class may have, at least 1. None: the mean pixels per class.

    Returns:
        (C,), with mean 1 over the classes that occur, as in the authors' code; 0 for a class that never occurs.
    """
    pixels = counts.sum(0)
    occurs = pixels > 0
    limit = max(float(pixels.mean()), 1.0 + 1e-9) if prototypes is None else prototypes
    with np.errstate(divide="ignore"):  # one prototype: every class that occurs counts the same
        effective = -limit * np.expm1(np.maximum(pixels, 1) * np.log1p(-1 / limit))
    weights = np.where(occurs, 1 / np.where(occurs, effective, 1), 0.0)
    return np.asarray(weights * (occurs.sum() / max(weights.sum(), np.finfo(float).tiny)))


RULES: dict[str, Callable[[Counts], Weights]] = {
    "median_frequency": median_frequency,
    "enet": enet,
    "effective_number": effective_number,
}


def named_weights(name: str, counts: Counts) -> list[float]:
    """The class weights that the rule `name` gives for (N, C) counts.

    Raises:
        ConfigError: If there is no such rule.
    """
    if name not in RULES:
        raise ConfigError(
            f"loss.class_weights={name} is no rule; choose one of {', '.join(RULES)}, or give one weight per class, or null."
        )
    return [float(weight) for weight in RULES[name](counts)]


def with_named_weights(loss: dict[str, Any], count: Callable[[], Counts]) -> dict[str, Any]:
    """The config of a loss, also one inside another, with numbers in the place of the names of rules.

    Args:
        loss: A resolved config.
        count: Gives the train split's (N, C) counts; called once, and only if there is a name.

    Raises:
        ConfigError: If a name is no rule.
    """
    counts: Counts | None = None

    def resolve(settings: dict[str, Any]) -> dict[str, Any]:
        nonlocal counts
        replaced = {}
        for key, value in settings.items():
            if key == "class_weights" and isinstance(value, str):
                if counts is None and value in RULES:
                    counts = count()
                value = named_weights(value, counts if counts is not None else np.zeros((0, 0), np.int64))
            replaced[key] = resolve(value) if isinstance(value, dict) else value
        return replaced

    return resolve(loss)
