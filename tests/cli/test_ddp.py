"""Two processes on gloo against one, with the same total batch size."""

import csv

import numpy as np
import pytest


@pytest.fixture(scope="module")
def runs(train_run, tmp_path_factory):
    """(one process, two processes): five validation images, so that the shards differ in length."""
    overrides = [
        "model.dropout=0",
        "data.val.length=5",
        "data.eval_batch_size=1",
        "trainer.max_epochs=1",
        "trainer.log_every_n_steps=1",
    ]
    one = train_run(tmp_path_factory.mktemp("one"), *overrides)
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    two = train_run(tmp_path_factory.mktemp("two"), *ddp, *overrides)
    return one, two


def test_each_image_is_scored_once_and_equally(runs, result_of):
    one, two = (np.load(run / "confusion.npz") for run in runs)
    np.testing.assert_array_equal(one["names"], two["names"])
    assert len(one["names"]) == 5
    np.testing.assert_array_equal(one["matrices"].sum((1, 2)), two["matrices"].sum((1, 2)))
    disagreeing = np.abs(one["matrices"] - two["matrices"]).sum() / 2 / one["matrices"].sum()
    assert disagreeing < 1e-3  # a rounding difference may flip a pixel on a border
    scores = [result_of(run)["scores"] for run in runs]
    assert scores[0]["miou"] == pytest.approx(scores[1]["miou"], abs=1e-3)


def test_loss_curves_agree(runs):
    curves = []
    for run in runs:
        with (run / "metrics.csv").open() as file:
            curves.append([float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]])
    assert len(curves[0]) == 2
    # Scenes have no ignored pixels, so the mean of the shards' losses is the loss of the whole batch.
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


def test_an_error_in_a_process_is_the_runs_message(tiny, tmp_path, capsys):
    from atrous.cli import train

    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    with pytest.raises(SystemExit):
        train.main([*tiny, *ddp, f"paths.runs={tmp_path}", "data.batch_size=5"])
    error = capsys.readouterr().err
    assert "batch_size=5" in error
    assert "2 devices" in error
