"""Recall by object size: against scipy's labelling and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from atrous.metrics.objects import recall_by_size


def test_equals_scipy_part_by_part() -> None:
    rng = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(rng.normal(size=(3, 150, 211)), (0, 9, 9)).argmax(0)
    truth[ndimage.gaussian_filter(rng.normal(size=truth.shape), 5) > 0.08] = 255
    prediction = np.where(rng.random(truth.shape) < 0.4, rng.integers(0, 3, truth.shape), truth % 3)
    expected = np.zeros((3, 3, 3))
    for label in range(3):
        parts, count = ndimage.label(truth == label, np.ones((3, 3)))
        for part in range(1, count + 1):
            here = parts == part
            recall = (prediction[here] == label).mean()
            size = 0 if here.sum() < 32**2 else 1 if here.sum() < 96**2 else 2
            expected[:, label, size] += (1, recall, recall >= 0.5)
    assert (expected[0].sum(0) > 0).sum() >= 2  # the data has more than one size
    np.testing.assert_allclose(recall_by_size(prediction, truth, num_classes=3, ignore_index=255), expected)


@pytest.mark.parametrize(("side", "size"), [(31, 0), (32, 1), (95, 1), (96, 2)])
def test_sizes_are_those_of_coco(side: int, size: int) -> None:
    truth = np.full((120, 130), 255)
    truth[5 : 5 + side, 7 : 7 + side] = 0
    prediction = np.ones_like(truth)
    prediction[:, : 7 + side // 2] = 0
    number, recall, found = recall_by_size(prediction, truth, num_classes=2, ignore_index=255)
    assert number[0].tolist() == [float(index == size) for index in range(3)]
    assert recall[0, size] == pytest.approx((side // 2) / side)
    assert found[0, size] == float(side % 2 == 0)  # half counts as found
    assert not number[1].any()


def test_parts_that_touch_by_a_corner_are_one() -> None:
    truth = np.eye(4, dtype=int)
    number, recall, _ = recall_by_size(np.ones((4, 4), int), truth, num_classes=2, ignore_index=255)
    assert number[:, 0].tolist() == [1, 1]
    assert recall[:, 0].tolist() == [0, 1]


def test_without_any_labelled_pixel() -> None:
    assert not recall_by_size(np.zeros((3, 3), int), np.full((3, 3), 255), num_classes=2, ignore_index=255).any()
