"""The sums over images: against each image's scores, and whatever the share of images in a process."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from numpy.typing import NDArray

from atrous.metrics import scores
from atrous.metrics.boundary import IOU_RATIOS, REGION, WIDTHS, boundary_distance, boundary_f1, boundary_overlap
from atrous.metrics.extra import ExtraScores
from atrous.system.files import to_json

C, VOID = 3, 255
NAMES = ("a", "b", "c")
Image = tuple[str, NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]


def images(count: int = 5) -> list[Image]:
    rng = np.random.default_rng(0)
    made: list[Image] = []
    for index in range(count):
        truth = rng.integers(0, C, (6, 8)).repeat(11, 0).repeat(11, 1)[: 60 + index, : 80 - index]
        truth[:4] = VOID
        if index % 2:
            truth[truth == 2] = 0
        prediction = np.roll(np.where(truth == VOID, 0, truth), 2 + index, axis=1).astype(np.uint8)
        made.append((f"image {index}", prediction, truth, rng.random(truth.shape, np.float32)))
    return made


def summed(which: list[Image]) -> ExtraScores:
    extra = ExtraScores(num_classes=C, ignore_index=VOID)
    for image in which:
        extra.add(*image)
    return extra


def test_scores_are_those_of_all_images() -> None:
    content = summed(images()).as_json(NAMES)
    about = {"num_classes": C, "ignore_index": VOID}
    f1 = np.stack([boundary_f1(predicted, truth, **about) for _, predicted, truth, _ in images()])
    boundary = content["boundary"]
    assert boundary["f1"] == pytest.approx(np.nanmean(np.nanmean(f1, axis=1)))  # over classes, then over images
    np.testing.assert_allclose(boundary["per_class"]["f1"], np.nanmean(f1, axis=0))
    for share in IOU_RATIOS:
        overlaps = [boundary_overlap(p, t, **about, dilation_ratio=share) for _, p, t, _ in images()]
        both, either = np.sum(overlaps, axis=0)
        np.testing.assert_allclose(boundary["per_class"]["iou"][str(share)], both / either)
        assert boundary["iou"][str(share)] == pytest.approx((both / either).mean())
    near, far = (
        np.concatenate([(p == t)[(t != VOID) & where(boundary_distance(t))] for _, p, t, _ in images()])
        for where in (lambda d: d <= REGION, lambda d: d > REGION)
    )
    assert boundary["region"]["pixel_accuracy"] == pytest.approx(near.mean())
    assert boundary["interior"]["pixel_accuracy"] == (pytest.approx(far.mean()) if len(far) else None)
    assert boundary["region"]["pixels"] == len(near)
    assert boundary["trimap"]["pixels"][WIDTHS.index(REGION)] == len(near)
    assert sum(boundary["rings"]["pixels"]) == sum((t != VOID).sum() for _, _, t, _ in images())


def test_calibration_counts_what_is_not_void() -> None:
    calibration = summed(images()).as_json(NAMES)["calibration"]
    counted = [(confidence[truth != VOID], (p == truth)[truth != VOID]) for _, p, truth, confidence in images()]
    confidence, right = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    edges = np.linspace(0, 1, 16)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        here = (confidence > low) & (confidence <= high)
        expected += here.mean() * abs(confidence[here].mean() - right[here].mean())
    assert calibration["ece"] == pytest.approx(expected, rel=1e-4)
    assert sum(calibration["pixels"]) == len(right)


def test_two_processes_count_as_one() -> None:
    together, (first, second) = summed(images()), (summed(images()[::2]), summed(images()[1::2]))
    first.merge([second])
    assert json.loads(to_json(first.as_json(NAMES))) == json.loads(to_json(together.as_json(NAMES)))
    names = [name for name, *_ in images()]
    np.testing.assert_array_equal(first.image_f1(names), together.image_f1(names))


def test_an_image_counts_once() -> None:
    extra = summed(images(2))
    with pytest.raises(ValueError, match="'image 1' was added before"):
        extra.add(*images(2)[1])
    with pytest.raises(ValueError, match="2 images, such as 'image 0', were added twice"):
        extra.merge([summed(images(2))])


@pytest.mark.filterwarnings("error")
def test_without_images_every_score_is_null() -> None:
    content = json.loads(to_json(summed([]).as_json(NAMES)))
    assert content["boundary"]["f1"] is content["calibration"]["ece"] is content["boundary"]["iou"]["0.02"] is None
    assert content["objects"]["number"] == [0, 0, 0]
    assert content["objects"]["recall"] == [None] * 3


def test_object_recall_is_a_mean_over_classes() -> None:
    """Nine parts of one class that are found, and one of another that is missed: half."""
    truth = np.full((40, 40), 2)
    truth[2:38:4, 2:10] = 0
    truth[20:30, 20:30] = 1
    prediction = np.where(truth == 1, 2, truth)
    extra = ExtraScores(num_classes=3, ignore_index=VOID)
    extra.add("one", prediction, truth, np.ones(truth.shape))
    objects = extra.as_json(NAMES)["objects"]
    assert objects["number"][0] == 10
    assert objects["recall"][0] == pytest.approx(0.5)
    assert scores.mean(objects["per_class"]["recall"][0]) == 1
