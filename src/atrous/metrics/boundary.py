"""How well boundaries are met, counted on one image at a time. Pure functions of label maps; imports no torch.

Every function takes a prediction and a truth (H, W) of integers, 0 to C-1, the truth also `ignore_index`, which here is
called void. Void pixels never count. What happens beside them differs between the sources and is told in each function.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.metrics.scores import Scores, ratio

Labels = NDArray[np.integer]
Counts = NDArray[np.int64]

F1_TOLERANCE = 0.0075  # of the image's diagonal, as in SegNet's tables
IOU_RATIOS = (0.02, 0.005)  # of the image's diagonal: the authors' for COCO and LVIS, and for Cityscapes
WIDTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40)  # pixels on each side of a boundary
REGION = 7  # pixels: what counts as the boundary's region, one of WIDTHS


def boundary_f1(
    prediction: Labels,
    target: Labels,
    *,
    num_classes: int,
    ignore_index: int,
    void: bool = False,
    tolerance: float = F1_TOLERANCE,
) -> Scores:
    """Boundary F1 score of each class that the truth of this image holds.

    A class's outline is its pixels with one of four neighbours outside the class; the image's edge is outside. Precision is
    the share of the predicted outline that is nearer than the tolerance to the true one, recall the other way round.

    Source: Csurka, Larlus, Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013. Outlines
    and the strict comparison are those of MATLAB's `bfscore` (bwbfscore2.m), which cites it. As in SegNet
    (Badrinarayanan, Kendall, Cipolla, TPAMI 2017, section 3.3) the mean over the classes in an image's truth is the
    image's score, and the mean over images the data set's. A class that is missed altogether has 0, where MATLAB has NaN
    and leaves it out of the mean. Void pixels belong to no class in truth and prediction alike, as in the evaluation of
    DAVIS 2017 (`f_measure`): a region that is cut off by void has an outline there in both.

    Args:
        prediction: (H, W).
        target: (H, W).
        num_classes: C.
        ignore_index: What `target` has for void.
        void: Whether `prediction` may hold C, for void, which is right nowhere and no class.
        tolerance: As a share of the image's diagonal.

    Returns:
        (C,), 0 to 1; NaN for classes that the truth does not hold.

    Raises:
        ValueError: If shapes differ or a label is out of range.
    """
    predicted, truth = compact(prediction, target, num_classes=num_classes, ignore_index=ignore_index, void=void)
    predicted = np.where(truth == num_classes, truth, predicted)
    outlines = [_outline(labels, num_classes) for labels in (predicted, truth)]
    offsets = _disk((tolerance * math.hypot(*truth.shape)) ** 2)
    found, missed = [], []
    for own, other in (outlines, outlines[::-1]):
        totals = np.bincount(own.ravel(), minlength=num_classes + 1)[:num_classes]
        alone = _without_partner(own, other, offsets, num_classes)
        found.append(totals - alone)
        missed.append(alone)
    precision, recall = (ratio(hits, hits + rest) for hits, rest in zip(found, missed, strict=True))
    f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(np.isnan(recall), np.nan, f1)


def boundary_overlap(
    prediction: Labels,
    target: Labels,
    *,
    num_classes: int,
    ignore_index: int,
    void: bool = False,
    dilation_ratio: float = IOU_RATIOS[0],
) -> Counts:
    """What Boundary IoU is computed from: per class, the pixels near the own boundary in truth and prediction.

    Near are a class's pixels that d erosions by a 3 x 3 square remove, d = round(ratio x diagonal) but at least 1; the image's
    edge is a boundary. The data set's Boundary IoU is the ratio of the sums over its images, as for IoU.

    Source: Cheng, Girshick, Dollár, Berg, Kirillov, "Boundary IoU", CVPR 2021, https://arxiv.org/abs/2103.16562, and
    `mask_to_boundary` of https://github.com/bowenc0221/boundary-iou-api, whose ratio is 0.02 and for Cityscapes 0.005. The
    paper scores instances; summing over images makes it a semantic score. As in its panoptic evaluation, void bounds the
    regions of the truth, and what is predicted on it does not count.

    Args:
        prediction, target, num_classes, ignore_index, void: As for `boundary_f1`.
        dilation_ratio: As a share of the image's diagonal.

    Returns:
        int64 (2, C): intersection and union.

    Raises:
        ValueError: As `boundary_f1`.
    """
    predicted, truth = compact(prediction, target, num_classes=num_classes, ignore_index=ignore_index, void=void)
    distance = max(1, round(dilation_ratio * math.hypot(*truth.shape)))
    near_truth = _near_other_label(truth, distance) & (truth != num_classes)
    near_predicted = _near_other_label(predicted, distance) & (truth != num_classes)

    def count(labels: Labels) -> Counts:
        return np.bincount(labels, minlength=num_classes)[:num_classes]

    both = count(truth[near_truth & near_predicted & (truth == predicted)])
    return np.stack([both, count(truth[near_truth]) + count(predicted[near_predicted]) - both])


def boundary_distance(target: Labels) -> NDArray[np.float32]:
    """Each pixel's distance to where two labels of the truth meet, void being a label and the image's edge none.

    Returns:
        (H, W) in pixels: 1 for a pixel with one of four neighbours of another label, elsewhere 1 more than the Euclidean
        distance to the nearest such pixel. Infinite where there is one label only.
    """
    edge = np.zeros(target.shape, bool)
    for axis in (0, 1):
        lines, at = target.swapaxes(0, axis), edge.swapaxes(0, axis)
        differs = lines[1:] != lines[:-1]
        at[1:] |= differs
        at[:-1] |= differs
    if not edge.any():
        return np.full(target.shape, np.inf, np.float32)
    inside = np.logical_not(edge).view(np.uint8)
    distance: NDArray[np.float32] = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance + 1


def confusion_by_distance(
    prediction: Labels,
    target: Labels,
    *,
    num_classes: int,
    ignore_index: int,
    void: bool = False,
    widths: tuple[int, ...] = WIDTHS,
) -> Counts:
    """Confusion matrices of the pixels in rings around the true boundaries.

    The sum of the first matrices is that of a trimap: the band of the last one's width on each side of the boundaries.
    Sources: Krähenbühl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011
    (share of wrong pixels in a trimap), and Chen et al., "Encoder-Decoder with Atrous Separable Convolution", ECCV 2018
    (its mIoU). The latter dilate VOC's void, which lies around the objects; here a boundary is where any two
    labels meet, void being one, so that data without such void has trimaps too. Peng et al., "Large Kernel Matters", CVPR
    2017, call 7 pixels on each side the boundary's region and what is beyond it internal.

    Args:
        prediction, target, num_classes, ignore_index, void: As for `boundary_f1`.
        widths: The rings' outer distances in pixels, ascending; see `boundary_distance`.

    Returns:
        int64 (len(widths) + 1, C, C), with `void` C + 1 columns, rows as truth; the last is of the pixels beyond.

    Raises:
        ValueError: As `boundary_f1`.
    """
    predicted, truth = compact(prediction, target, num_classes=num_classes, ignore_index=ignore_index, void=void)
    steps = np.minimum(np.ceil(boundary_distance(truth)), widths[-1] + 1).astype(np.int32)
    ring = np.searchsorted(widths, np.arange(widths[-1] + 2)).astype(np.int32)
    counted = truth != num_classes
    key = (ring[steps[counted]] * num_classes + truth[counted]) * (num_classes + void) + predicted[counted]
    shape = (len(widths) + 1, num_classes, num_classes + void)
    return np.bincount(key, minlength=math.prod(shape)).reshape(shape)


def compact(
    prediction: Labels, target: Labels, *, num_classes: int, ignore_index: int, void: bool = False
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Both label maps in the smallest type that OpenCV takes, with void as the label C.

    Raises:
        ValueError: If shapes differ or a label is out of range.
    """
    if prediction.shape != target.shape or target.ndim != 2:
        raise ValueError(
            f"prediction has shape {prediction.shape} and target {target.shape}; give one image's labels, both (H, W)"
        )
    dtype = np.uint8 if num_classes < np.iinfo(np.uint8).max else np.uint16
    if ignore_index != num_classes:
        target = np.where(target == ignore_index, num_classes, target)
    for name, labels, last in (("prediction", prediction, num_classes - 1 + void), ("target", target, num_classes)):
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= last:
            value = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
            raise ValueError(f"{name} holds the label {value}; expected 0 to {num_classes - 1}. Check num_classes.")
    return prediction.astype(dtype, copy=False), target.astype(dtype, copy=False)


