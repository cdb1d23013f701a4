"""The paired bootstrap: against scipy's and its t intervals, its coverage by simulation, and what must hold exactly."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from atrous.metrics import scores
from atrous.metrics.bootstrap import paired_difference, resampled

C = 3
Matrices = NDArray[np.int64]


def scored(rng: np.random.Generator, images: int, accuracy: float, truth: NDArray[np.int64]) -> Matrices:
    """Confusion matrices (N, C, C) whose images differ in how hard they are, seeded by the truth (N, C)."""
    hard = np.clip(accuracy + 0.3 * np.sin(truth[:images, 0]), 0.05, 0.95)  # of the image, the same for both sides
    right = rng.binomial(truth[:images], hard[:, None])
    matrices = np.zeros((images, C, C), np.int64)
    for label in range(C):
        matrices[:, label, label] = right[:, label]
        matrices[:, label, (label + 1) % C] = truth[:images, label] - right[:, label]
    return matrices


def miou(matrices: Matrices) -> float:
    return float(scores.mean(scores.iou(matrices.sum(0))))


def test_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(50, 500, (60, C))
    a, b = scored(rng, 60, 0.7, truth), scored(rng, 60, 0.66, truth)

    def difference(images: NDArray[np.int64]) -> float:
        return miou(a[images]) - miou(b[images])

    expected = stats.bootstrap(
        (np.arange(60),),
        difference,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    found = paired_difference([a], [b], resamples=20_000)
    assert found.score == pytest.approx(difference(np.arange(60)), abs=1e-12)
    error = expected.standard_error
    # two samples of resamples: an end of the interval varies by about 2.7 standard errors / sqrt(resamples)
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.2 * error)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.2 * error)
    low, high = found.iou_low, found.iou_high
    assert (low < found.iou).all()
    assert (found.iou < high).all()


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    """200 data sets of 80 images from a population of 20,000 whose difference is known."""
    rng = np.random.default_rng(2)
    truth = rng.integers(50, 500, (20_000, C))
    a, b = scored(rng, len(truth), 0.62, truth), scored(rng, len(truth), 0.6, truth)
    true = miou(a) - miou(b)
    held = 0
    for _ in range(200):
        chosen = rng.integers(len(truth), size=80)
        found = paired_difference([a[chosen]], [b[chosen]], resamples=500, confidence=0.9)
        held += found.low <= true <= found.high
    assert 0.84 <= held / 200 <= 0.95  # 0.90; the binomial's standard deviation is 0.021


def test_pairing_makes_the_interval_narrow() -> None:
    """The same images on both sides cancel; with B's images in another order they do not."""
    rng = np.random.default_rng(3)
    truth = rng.integers(50, 500, (80, C))
    a, b = scored(rng, 80, 0.7, truth), scored(rng, 80, 0.68, truth)
    paired, mixed = paired_difference([a], [b]), paired_difference([a], [b[::-1]])
    assert paired.score == mixed.score
    assert paired.high - paired.low < 0.6 * (mixed.high - mixed.low)
    assert paired.shown
    assert not mixed.shown


