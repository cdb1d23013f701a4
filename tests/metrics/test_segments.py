import itertools

import numpy as np
import pytest
from skimage.metrics import variation_of_information

from atrous.errors import ConfigError
from atrous.metrics.segments import confusion_of, matched, outline_f1, partition_scores, shared_pixels

RNG = np.random.default_rng(0)
SEGMENTS, TRUTH = RNG.integers(0, 5, (13, 17)), RNG.integers(0, 3, (13, 17))
WITH_VOID = np.where(RNG.random((13, 17)) < 0.2, 255, TRUTH)


def table_of(segments, truth, classes=3):
    return shared_pixels(segments, truth, num_classes=classes, ignore_index=255)


def test_the_table_counts_what_is_shared():
    table = table_of(SEGMENTS, WITH_VOID)
    for segment, label in itertools.product(range(5), range(3)):
        assert table[segment, label] == ((segment == SEGMENTS) & (label == WITH_VOID)).sum()


def test_scores_of_a_partition_by_their_definitions():
    found = partition_scores(table_of(SEGMENTS, TRUTH))
    assert found["variation_of_information"] == pytest.approx(sum(variation_of_information(TRUTH, SEGMENTS)))
    regions, parts = ([labels == value for value in np.unique(labels)] for labels in (TRUTH, SEGMENTS))
    covering = sum(r.sum() * max((r & s).sum() / (r | s).sum() for s in parts) for r in regions) / TRUTH.size
    assert found["covering"] == pytest.approx(covering)
    leak = sum(min((r & s).sum(), (s & ~r).sum()) for r in regions for s in parts if (r & s).any()) / TRUTH.size
    assert found["undersegmentation_error"] == pytest.approx(leak)
    best = sum(max((r & s).sum() for r in regions) for s in parts) / TRUTH.size
    assert found["achievable_accuracy"] == pytest.approx(best)


def test_equal_partitions_and_no_truth():
    found = partition_scores(table_of((TRUTH + 1) % 3, TRUTH))
    assert list(found.values()) == pytest.approx([1, 0, 0, 1])
    assert all(np.isnan(value) for value in partition_scores(table_of(SEGMENTS, np.full_like(TRUTH, 255))).values())


def test_majority_and_hungarian_are_the_best_of_all_matchings():
    few = np.minimum(SEGMENTS, 2)
    table = table_of(few, WITH_VOID)
    right = {
        classes: sum(table[segment, label] for segment, label in enumerate(classes))
        for classes in itertools.product(range(3), repeat=3)
    }
    assert right[tuple(matched(table, "majority"))] == max(right.values())
    assert right[tuple(matched(table, "hungarian"))] == max(right[one] for one in itertools.permutations(range(3)))
    with pytest.raises(ConfigError, match=r"matching\.by=hungarian.* 5 segments.* 3 classes"):
        matched(table_of(SEGMENTS, TRUTH), "hungarian")


def test_the_confusion_matrix_is_that_of_the_labelled_pixels():
    classes = matched(table_of(SEGMENTS, WITH_VOID), "majority")
    predicted, known = classes[SEGMENTS], WITH_VOID != 255
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (WITH_VOID[known], predicted[known]), 1)
    np.testing.assert_array_equal(confusion_of(table_of(SEGMENTS, WITH_VOID), classes), expected)


def test_outlines():
    truth = np.zeros((100, 100), int)
    truth[:, 50:] = 1
    near, far, extra = (np.zeros_like(truth) for _ in range(3))
    near[:, 51:] = far[:, 60:] = extra[:, 50:] = 1
    extra[:, 20:50] = 2
    score = lambda segments, truth=truth: outline_f1(segments, truth, ignore_index=255)  # noqa: E731
    assert score(truth) == score(near) == 1
    assert score(far) == 0
    assert score(extra) == pytest.approx(2 * 0.5 / 1.5)
    assert score(np.zeros_like(truth)) == 0
    assert np.isnan(score(truth, np.zeros_like(truth)))
    truth[:, 48:52] = 255
    assert np.isnan(score(near, truth)), "what void parts has no outline"
