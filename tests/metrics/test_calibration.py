"""Calibration: against torchmetrics and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from atrous.metrics.calibration import expected_calibration_error, reliability


@pytest.mark.parametrize("bins", [15, 10])
def test_equals_torchmetrics(bins: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 5, 20, 31, generator=generator)
    target = torch.randint(0, 5, (4, 20, 31), generator=generator)
    target[logits[:, 0] > 1] = 0
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    reference = MulticlassCalibrationError(num_classes=5, n_bins=bins, norm="l1", ignore_index=255)
    table = np.zeros((3, bins))
    for image, true in zip(logits.softmax(1), target, strict=True):
        confidence, predicted = image.max(0)
        counted = true != 255
        table += reliability(confidence[counted].numpy(), (predicted == true)[counted].numpy(), bins=bins)
    expected = float(reference(logits.softmax(1), target))
    assert expected > 0.01
    assert expected_calibration_error(table) == pytest.approx(expected, rel=1e-5)


def test_by_hand() -> None:
    """Bins are open on the left: 0.2 is in the first of five, and 1 in the last."""
    table = reliability([0.2, 0.21, 0.3, 1.0, 0.0], [1, 0, 1, 1, 0], bins=5)
    assert table[0].tolist() == [2, 2, 0, 0, 1]
    np.testing.assert_allclose(table[1], [0.2, 0.51, 0, 0, 1.0])
    assert table[2].tolist() == [1, 1, 0, 0, 1]
    assert expected_calibration_error(table) == pytest.approx((abs(0.2 - 1) + abs(0.51 - 1) + 0) / 5)


def test_without_pixels_there_is_no_error() -> None:
    assert np.isnan(expected_calibration_error(reliability([], [])))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"confidence has shape \(2,\) and right \(1,\)"):
        reliability([0.5, 0.5], [1])
    with pytest.raises(ValueError, match="expected probabilities, 0 to 1"):
        reliability([1.5], [1])
