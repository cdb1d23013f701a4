"""Class weights: against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from atrous.metrics.class_weights import effective_number, enet, labelled_around, median_frequency

# three images of 100, 50 and 0 labelled pixels; the last class never occurs
COUNTS = np.array([[60, 30, 10, 0, 0], [10, 0, 20, 20, 0], [0, 0, 0, 0, 0]], np.int64)
PIXELS = COUNTS.sum(0)


def test_median_frequency() -> None:
    # frequencies 70 / 150, 30 / 100, 30 / 150 and 20 / 50: sorted 0.2, 0.3, 0.4, 0.4667, median 0.35
    expected = [0.35 / (70 / 150), 0.35 / 0.3, 0.35 / 0.2, 0.35 / 0.4, 0]
    assert median_frequency(PIXELS, labelled_around(COUNTS)).tolist() == pytest.approx(expected)


def test_enet() -> None:
    expected = [1 / np.log(1.02 + share) for share in (70 / 150, 30 / 150, 30 / 150, 20 / 150, 0)]
    assert enet(PIXELS).tolist() == pytest.approx(expected)
    assert enet(np.array([7, 0])) == pytest.approx([1 / np.log(2.02), 1 / np.log(1.02)])
    assert enet(PIXELS, c=1.1)[4] == pytest.approx(1 / np.log(1.1))


@pytest.mark.parametrize("prototypes", [None, 2.0, 1000.0])
def test_effective_number(prototypes: float | None) -> None:
    n = prototypes or 30.0  # 150 pixels in 5 classes
    beta = (n - 1) / n
    raw = np.array([(1 - beta) / (1 - beta**pixels) for pixels in (70, 30, 30, 20)])
    expected = [*(4 * raw / raw.sum()), 0]
    assert effective_number(PIXELS, prototypes).tolist() == pytest.approx(expected)


def test_effective_number_between_equal_and_inverse_frequency() -> None:
    assert effective_number(PIXELS, 1.0)[:4] == pytest.approx(1)
    inverse = 1 / np.array([70, 30, 30, 20])
    assert effective_number(PIXELS, 1e9)[:4] == pytest.approx(4 * inverse / inverse.sum(), rel=1e-6)


def test_effective_number_of_millions_of_pixels() -> None:
    weights = effective_number(np.array([900_000_000, 90_000_000, 1_000_000]))
    assert weights.mean() == pytest.approx(1)
    assert weights[0] < weights[1] < weights[2]
