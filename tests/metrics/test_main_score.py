"""A task's main score, which those who import no torch find by the task's import path."""

import math

import numpy as np
import pytest

from atrous.config.compose import compose, prepare
from atrous.metrics.main_score import BY_KEY, MEAN_IOU, MainScore, main_score_of
from atrous.metrics.scores import summary
from atrous.tasks.semantic import SemanticTask


def test_task_and_path_name_the_same():
    path = f"{SemanticTask.__module__}.{SemanticTask.__qualname__}"
    assert main_score_of({"task": {"_target_": path}}) is SemanticTask.main_score is BY_KEY["miou"]


def test_it_is_the_one_of_the_summary():
    confusion = np.random.default_rng(0).integers(0, 9, (4, 3, 3))
    assert MEAN_IOU.of(confusion.sum(0)) == summary(confusion.sum(0))[MEAN_IOU.key]
    assert MEAN_IOU.of(confusion).shape == (4,)


@pytest.mark.parametrize(("mode", "best", "direction"), [("max", 3, "maximize"), ("min", 1, "minimize")])
def test_its_direction(mode, best, direction):
    score = MainScore("x", "X", mode, MEAN_IOU.of)
    assert (score.best([2, 3, float("nan"), 1]), score.direction, score.monitor) == (best, direction, "val/x")
    assert math.isnan(score.best([]))


def test_the_best_checkpoint_goes_by_it():
    prepare()
    best = compose("train").callbacks.best
    assert (best.monitor, best.mode) == ("val/miou", "max")
