"""One process of a run, from its saved config; that it trains as the other ways do is held by tests/studies."""

import json
import shutil
import subprocess
import sys

import pytest

from atrous.worker import run_saved


def times(folder):
    """But of what this process itself may still write to: the log of the training before."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "train.log"))
    return {path: path.stat().st_mtime_ns for path in files}


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_finished_run_is_left_as_it_is(finished_run):
    before = times(finished_run)
    assert run_saved(finished_run) == result(finished_run)["scores"]["miou"]
    assert times(finished_run) == before


def test_a_copied_run_trains_where_it_lies(finished_run, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(finished_run / "config.yaml", copy)
    before = times(finished_run)
    run_saved(copy)
    assert times(finished_run) == before
    assert (copy / "checkpoints" / "best.ckpt").is_file()
    assert result(copy)["scores"] == result(finished_run)["scores"]
    assert (copy / "metrics.csv").read_text() == (finished_run / "metrics.csv").read_text()


def test_runs_below_a_link_or_dots_are_scored(train_run, tmp_path):
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for runs in (tmp_path / "link" / "a", tmp_path / "real" / "inner" / ".." / "b"):
        folder = train_run(runs, "trainer.max_epochs=1")
        assert result(folder)["best_checkpoint"] == "checkpoints/best.ckpt"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["nowhere"], ["."]])
def test_what_is_no_run_folder_gets_the_usage(arguments, tmp_path):
    command = [sys.executable, "-m", "atrous.worker", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert "usage: python -m atrous.worker RUN_FOLDER" in ended.stderr
    assert "Traceback" not in ended.stderr
