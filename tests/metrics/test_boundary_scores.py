"""Boundary scores: against brute force, retyped sources, and masks small enough to count by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from atrous.metrics import scores
from atrous.metrics.boundary import (
    boundary_distance,
    boundary_f1,
    boundary_overlap,
    compact,
    confusion_by_distance,
)

C, VOID = 4, 255
Labels = NDArray[np.integer]
ABOUT = {"num_classes": C, "ignore_index": VOID}


def blobs(seed: int, shape: tuple[int, int] = (37, 53), *, void: bool = True) -> tuple[Labels, Labels]:
    """A truth of smooth regions and a prediction that is like it but not the same."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(C, *shape)), (0, 4, 4))
    noise = ndimage.gaussian_filter(rng.normal(size=(C, *shape)), (0, 2, 2)) * 0.4
    truth, prediction = fields.argmax(0), (fields + noise).argmax(0)
    if void:
        truth = np.where(ndimage.gaussian_filter(rng.normal(size=shape), 3) > 0.08, VOID, truth)
    return prediction, truth


def matlab_bfscore(predicted: NDArray[np.bool_], true: NDArray[np.bool_], theta: float) -> float:
    """bwbfscore2.m as its comments have it: erosion by a cross on a padded mask, and all pairs of distances."""
    cross = ndimage.generate_binary_structure(2, 1)
    points = []
    for mask in (predicted, true):
        eroded = ndimage.binary_erosion(np.pad(mask, 1), cross)[1:-1, 1:-1]
        points.append(np.argwhere(mask & ~eroded))
    near = cdist(*points) < theta
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def official_boundary(mask: NDArray[np.uint8], dilation_ratio: float) -> NDArray[np.bool_]:
    """`mask_to_boundary` of boundary-iou-api: padding by one, repeated erosion by a square of 3 x 3."""
    h, w = mask.shape
    dilation = max(1, round(dilation_ratio * np.sqrt(h**2 + w**2)))
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=dilation)
    return (mask - eroded[1 : h + 1, 1 : w + 1]).astype(bool)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [0.0075, 0.04, 0.1])
def test_f1_equals_all_pairs_of_points(seed: int, tolerance: float) -> None:
    prediction, truth = blobs(seed, (37 + seed, 53))
    found = boundary_f1(prediction, truth, **ABOUT, tolerance=tolerance)
    theta = tolerance * np.hypot(*truth.shape)
    counted = truth != VOID
    for label in range(C):
        expected = matlab_bfscore((prediction == label) & counted, truth == label, theta)
        assert found[label] == pytest.approx(expected, abs=1e-12), label


def test_f1_by_hand() -> None:
    """A square of 6 x 6 moved by 2 pixels: of its 20 outline points 8 lie within 1.5 pixels of the other outline."""
    truth, prediction = np.zeros((2, 30, 40), int)
    truth[10:16, 10:16] = 1
    prediction[10:16, 12:18] = 1
    found = boundary_f1(prediction, truth, num_classes=2, ignore_index=VOID, tolerance=1.5 / 50)
    near = {(y, x) for y in range(10, 16) for x in range(12, 18) if y in (10, 15) or x in (12, 17)}
    other = {(y, x) for y in range(10, 16) for x in range(10, 16) if y in (10, 15) or x in (10, 15)}
    share = np.mean([any((y - v) ** 2 + (x - u) ** 2 < 1.5**2 for v, u in other) for y, x in near])
    assert found[1] == pytest.approx(share)
    assert 0 < share < 1
    assert boundary_f1(truth, truth, num_classes=2, ignore_index=VOID).tolist() == [1, 1]


def test_f1_of_a_tolerance_that_is_met_exactly_does_not_match() -> None:
    """The source compares strictly: points at a distance of just theta have no partner."""
    truth, prediction = np.full((2, 30, 40), 0)
    truth[:, 20:], prediction[:, 22:] = 1, 1  # the image is 50 pixels across, its outline on three sides the same
    loose, strict = (
        boundary_f1(prediction, truth, num_classes=2, ignore_index=VOID, tolerance=theta / 50)[1] for theta in (2.01, 2)
    )
    assert loose == 1
    assert strict < 1


def test_f1_of_classes_on_one_side_only() -> None:
    truth, prediction = np.zeros((2, 20, 20), int)
    truth[5:9, 5:9], prediction[12:16, 12:16] = 1, 2
    found = boundary_f1(prediction, truth, **ABOUT)
    assert found[1] == 0  # missed
    assert np.isnan(found[2:]).all()  # predicted only, and absent


def test_f1_outlines_end_at_void_in_both() -> None:
    """What is predicted under void makes no difference, nor does the shape of the void itself."""
    prediction, truth = blobs(7)
    other = np.where(truth == VOID, (prediction + 1) % C, prediction)
    np.testing.assert_array_equal(boundary_f1(prediction, truth, **ABOUT), boundary_f1(other, truth, **ABOUT))
    perfect = np.where(truth == VOID, 0, truth)
    assert np.nanmin(boundary_f1(perfect, truth, **ABOUT)) == 1


