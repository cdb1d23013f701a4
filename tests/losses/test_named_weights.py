"""The rules' names in a loss's config."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from atrous.errors import ConfigError
from atrous.losses.class_weights import named_weights, with_named_weights
from atrous.losses.cross_entropy import CrossEntropy

# three images of 100, 50 and 0 labelled pixels; the last class never occurs
COUNTS = np.array([[60, 30, 10, 0, 0], [10, 0, 20, 20, 0], [0, 0, 0, 0, 0]], np.int64)


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
    numbers = named_weights("enet", COUNTS)
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