def _outline(labels: Labels, void: int) -> Labels:
    """(H, W): the label where one of four neighbours differs or is outside the image, elsewhere void."""
    padded = np.pad(labels, 1, constant_values=void)
    centre = padded[1:-1, 1:-1]
    differs = (centre != padded[:-2, 1:-1]) | (centre != padded[2:, 1:-1])
    differs |= (centre != padded[1:-1, :-2]) | (centre != padded[1:-1, 2:])
    return np.where(differs, labels, np.asarray(void, labels.dtype))


def _disk(radius_squared: float) -> NDArray[np.int64]:
    """The offsets (K, 2) whose length is below the radius, nearest first; the first is (0, 0)."""
    reach = math.ceil(math.sqrt(radius_squared))
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    lengths = (offsets**2).sum(1)
    order = np.argsort(lengths, kind="stable")
    near: NDArray[np.int64] = offsets[order][(lengths < max(radius_squared, 1))[order]]
    return near


def _without_partner(own: Labels, other: Labels, offsets: NDArray[np.int64], void: int) -> Counts:
    """How many points of each class of `own` have none of their class of `other` at any of the offsets, (C,).

    Most points find theirs at one of the first offsets and need no further look, so that this costs less than distance
    transforms for each class.
    """
    reach = int(offsets.max())
    field = np.pad(other, reach, constant_values=void)
    stride = field.shape[1]
    rows, columns = np.nonzero(own != void)
    at, label = (rows + reach) * stride + columns + reach, own[rows, columns]
    flat = field.ravel()
    for step in offsets @ (stride, 1):
        alone = flat[at + step] != label
        if not alone.all():
            at, label = at[alone], label[alone]
            if not len(at):
                break
    return np.bincount(label, minlength=void)


def _near_other_label(labels: Labels, distance: int) -> NDArray[np.bool_]:
    """Where the square of `distance` pixels to each side holds another label or passes the image's edge."""
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    top = int(np.iinfo(labels.dtype).max)  # no label: the outside differs from every one
    highest = cv2.dilate(labels, square, borderType=cv2.BORDER_CONSTANT, borderValue=top)
    lowest = cv2.erode(labels, square)
    near: NDArray[np.bool_] = highest != lowest
    return near
