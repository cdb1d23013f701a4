"""Class weights: against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from atrous.errors import ConfigError
from atrous.losses.class_weights import effective_number, enet, median_frequency, named_weights, with_named_weights
from atrous.losses.cross_entropy import CrossEntropy

# three images of 100, 50 and 0 labelled pixels; the last class never occurs
COUNTS = np.array([[60, 30, 10, 0, 0], [10, 0, 20, 20, 0], [0, 0, 0, 0, 0]], np.int64)


def test_median_frequency() -> None:
    # frequencies 70 / 150, 30 / 100, 30 / 150 and 20 / 50: sorted 0.2, 0.3, 0.4, 0.4667, median 0.35
    expected = [0.35 / (70 / 150), 0.35 / 0.3, 0.35 / 0.2, 0.35 / 0.4, 0]
    assert median_frequency(COUNTS).tolist() == pytest.approx(expected)


def test_enet() -> None:
    expected = [1 / np.log(1.02 + share) for share in (70 / 150, 30 / 150, 30 / 150, 20 / 150, 0)]
    assert enet(COUNTS).tolist() == pytest.approx(expected)
    assert enet(np.array([[7, 0]]))[[0, 1]] == pytest.approx([1 / np.log(2.02), 1 / np.log(1.02)])
    assert enet(COUNTS, c=1.1)[4] == pytest.approx(1 / np.log(1.1))


@pytest.mark.parametrize("prototypes", [None, 2.0, 1000.0])
def test_effective_number(prototypes: float | None) -> None:
    n = prototypes or 30.0  # 150 pixels in 5 classes
    beta = (n - 1) / n
    raw = np.array([(1 - beta) / (1 - beta**pixels) for pixels in (70, 30, 30, 20)])
    expected = [*(4 * raw / raw.sum()), 0]
    assert effective_number(COUNTS, prototypes).tolist() == pytest.approx(expected)


def test_effective_number_between_equal_and_inverse_frequency() -> None:
    assert effective_number(COUNTS, 1.0)[:4] == pytest.approx(1)
    inverse = 1 / np.array([70, 30, 30, 20])
    assert effective_number(COUNTS, 1e9)[:4] == pytest.approx(4 * inverse / inverse.sum(), rel=1e-6)


def test_effective_number_of_millions_of_pixels() -> None:
    counts = np.array([[900_000_000, 90_000_000, 1_000_000]])
    weights = effective_number(counts)
    assert weights.mean() == pytest.approx(1)
    assert weights[0] < weights[1] < weights[2]


@pytest.mark.parametrize("rule", ["median_frequency", "enet", "effective_number"])
@pytest.mark.parametrize("images", [0, 2])
def test_without_a_labelled_pixel_weights_are_finite(rule: str, images: int) -> None:
    assert np.isfinite(named_weights(rule, np.zeros((images, 3), np.int64))).all()


def test_names_in_a_config_become_numbers() -> None:
    asked = []

    def count() -> Any:
        asked.append(1)
        return COUNTS

    inner = {"_target_": "x", "class_weights": "enet"}
    config = {
        "losses": {"a": inner, "b": {"class_weights": None}, "c": inner},
        "weights": {"a": 1},
        "class_weights": [1],
    }
    found = with_named_weights(config, count)
    numbers = enet(COUNTS).tolist()
    assert found["losses"] == {
        "a": {"_target_": "x", "class_weights": numbers},
        "b": {"class_weights": None},
        "c": {"_target_": "x", "class_weights": numbers},
    }
    assert found["class_weights"] == [1]
    assert len(asked) == 1
    assert inner["class_weights"] == "enet"
    assert CrossEntropy(class_weights=numbers).class_weights is not None


def test_nothing_is_counted_without_a_name() -> None:
    def count() -> Any:
        raise RuntimeError("counted")

    assert with_named_weights({"class_weights": None, "gamma": 2}, count) == {"class_weights": None, "gamma": 2}
    with pytest.raises(
        ConfigError, match=r"loss\.class_weights=mean is no rule; choose one of median_frequency, enet, eff"
    ):
        with_named_weights({"class_weights": "mean"}, count)


def test_a_loss_takes_no_name() -> None:
    with pytest.raises(ValueError, match=r"class_weights 'enet' is the name of a rule, and a loss takes its numbers"):
        CrossEntropy(class_weights="enet")
