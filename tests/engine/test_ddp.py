"""Two processes on gloo against one, with the same total batch size: a multirun whose first job fails in one of them.

The images have unequal numbers of ignored pixels, the model has an auxiliary head, and the five validation images make
shards of unequal length.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import write_camvid

from atrous.cli import evaluate, train

UPDATES = 24
SETTINGS = [
    "data=camvid",
    "data.cache=none",
    "data.num_workers=0",
    "data.train_transform.crop_size=[48,64]",
    "data.eval_batch_size=1",
    "model=pspnet",
    "model.encoder.name=resnet10t",
    "model.decoder_channels=8",
    "model.pool_sizes=[2,3]",
    "model.dropout=0",
    "loss.class_weights=[5.6,4.3,33.57,3.34,15.49,8.74,31.54,32.01,12.83,38.01,43.91]",
    "optimizer.lr=1e-4",  # at 1e-3 rounding grows to a relative 5e-5 of the loss in 24 updates
    f"trainer.max_steps={UPDATES}",
    f"trainer.val_check_interval={UPDATES}",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "extra_metrics=true",
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    root = write_camvid(tmp_path_factory.mktemp("camvid"), splits={"train": 12, "val": 5}, size=(48, 64))
    return [*SETTINGS, f"data.root={root}"]


def losses(folder):
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def one(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    train.main([*settings, "data.batch_size=4", f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture(scope="module")
def multirun(settings, tmp_path_factory):
    """The run folders of a multirun of two processes each: batches of 6, with which the second one fails, and batches of 4."""
    folder, code = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("code")
    (code / "fails_in_ddp.py").write_text(FAILS)
    arguments = ["-m", *settings, "trainer.devices=2", "data.batch_size=6,4", f"hydra.sweep.dir={folder}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(code))
        with pytest.raises(SystemExit) as left:
            train.main([*arguments, "+callbacks.fails._target_=fails_in_ddp.Fails"])
    assert left.value.code == 1
    return {size: next(folder.glob(f"batch_size-{size}-*")) for size in (6, 4)}


FAILS = """
import lightning.pytorch as pl

class Fails(pl.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.datamodule.batch_size == 6:
            raise ValueError("the second process has had enough")
"""


def test_a_job_that_fails_leaves_its_reason_and_the_next_one_runs(multirun):
    failed, finished = result(multirun[6]), result(multirun[4])
    assert failed["status"] == "failed"
    assert "process 1 of the run failed: ValueError: the second process has had enough" in failed["error"]
    assert finished["status"] == "finished"
    assert (
        "data.batch_size=4" in finished["command"]
    )  # what a user types for this job alone, not what torchrun was given
    assert "worker.py" not in finished["command"]
    assert finished["boundary"]["trimap"]
    assert finished["steps"] == UPDATES
    assert (multirun[4] / "checkpoints" / "best.ckpt").is_file()
    assert not (multirun[6] / "checkpoints").exists()


def test_two_processes_count_as_one_does(multirun, tmp_path):
    """The same weights: each image is scored once, and every count is equal."""
    evaluate.main([f"ckpt={multirun[4]}/checkpoints/best.ckpt", f"out={tmp_path}", "extra_metrics=true"])
    together, alone = (np.load(run / "confusion.npz") for run in (multirun[4], tmp_path))
    assert len(together["names"]) == 5
    np.testing.assert_array_equal(together["names"], alone["names"])
    np.testing.assert_array_equal(together["matrices"], alone["matrices"])
    together, alone = result(multirun[4]), result(tmp_path)
    assert together["scores"] == alone["scores"]
    assert together["boundary"]["trimap"] == alone["boundary"]["trimap"]
    assert together["calibration"]["pixels"] == alone["calibration"]["pixels"]


def disagreement(one, other):
    """The share of labelled pixels that two runs predict differently, from the counts of each image."""
    matrices = [np.load(run / "confusion.npz")["matrices"].astype(int) for run in (one, other)]
    np.testing.assert_array_equal(*(each.sum((1, 2)) for each in matrices))
    return np.abs(matrices[0] - matrices[1]).sum() / 2 / matrices[0].sum()


def test_trained_by_two_processes_or_by_one_it_predicts_the_same(one, multirun):
    assert disagreement(one, multirun[4]) < 1e-3  # a rounding difference may flip a pixel on a border


def test_loss_curves_agree(one, multirun):
    assert len(losses(one)) == UPDATES
    assert losses(one) == pytest.approx(losses(multirun[4]), rel=1e-5)


@pytest.mark.slow
def test_weights_in_shards_train_as_whole_ones(settings, one, tmp_path):
    """The checkpoint is that of one process: `evaluate` reads it."""
    sharded = tmp_path / "sharded"
    arguments = ["trainer=fsdp", "trainer.devices=2", "trainer.precision=32-true", "data.batch_size=4"]
    train.main([*settings, *arguments, f"hydra.run.dir={sharded}"])
    assert losses(sharded) == pytest.approx(losses(one), rel=1e-5)
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, sharded)]
    assert states[0]["state_dict"].keys() == states[1]["state_dict"].keys()
    for key, value in states[0]["state_dict"].items():
        torch.testing.assert_close(states[1]["state_dict"][key], value, atol=1e-4, rtol=1e-3, msg=key)
    evaluate.main([f"ckpt={sharded}/checkpoints/best.ckpt", f"out={tmp_path / 'scores'}"])
    assert disagreement(one, sharded) < 1e-3
    assert disagreement(sharded, tmp_path / "scores") == 0


@pytest.mark.slow
def test_two_runs_of_two_processes_at_once(settings, tmp_path):
    """Each finds a port of its own."""
    command = [sys.executable, str(Path(__file__).parents[2] / "train.py"), *settings, "trainer.devices=2"]
    command += ["data.batch_size=4"]
    runs = [subprocess.Popen([*command, f"hydra.run.dir={tmp_path / name}"]) for name in ("a", "b")]
    assert [run.wait() for run in runs] == [0, 0]
    assert [result(tmp_path / name)["steps"] for name in ("a", "b")] == [UPDATES, UPDATES]
