"""The folds of one seed are one evaluation, in which each image counts once; folds are no repeats."""

import json
import shutil

import numpy as np
import pytest
from report.study_folders import write_run

from atrous.errors import DataError
from atrous.metrics.bootstrap import paired_difference
from atrous.metrics.scores import summary
from atrous.report.study import notes, study_of
from atrous.runs.folds import read_evaluations
from atrous.runs.run import find_runs
from atrous.runs.scores import read_evaluation

FOLDS = 3


def write_fold(folder, fold, *, seed=0, names=None, **how):
    settings = {"data.folds": FOLDS, "data.fold": fold, **how.pop("settings", {})}
    write_run(folder, seed=seed, settings=settings, command=f"python train.py data.fold={fold}", **how)
    with np.load(folder / "confusion.npz") as arrays:
        content = dict(arrays)
    content["names"] = np.array(names or [f"{name} of fold {fold}" for name in content["names"]])
    np.savez_compressed(folder / "confusion.npz", **content)
    result = json.loads((folder / "result.json").read_text())
    result["protocol"]["data"] = f"fold{fold}"
    (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two settings, each with three folds of two seeds; stride 8 is better."""
    for stride, accuracy in ((8, 0.9), (16, 0.7)):
        for seed in range(2):
            for fold in range(FOLDS):
                place = tmp_path / "runs" / f"{stride}-{seed}-{fold}"
                settings = {"model.output_stride": stride}
                write_fold(place, fold, seed=seed, accuracy=accuracy - 0.1 * fold, settings=settings)
    return tmp_path / "runs"


def test_each_image_counts_once(runs):
    folders = [runs / f"8-0-{fold}" for fold in range(FOLDS)]
    (whole,) = read_evaluations(folders)
    parts = [read_evaluation(folder) for folder in folders]
    assert whole.names == sorted(name for part in parts for name in part.names)
    assert whole.scores == summary(sum(part.confusion for part in parts))
    assert (whole.seed, whole.protocol["images"], whole.protocol["folds"]) == (0, 90, FOLDS)
    for name, matrix in zip(parts[1].names, parts[1].matrices, strict=True):
        np.testing.assert_array_equal(whole.matrices[whole.names.index(name)], matrix)


def test_a_report_counts_seeds_and_resamples_all_images(runs):
    found, unread = find_runs([runs])
    study = study_of(
        found, unread, ignored=[("name",), ("paths",), ("logger",), ("callbacks",)], baseline=None, resamples=50
    )
    assert [column.name for column in study.columns] == ["output_stride"]
    assert [(group.values, group.n, len(group.runs)) for group in study.groups] == [(("8",), 2, 6), (("16",), 2, 6)]
    sides = [
        [read_evaluations([runs / f"{stride}-{seed}-{fold}" for fold in range(FOLDS)])[0] for seed in range(2)]
        for stride in (8, 16)
    ]
    for group, side in zip(study.groups, sides, strict=True):
        assert group.score.mean == pytest.approx(np.mean([run.score for run in side]))
        np.testing.assert_allclose(group.iou, np.mean([run.class_scores["iou"] for run in side], axis=0))
    matrices = [[run.matrices for run in side] for side in sides]
    expected = paired_difference(matrices[1], matrices[0], paired_runs=True, resamples=50)
    assert study.groups[1].difference.score == pytest.approx(expected.score)
    assert (study.groups[1].difference.low, study.groups[1].difference.high) == pytest.approx(
        (expected.low, expected.high)
    )
    assert study.groups[1].verdict == "lower, too few seeds"  # two seeds, not six runs
    assert "folds of a seed are one evaluation" in " ".join(notes(study))


def test_a_seed_without_all_folds_is_left_out_and_told(runs):
    shutil.rmtree(runs / "8-1-2")
    found, unread = find_runs([runs])
    study = study_of(
        found, unread, ignored=[("name",), ("paths",), ("logger",), ("callbacks",)], baseline=None, resamples=None
    )
    assert [(group.n, len(group.runs)) for group in study.groups] == [(1, 3), (2, 6)]
    (told,) = study.unread
    assert "seed 1 has the folds 0 of 3, 1 of 3" in told.reason
    assert "Train fold 2" in told.reason


def test_folds_that_cannot_be_pooled(tmp_path, runs):
    first = runs / "8-0-0"
    common = [write_fold(tmp_path / f"{fold}", fold, names=[f"{n}" for n in range(30)]) for fold in range(FOLDS)]
    with pytest.raises(DataError, match=r"common images.*eval_split=val"):
        read_evaluations(common)
    with pytest.raises(DataError, match=r"0 of 3, 0 of 3.*Train fold 1, 2"):
        read_evaluations([first, runs / "16-0-0"])
    other = runs / "8-0-1"
    result = json.loads((other / "result.json").read_text())
    result["protocol"]["split"] = "test"
    (other / "result.json").write_text(json.dumps(result))
    with pytest.raises(DataError, match=r"different rules: split: val / test"):
        read_evaluations([first, other, runs / "8-0-2"])