@pytest.mark.parametrize("paired", [False, True])
def test_runs_add_what_student_and_welch_say(paired: bool) -> None:
    """With images all alike, which are drawn makes no difference; what is left is scipy's interval of the runs' scores."""
    rng = np.random.default_rng(4)
    truth = np.repeat(rng.integers(50, 500, (1, C)), 40, axis=0)
    runs = [np.repeat(scored(rng, 1, 0.5 + 0.05 * seed, truth), 40, axis=0) for seed in range(8)]
    a, b = (runs[4:], runs[:4]) if paired else (runs[3:], runs[:3])
    found = paired_difference(a, b, paired_runs=paired, resamples=100_000)
    x, y = ([miou(run) for run in side] for side in (a, b))
    test = stats.ttest_rel(x, y) if paired else stats.ttest_ind(x, y, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert found.score == pytest.approx(np.mean(x) - np.mean(y))
    width = interval.high - interval.low  # an end of 100,000 resamples varies by 1 % of it
    assert found.low == pytest.approx(interval.low, abs=0.03 * width)
    assert found.high == pytest.approx(interval.high, abs=0.03 * width)


@pytest.mark.parametrize("paired", [False, True])
def test_three_runs_a_side_are_enough_for_an_interval_that_holds(paired: bool) -> None:
    """200 studies whose runs' accuracy varies by their seed; drawing runs with replacement held in 0.8 of such."""
    rng = np.random.default_rng(7)
    truth = np.full((40, C), 300)
    held = 0
    for _ in range(200):
        a, b = ([scored(rng, 40, 0.6 + rng.normal(0, 0.03), truth) for _ in range(3)] for _ in range(2))
        found = paired_difference(a, b, paired_runs=paired, resamples=300)
        held += found.low <= 0 <= found.high
    assert held / 200 >= 0.91  # 0.95; the binomial's standard deviation is 0.015


@pytest.mark.filterwarnings("error")
def test_classes_without_a_score() -> None:
    """An absent class has none; one that only few images hold has an interval from the resamples that drew it."""
    rng = np.random.default_rng(5)
    a, b = rng.integers(1, 50, (2, 30, 5, 5))
    for matrices in (a, b):
        matrices[:, 4], matrices[:, :, 4] = 0, 0
        matrices[1:, 3], matrices[1:, :, 3] = 0, 0
    found = paired_difference([a], [b], resamples=300)
    assert np.isnan([found.iou[4], found.iou_low[4], found.iou_high[4]]).all()
    assert found.iou_low[3] == pytest.approx(found.iou[3], abs=0.2)
    assert np.isfinite([found.score, found.low, found.high, found.iou_low[3]]).all()


def test_equal_sides_differ_by_nothing_and_seeds_repeat() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.integers(1, 50, (2, 30, C, C))
    same = paired_difference([a], [a], resamples=100)
    assert (same.score, same.low, same.high) == (0, 0, 0)
    assert not same.shown
    one, two, other = (paired_difference([a], [b], resamples=700, seed=seed) for seed in (1, 1, 2))
    assert (one.low, one.high) == (two.low, two.high) != (other.low, other.high)
    assert paired_difference([b], [a], resamples=700, seed=1).low == pytest.approx(-one.high)


def test_images_and_runs_are_drawn_from_streams_of_their_own() -> None:
    """With the same stream for both, what Student's t draws would follow from the images drawn."""
    drawn = resampled(np.arange(1, 121).reshape(30, 2, 2), resamples=500, seed=3).drawn[:, 0]
    shared = np.random.default_rng(3).integers(30, size=(500, 30))
    first = np.random.default_rng((3, 1)).integers(30, size=(500, 30))
    means = [np.take(np.arange(30), picks).mean(1) for picks in (shared, first)]
    correlations = [abs(np.corrcoef(drawn, mean)[0, 1]) for mean in means]
    assert correlations[0] < 0.2 < 0.8 < correlations[1]


def test_runs_that_were_resampled_before_give_the_same_interval() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.integers(1, 50, (2, 30, C, C))
    before = [resampled(run, resamples=700, seed=3) for run in (a, b)]
    for one, other in (([a], [before[1]]), ([before[0]], [before[1]])):
        found, expected = (paired_difference(*sides, resamples=700, seed=3) for sides in ((one, other), ([a], [b])))
        assert (found.score, found.low, found.high) == (expected.score, expected.low, expected.high)


def test_wrong_arguments() -> None:
    good = np.ones((4, 2, 2))
    for a, b, options, message in (
        ([], [good], {}, "0 and 1 runs"),
        ([good], [good[:3]], {}, "all of the same images"),
        ([good[:0]], [good[:0]], {}, "of one or more"),
        ([good[0]], [good[0]], {}, "one confusion matrix per image"),
        ([good], [good], {"confidence": 95}, "expected 0 to 1"),
        ([good], [good], {"resamples": 0}, "1 or more"),
        ([good], [np.ones((4, 3, 3))], {}, "the same images and classes"),
        ([good], [resampled(good, resamples=7)], {}, "the same resamples"),
        ([good], [resampled(good, seed=1)], {}, "the same resamples"),
        ([good], [good, good], {"paired_runs": True}, "1 runs can't be paired with 2"),
    ):
        with pytest.raises(ValueError, match=message):
            paired_difference(a, b, **options)


def test_reports_can_use_these_without_torch() -> None:
    code = "import sys, atrous.metrics.bootstrap, atrous.metrics.extra; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
