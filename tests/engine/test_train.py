import csv

import numpy as np
import pytest
import torch
import yaml

from atrous.engine.build import build_datamodule, build_task
from atrous.metrics.scores import summary


def test_a_run_leaves_its_whole_folder(finished_run, result_of):
    result = result_of(finished_run)
    assert result["status"] == "finished"
    assert result["steps"] == 4
    assert result["images"] == 4
    assert result["cost"]["parameters"] > 0
    assert result["cost"]["macs"] > 0
    assert result["provenance"]["seed"] == 0
    assert yaml.safe_load((finished_run / "config.yaml").read_text())["data"]["batch_size"] == 4
    assert len(list((finished_run / "samples").glob("*.png"))) == 4
    with (finished_run / "metrics.csv").open() as file:
        history = list(csv.DictReader(file))
    assert {"val/miou", "val/iou/road", "train/loss", "lr"} <= set(history[0])
    assert not [path for path in finished_run.rglob("*") if set(path.name) & set("=[], ")]


def test_scores_are_those_of_the_stored_confusion_matrices(finished_run, result_of):
    stored = np.load(finished_run / "confusion.npz")
    assert stored["matrices"].shape[0] == len(stored["names"]) == 4
    expected = summary(stored["matrices"].sum(0))
    assert result_of(finished_run)["scores"] == {
        key: pytest.approx(value, nan_ok=True) for key, value in expected.items()
    }


def test_the_best_checkpoint_is_plain_data_with_its_config(finished_run):
    checkpoint = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["config"]["data"]["batch_size"] == 4
    assert "vehicle" in checkpoint["class_info"]["names"]


def test_the_same_seed_trains_the_same_weights(train_run, finished_run, tmp_path):
    again = train_run(tmp_path)
    first, second = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (finished_run, again))
    for key, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][key]), key


def test_resuming_continues_where_the_first_run_ended(train_run, finished_run, result_of, tmp_path):
    half = train_run(tmp_path / "half", "trainer.max_epochs=1", "scheduler=constant")
    rest = train_run(tmp_path / "rest", "scheduler=constant", f"ckpt_path={half}/checkpoints/last.ckpt")
    whole = train_run(tmp_path / "whole", "scheduler=constant")
    assert result_of(rest)["steps"] == result_of(whole)["steps"] == 4
    resumed, straight = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (rest, whole))
    for key, value in straight["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][key]), key


def test_a_multirun_leaves_one_folder_per_job(tiny, tmp_path, result_of):
    from atrous.cli import train

    train.main(["-m", *tiny, f"paths.runs={tmp_path}", "trainer.max_epochs=1", "model.output_stride=8,16"])
    fine, coarse = (result_of(next(tmp_path.glob(f"sweep/output_stride-{stride}-*"))) for stride in (8, 16))
    assert fine["status"] == coarse["status"] == "finished"
    assert fine["cost"]["macs"] > coarse["cost"]["macs"]


def test_ema_scores_the_averaged_weights(train_run, tmp_path):
    run = train_run(tmp_path, "callbacks=ema", "callbacks.ema.decay=0.5")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    changed = [
        key
        for key, value in checkpoint["state_dict"].items()
        if not torch.equal(value, checkpoint["current_model_state"][key])
    ]
    assert changed


def test_class_weights_by_the_name_of_a_rule(finished_run):
    config = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)["config"]
    config["loss"]["class_weights"] = "enet"
    data = build_datamodule(config)
    task = build_task(config, data)
    train = data.dataset("train")
    pixels = sum(np.bincount(train[index].mask.ravel(), minlength=256)[:11] for index in range(len(train)))
    np.testing.assert_allclose(task.loss.class_weights, 1 / np.log(1.02 + pixels / pixels.sum()), rtol=1e-5)
    assert task.config["loss"]["class_weights"] == "enet"  # what a checkpoint says is what the user said
