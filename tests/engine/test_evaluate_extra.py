"""`extra_metrics=true` and what every evaluation writes beside the table."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from atrous.cli import compare, evaluate, train
from atrous.engine.build import build_datamodule
from atrous.metrics.boundary import boundary_f1
from atrous.metrics.scores import iou, mean


@pytest.fixture(scope="module")
def extra(finished_run, tmp_path_factory):
    """The out folder of an evaluation with all scores, and what it printed."""
    out = tmp_path_factory.mktemp("extra")
    evaluate.main([f"ckpt={finished_run}/checkpoints/best.ckpt", f"out={out}", "extra_metrics=true"])
    return out


def test_the_other_scores_stay_what_they_are(extra, finished_run, result_of):
    """The labels come from the same strips, and the confusion matrices with them."""
    assert result_of(extra)["scores"] == result_of(finished_run)["scores"]
    np.testing.assert_array_equal(*(np.load(folder / "confusion.npz")["matrices"] for folder in (extra, finished_run)))
    assert "boundary" not in result_of(finished_run)


def test_boundary_f1_is_that_of_the_predicted_labels(extra, finished_run, result_of, tmp_path):
    from atrous.cli import predict

    predict.main([f"ckpt={finished_run}/checkpoints/best.ckpt", "split=val", f"out={tmp_path}", "overlay=false"])
    config = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)["config"]
    scenes = build_datamodule(config).dataset("val")
    expected = {}
    for scene in (scenes[index] for index in range(len(scenes))):
        labels = np.array(Image.open(tmp_path / "labels" / f"{scene.name}.png"))
        expected[scene.name] = np.nanmean(boundary_f1(labels, scene.mask, num_classes=11, ignore_index=255))
    with (extra / "per_image.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {name: float(row["boundary_f1"]) for name, row in rows.items()} == pytest.approx(expected, abs=1e-6)
    assert result_of(extra)["boundary"]["f1"] == pytest.approx(np.mean(list(expected.values())))


def test_result_json_holds_every_part(extra, result_of):
    result = result_of(extra)
    pixels = int(np.load(extra / "confusion.npz")["matrices"].sum())
    assert sum(result["calibration"]["pixels"]) == sum(result["boundary"]["rings"]["pixels"]) == pixels
    assert 0 <= result["calibration"]["ece"] <= 1
    assert sum(result["objects"]["number"]) > 0
    assert result["per_image"]["boundary_f1"] == pytest.approx(result["boundary"]["f1"])
    for name in ("trimap.png", "reliability.png"):
        with Image.open(extra / name) as picture:
            assert min(picture.size) > 300


def test_per_image_csv_has_the_worst_image_first(finished_run, result_of):
    stored = np.load(finished_run / "confusion.npz")
    expected = dict(zip(stored["names"].tolist(), mean(iou(stored["matrices"])), strict=True))
    with (finished_run / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["name"]: float(row["miou"]) for row in rows} == pytest.approx(expected, abs=1e-6)
    values = [float(row["miou"]) for row in rows]
    assert values == sorted(values)
    assert result_of(finished_run)["per_image"]["miou"] == pytest.approx(np.mean(values), abs=1e-6)


def test_the_table_tells_the_extra_scores_and_the_protocol(finished_run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    evaluate.main([f"ckpt={finished_run}/checkpoints/best.ckpt", "extra_metrics=true"])
    out = capsys.readouterr().out
    for told in ("B-IoU", "boundaries: BF ", "within 7 pixels of a boundary", "small ", "calibration: ECE "):
        assert told in out
    assert "val, 4 images, data " in out
    assert "inference whole" in out


def test_the_protocol_tells_data_code_and_weights(finished_run, result_of):
    result = result_of(finished_run)
    protocol = result["protocol"]
    assert protocol["data"] == result["provenance"]["data"]["val"]
    assert (protocol["images"], protocol["classes"], protocol["weights"]) == (4, 11, "as trained")
    assert protocol["code"].startswith("atrous ")


def test_a_run_compares_with_its_own_evaluation(extra, finished_run, capsys):
    compare.main([str(finished_run), str(extra)])
    out = capsys.readouterr().out
    assert "no difference shown: mIoU +0.000 [+0.000, +0.000]" in out
    assert "differs" not in out


def test_extra_metrics_is_true_or_false(finished_run, capsys):
    for command in (
        lambda: evaluate.main([f"ckpt={finished_run}/checkpoints/best.ckpt", "extra_metrics=full"]),
        lambda: train.main(["extra_metrics=full", f"paths.runs={finished_run}/none"]),
    ):
        with pytest.raises(SystemExit):
            command()
        assert "extra_metrics=full is impossible; give true or false" in capsys.readouterr().err
