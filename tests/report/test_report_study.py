"""Folding seeds, the baseline, and the words for differences."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest
from report.study_folders import folded, write_run

from atrous.errors import ConfigError, DataError
from atrous.metrics.bootstrap import Difference
from atrous.report.study import notes
from atrous.runs.compare import verdict
from atrous.runs.run import find_runs


def gap(low, high, images=100):
    none = np.zeros(0)
    return Difference((low + high) / 2, low, high, none, none, none, confidence=0.95, resamples=10, images=images)


def study(folder, baseline=None, compare=lambda a, b: gap(0.1, 0.2)):
    return folded(folder, compare, baseline)


def test_seeds_are_folded(grid):
    found = study(grid)
    scores = [run.score for run in find_runs([grid])[0]]
    assert [group.values for group in found.groups] == [("8",), ("16",)]
    for group, own in zip(found.groups, (scores[:3], scores[3:]), strict=True):
        assert group.n == 3
        assert group.score.mean == pytest.approx(statistics.mean(own))
        assert group.score.std == pytest.approx(statistics.stdev(own))
        assert group.cost("train_seconds") == 90
    assert [run.seed for run in found.runs] == [0, 1, 2, 0, 1, 2]
    assert found.baseline is found.groups[0]
    assert notes(found) == []


def test_one_run_has_no_spread_and_no_baseline(tmp_path):
    write_run(tmp_path / "a")
    found = study(tmp_path)
    assert found.baseline is None
    assert found.label(found.groups[0]) == "all runs"
    assert np.isnan(found.groups[0].score.std)


def test_an_older_run_of_the_same_seed_is_not_counted(tmp_path):
    write_run(tmp_path / "a", accuracy=0.5, ended="2026-01-01T00:00:00+00:00")
    write_run(tmp_path / "b", accuracy=0.9, ended="2026-02-01T00:00:00+00:00")
    write_run(tmp_path / "c", accuracy=0.9, seed=1)
    (group,) = study(tmp_path).groups
    assert [run.folder.name for run in group.runs] == ["b", "c"]
    assert [run.folder.name for run in group.repeated] == ["a"]
    assert "1 older run with the settings and the seed" in " ".join(notes(study(tmp_path)))


def test_code_that_changed_between_runs_is_told(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1, provenance={"git": {"commit": "fedcba9876", "dirty": True}})
    told = " ".join(notes(study(tmp_path)))
    assert "2 states of the code: 0123456, fedcba9+" in told
    assert "changes that no commit holds" in told


def test_a_class_without_a_score_in_one_run_has_the_mean_of_the_others(tmp_path):
    names = ["road", "car"]
    write_run(tmp_path / "a", per_class={"names": names, "iou": [0.2, None]})
    write_run(tmp_path / "b", seed=1, per_class={"names": names, "iou": [0.4, 0.6]})
    np.testing.assert_allclose(study(tmp_path).groups[0].iou, [0.3, 0.6])


@pytest.mark.parametrize(
    ("ends", "runs", "baseline", "expected"),
    [
        ((0.1, 0.2), 3, 3, "better"),
        ((-0.2, -0.1), 3, 4, "worse"),
        ((-0.1, 0.2), 5, 5, "no difference shown"),
        ((-0.1, 0.2), 1, 1, "no difference shown"),
        ((0.1, 0.2), 2, 5, "higher, too few seeds"),
        ((-0.2, -0.1), 5, 1, "lower, too few seeds"),
        ((np.nan, np.nan), 3, 3, "no difference shown"),
    ],
)
def test_words(ends, runs, baseline, expected):
    assert verdict(gap(*ends), runs, baseline) == expected


def test_few_images_show_no_better_network():
    assert verdict(gap(0.1, 0.2, images=4), 5, 5) == "higher, too few images"
    assert verdict(gap(-0.2, -0.1, images=4), 1, 5) == "lower, too few seeds and images"


@pytest.mark.parametrize("baseline", ["output_stride=16", "model.output_stride=16", "FOLDER"])
def test_the_baseline_is_settings_or_a_folder(grid, baseline):
    asked = []
    folder = str(grid / "5")
    found = study(
        grid, folder if baseline == "FOLDER" else baseline, lambda a, b: asked.append((a, b)) or gap(0.1, 0.2)
    )
    assert found.baseline.values == ("16",)
    assert [group.verdict for group in found.groups] == ["better", "baseline"]
    assert asked == [([grid / name for name in "123"], [grid / name for name in "456"])]


def test_a_baseline_with_a_list(tmp_path):
    for number, rates in enumerate(([6, 12], [12, 24])):
        write_run(tmp_path / str(number), settings={"rates": rates, "lr": number}, command="t lr=1 rates=x")
    assert study(tmp_path, "rates=[12, 24],lr=1").baseline.values == ("1", "[12,24]")


@pytest.mark.parametrize("baseline", ["output_stride=4", "rate=8", "nowhere", ""])
def test_a_baseline_that_fits_nothing_is_told(grid, baseline):
    with pytest.raises(ConfigError, match=r"fits 0 of the 2 settings.*\n  output_stride=8\n  output_stride=16"):
        study(grid, baseline)


def test_a_baseline_that_fits_several_is_told(tmp_path):
    for number in range(4):
        write_run(tmp_path / str(number), settings={"a": number // 2, "b": number % 2}, command="t a=0 b=0")
    with pytest.raises(ConfigError, match=r"a=1 fits 2 of the 4 settings.*\n  a=1,b=0\n  a=1,b=1"):
        study(tmp_path, "a=1")


def test_what_can_t_be_compared_is_told_and_shown(grid):
    def compare(a: list[Path], b: list[Path]) -> Difference:
        raise DataError("they differ in split: val / test")

    group = study(grid, None, compare).groups[1]
    assert (group.verdict, group.reason, group.difference) == (
        "not comparable",
        "they differ in split: val / test",
        None,
    )


def test_nothing_finished(tmp_path):
    write_run(tmp_path / "a", status="failed", error="out of memory")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "result.json").write_text("{")
    found = study(tmp_path)
    assert (found.groups, found.baseline) == ([], None)
    assert [run.error for run in found.unfinished] == ["out of memory"]
    assert [left.folder.name for left in found.unread] == ["b"]
