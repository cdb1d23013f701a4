"""How well objects of different sizes are found, counted on one image at a time. Imports no torch."""

from __future__ import annotations

import cv2
import numpy as np

from atrous.metrics.boundary import Labels, compact
from atrous.metrics.scores import Scores

SIZES = ("small", "medium", "large")
LIMITS = (32**2, 96**2)  # pixels; small is below the first, large from the second on
FOUND = 0.5  # the least share of a found object's pixels that is right


def recall_by_size(
    prediction: Labels, target: Labels, *, num_classes: int, ignore_index: int, void: bool = False
) -> Scores:
    """The recall of every connected part of the truth, summed by class and size.

    A part is a set of pixels of one class that touch, also by their corners. Its recall is the share of its pixels that is
    labelled right. Sizes are those of COCO (Lin et al., "Microsoft COCO", ECCV 2014; `areaRng` in pycocotools), in pixels
    of the image as it is scored. An object that another one covers in part is several parts, and neighbours of one class are
    one: without instances nobody can tell.

    Args:
        prediction: (H, W), 0 to C-1, with `void` also C.
        target: (H, W), 0 to C-1 or `ignore_index`, whose pixels belong to no part.
        num_classes: C.
        ignore_index: What `target` has for void.
        void: As for `boundary_f1`.

    Returns:
        float64 (3, C, 3) with a column per size: the number of parts, the sum of their recalls, and how many have half of
        their pixels or more labelled right.

    Raises:
        ValueError: If shapes differ or a label is out of range.
    """
    predicted, truth = compact(prediction, target, num_classes=num_classes, ignore_index=ignore_index, void=void)
    sums = np.zeros((3, num_classes, len(SIZES)))
    for label in np.flatnonzero(np.bincount(truth.ravel(), minlength=num_classes + 1)[:num_classes]):
        own = (truth == label).view(np.uint8)
        left, top, width, height = cv2.boundingRect(own)
        box = (slice(top, top + height), slice(left, left + width))
        count, parts = cv2.connectedComponents(np.ascontiguousarray(own[box]), connectivity=8, ltype=cv2.CV_32S)
        area = np.bincount(parts.ravel(), minlength=count)[1:]
        right = np.bincount(parts[predicted[box] == label], minlength=count)[1:]
        recall = right / area
        size = np.searchsorted(LIMITS, area, side="right")
        for row, weights in enumerate((None, recall, recall >= FOUND)):
            sums[row, label] = np.bincount(size, weights, len(SIZES))
    return sums