@pytest.mark.parametrize("ratio", [0.005, 0.02, 0.1, 2.0])
@pytest.mark.parametrize("shape", [(37, 53), (64, 31), (1, 9)])
def test_overlap_equals_the_official_masks(ratio: float, shape: tuple[int, int]) -> None:
    prediction, truth = blobs(3, shape)
    both, either = boundary_overlap(prediction, truth, **ABOUT, dilation_ratio=ratio)
    for label in range(C):
        gt = official_boundary((truth == label).astype(np.uint8), ratio)
        dt = official_boundary((prediction == label).astype(np.uint8), ratio) & (truth != VOID)
        assert both[label] == (gt & dt).sum()
        assert either[label] == (gt | dt).sum()


def test_overlap_of_the_highest_and_many_labels() -> None:
    """200 and 300 classes need other integers; the image's edge differs from the first and the last label too."""
    for classes in (200, 300):
        truth = np.full((9, 12), classes - 1)
        prediction = truth.copy()
        prediction[:, :4] = 0
        both, either = boundary_overlap(prediction, truth, num_classes=classes, ignore_index=-1, dilation_ratio=0)
        assert both[[0, -1]].tolist() == [0, 8 + 8 + 7]  # top, bottom and right edge
        assert either[0] == 9 * 4 - 7 * 2
        assert either[-1] == 38 + 7


def test_distance_is_that_to_the_nearest_pixel_at_a_boundary() -> None:
    truth = np.zeros((12, 15), int)
    truth[:, 9:] = 1
    truth[0, 0] = VOID
    steps = np.arange(15)
    expected_row = np.where(steps < 9, 9 - steps, steps - 8)
    np.testing.assert_array_equal(boundary_distance(truth)[-1], expected_row)
    edge = np.zeros(truth.shape, bool)
    for (y, x), label in np.ndenumerate(truth):
        around = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        edge[y, x] = any(0 <= v < 12 and 0 <= u < 15 and truth[v, u] != label for v, u in around)
    expected = 1 + cdist(np.argwhere(np.ones_like(edge)), np.argwhere(edge)).min(1).reshape(edge.shape)
    np.testing.assert_allclose(boundary_distance(truth), expected, rtol=1e-6)
    assert np.isinf(boundary_distance(np.full((4, 5), 2))).all()


def test_rings_split_the_confusion_matrix() -> None:
    prediction, truth = blobs(5)
    widths = (1, 3, 6)
    rings = confusion_by_distance(prediction, truth, **ABOUT, widths=widths)
    distance = boundary_distance(truth)
    for low, high, ring in zip((0, *widths), (*widths, np.inf), rings, strict=True):
        expected = np.zeros((C, C), int)
        here = (distance > low) & (distance <= high) & (truth != VOID)
        np.add.at(expected, (truth[here], prediction[here]), 1)
        np.testing.assert_array_equal(ring, expected)


def test_trimaps_are_bands_around_void() -> None:
    """On a mask whose boundaries are all under void, the trimap is void dilated by a disk, as in DeepLab's figure."""
    truth = np.zeros((40, 50), int)
    truth[10:30, 15:35] = 1
    ring = ndimage.binary_dilation(truth == 1, iterations=2) ^ ndimage.binary_erosion(truth == 1, iterations=2)
    truth[ring] = VOID
    prediction = np.roll(np.where(truth == VOID, 0, truth), 4, axis=1)
    rings = confusion_by_distance(prediction, truth, num_classes=2, ignore_index=VOID, widths=(4,))
    edge = ring & ~ndimage.binary_erosion(ring) | ndimage.binary_dilation(ring) & ~ring
    band = ndimage.distance_transform_edt(~edge) <= 3  # the edge's own pixels are the first
    expected = np.zeros((2, 2), int)
    np.add.at(expected, (truth[band & ~ring], prediction[band & ~ring]), 1)
    np.testing.assert_array_equal(rings[0], expected)
    assert scores.pixel_accuracy(rings)[0] < scores.pixel_accuracy(rings)[1]


@pytest.mark.filterwarnings("error")
def test_an_image_that_is_all_void_counts_nothing() -> None:
    prediction, truth = np.zeros((5, 7), int), np.full((5, 7), VOID)
    assert np.isnan(boundary_f1(prediction, truth, **ABOUT)).all()
    assert not boundary_overlap(prediction, truth, **ABOUT).any()
    assert not confusion_by_distance(prediction, truth, **ABOUT).any()


@pytest.mark.parametrize("ignore_index", [C, 100, 65535, -1])
def test_any_void(ignore_index: int) -> None:
    prediction, truth = blobs(2)
    other = np.where(truth == VOID, ignore_index, truth)
    for score in (boundary_f1, boundary_overlap, confusion_by_distance):
        expected = score(prediction.astype(np.uint8), truth, **ABOUT)
        np.testing.assert_array_equal(score(prediction, other, num_classes=C, ignore_index=ignore_index), expected)


def test_wrong_labels_and_shapes() -> None:
    good = np.zeros((3, 4), int)
    for prediction, target, message in (
        (good + C, good, "prediction holds the label 4; expected 0 to 3"),
        (good, good - 1, "target holds the label -1; expected 0 to 3"),
        (good, good[:2], r"prediction has shape \(3, 4\) and target \(2, 4\)"),
        (good[None], good[None], r"one image's labels, both \(H, W\)"),
    ):
        with pytest.raises(ValueError, match=message):
            compact(prediction, target, **ABOUT)
