"""The scores beside the confusion matrix, summed over images: boundaries, object sizes, calibration. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.metrics.boundary import (
    IOU_RATIOS,
    REGION,
    WIDTHS,
    Counts,
    Labels,
    boundary_f1,
    boundary_overlap,
    compact,
    confusion_by_distance,
)
from atrous.metrics.calibration import BINS, expected_calibration_error, reliability
from atrous.metrics.objects import LIMITS, SIZES, recall_by_size
from atrous.metrics.scores import Scores, iou, mean, pixel_accuracy, ratio


class ExtraScores:
    """Adds up what the scores of a data set need, one image after the other.

    An image costs half a second of one thread at 1024 x 2048 pixels with 19 classes, and 25 ms at 360 x 480 with 11, where a
    third of the pixels is wrong: boundary F1 two fifths of it, parts a quarter. Memory: the sums, and C numbers per image.

    Args:
        num_classes: C.
        ignore_index: Target value of the pixels that do not count; not a class.
        void: Whether pixels may be predicted void, which is right nowhere.
    """

    def __init__(self, *, num_classes: int, ignore_index: int, void: bool = False) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.void = void
        self.f1: dict[str, Scores] = {}  # image -> (C,)
        self.overlap: Counts = np.zeros((len(IOU_RATIOS), 2, num_classes), np.int64)
        self.by_distance: Counts = np.zeros((len(WIDTHS) + 1, num_classes, num_classes + void), np.int64)
        self.by_size = np.zeros((3, num_classes, len(SIZES)))
        self.reliability = np.zeros((3, BINS))

    def add(self, name: str, prediction: Labels, target: Labels, confidence: NDArray[np.floating]) -> None:
        """Adds one image.

        Args:
            name: The image's name; each is added once.
            prediction: Integers (H, W), 0 to C-1, with `void` also C.
            target: Integers (H, W), 0 to C-1 or `ignore_index`.
            confidence: (H, W), the probability of the predicted class.

        Raises:
            ValueError: If the name was added before, shapes differ, or a value is out of range.
        """
        if name in self.f1:
            raise ValueError(f"the image {name!r} was added before; every image counts once")
        classes = self.num_classes
        about: dict[str, Any] = {"num_classes": classes, "ignore_index": classes, "void": self.void}
        predicted, truth = compact(prediction, target, **{**about, "ignore_index": self.ignore_index})
        counted = truth != classes
        self.reliability += reliability(confidence[counted], (predicted == truth)[counted])
        for row, share in zip(self.overlap, IOU_RATIOS, strict=True):
            row += boundary_overlap(predicted, truth, **about, dilation_ratio=share)
        self.by_distance += confusion_by_distance(predicted, truth, **about)
        self.by_size += recall_by_size(predicted, truth, **about)
        self.f1[name] = boundary_f1(predicted, truth, **about)

    def merge(self, others: Iterable[ExtraScores]) -> None:
        """Adds the images of other processes, which must not be among the own ones."""
        for other in others:
            twice = sorted(self.f1.keys() & other.f1.keys())
            if twice:
                raise ValueError(
                    f"{len(twice)} images, such as {twice[0]!r}, were added twice; every image counts once"
                )
            self.f1 |= other.f1
            self.overlap += other.overlap
            self.by_distance += other.by_distance
            self.by_size += other.by_size
            self.reliability += other.reliability

    def image_f1(self, names: Sequence[str]) -> Scores:
        """The boundary F1 of each of the named images, (N,): the mean over the classes in its truth."""
        return mean(np.array([self.f1[name] for name in names]).reshape(-1, self.num_classes))

    def as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """The parts `boundary`, `objects` and `calibration` of result.json.

        Args:
            names: The classes' names.
        """
        return {"boundary": self._boundary(names), "objects": self._objects(names), "calibration": self._calibration()}

    def _boundary(self, names: Sequence[str]) -> dict[str, Any]:
        f1 = np.array(list(self.f1.values())).reshape(-1, self.num_classes)
        overlaps = ratio(self.overlap[:, 0], self.overlap[:, 1])  # (ratios, C)
        trimaps = self.by_distance.cumsum(0)[:-1]
        region = trimaps[WIDTHS.index(REGION)]
        interior = self.by_distance.sum(0) - region
        return {
            "f1": float(mean(mean(f1))),
            "iou": {str(share): float(mean(classes)) for share, classes in zip(IOU_RATIOS, overlaps, strict=True)},
            "region": {"width": REGION, **_scores(region)},
            "interior": {"beyond": REGION, **_scores(interior)},
            "trimap": {"width": WIDTHS, **_scores(trimaps)},
            "rings": {"up_to": [*WIDTHS, None], **_scores(self.by_distance)},
            "per_class": {
                "names": names,
                "f1": mean(f1.T),
                "iou": dict(zip(map(str, IOU_RATIOS), overlaps, strict=True)),
            },
        }

    def _objects(self, names: Sequence[str]) -> dict[str, Any]:
        number, recall, found = self.by_size  # each (C, sizes)
        by_class = ratio(recall, number)
        return {
            "sizes": SIZES,
            "limits": LIMITS,
            "number": number.sum(0),
            "recall": mean(by_class.T),  # over classes, so that the commonest does not decide
            "found": mean(ratio(found, number).T),
            "per_class": {"names": names, "number": number, "recall": by_class},
        }

    def _calibration(self) -> dict[str, Any]:
        pixels, confidence, right = self.reliability
        return {
            "ece": expected_calibration_error(self.reliability),
            "bins": BINS,
            "pixels": pixels,
            "confidence": ratio(confidence, pixels),
            "accuracy": ratio(right, pixels),
        }


def _scores(confusion: Counts) -> dict[str, Any]:
    """Of one matrix (C, C) or several (K, C, C)."""
    scores = {
        "pixels": confusion.sum((-2, -1)),
        "pixel_accuracy": pixel_accuracy(confusion),
        "miou": mean(iou(confusion)),
    }
    return {name: np.asarray(values).tolist() for name, values in scores.items()}
