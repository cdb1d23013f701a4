"""`hydra/launcher=local`: jobs at once, each with its share of the machine, whatever comes of the others."""

import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from kill_and_resume import TINY, differences
from rich.console import Console

from atrous.cli import train
from atrous.errors import ConfigError
from atrous.loggers.csv_logger import CSVLogger
from atrous.runs.history import TAIL
from atrous.runs.run import RESULT
from atrous.studies import job_table
from atrous.studies.job_table import HistoryTail, JobTable
from atrous.studies.local import Share, deal, how_many
from atrous.studies.study import Job

CORES = len(os.sched_getaffinity(0))
ENDLESS = ["trainer.max_epochs=100000", "trainer.check_val_every_n_epoch=100000"]


def result(folder):
    return json.loads((folder / "result.json").read_text())


def folder_of(study, seed):
    (folder,) = study.glob(f"seed-{seed}-*")
    return folder


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def run(tmp_path, *overrides):
    train.main(["-m", "hydra/launcher=local", f"paths.runs={tmp_path}", "trainer=cpu", *overrides])


@pytest.mark.parametrize(
    ("devices", "cores", "gpus", "expected"),
    [
        ([1], 2, 0, 1),
        ([1], 16, 0, 8),
        ([2, 1], 16, 0, 4),
        ([1], 1, 0, 1),
        ([1], 16, 4, 4),
        ([2], 16, 4, 2),
        ([3], 16, 4, 1),
        ([8], 16, 4, 1),
        ([None], 16, 4, 1),
        ([None], 16, 0, 8),
    ],
)
def test_how_many_at_once(devices, cores, gpus, expected):
    assert how_many(None, devices=devices, cores=cores, gpus=gpus) == expected
    assert how_many(3, devices=devices, cores=cores, gpus=gpus) == 3


@pytest.mark.parametrize("jobs", [0, -1, "two", 1.5])
def test_an_impossible_number_is_refused(jobs):
    with pytest.raises(ConfigError, match=f"hydra.launcher.jobs={jobs} is impossible; give a whole number from 1 on"):
        how_many(jobs, devices=[1], cores=4, gpus=0)


def test_what_each_gets():
    assert deal(2, devices=[1], cores=[0, 1, 4, 5, 6], gpus=[]) == [Share((0, 1)), Share((4, 5))]
    assert deal(3, devices=[1], cores=[0, 1], gpus=[]) == [Share((0,)), Share((1,)), Share((0,))]
    assert [share.gpus for share in deal(2, devices=[2], cores=[0], gpus="abcd")] == [("a", "b"), ("c", "d")]
    assert [share.gpus for share in deal(3, devices=[1], cores=[0], gpus="ab")] == [("a",), ("b",), ("a",)]
    assert [share.gpus for share in deal(1, devices=[None], cores=[0], gpus="ab")] == [("a", "b")]
    assert [share.gpus for share in deal(2, devices=[None], cores=[0], gpus="abcd")] == [("a", "b"), ("c", "d")]
    assert [share.gpus for share in deal(1, devices=[3], cores=[0], gpus="ab")] == [("a", "b")]


def test_named_gpus_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "trainer.devices=[0,2]", "seed=1,2")
    assert "trainer.devices=[0, 2], but hydra/launcher=local deals the GPUs out itself" in capsys.readouterr().err
    assert not list(tmp_path.rglob("result.json"))


def test_jobs_get_equal_shares_and_stop_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MARK", "as it is now")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("instead_of_training")))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        run(tmp_path, f"hydra.launcher.jobs={CORES}", "seed=13,14,15,1,2,3")
    assert left.value.code == 1
    told = {}
    for seed in (1, 2, 3):
        folder = folder_of(tmp_path / "sweep", seed)
        assert "said by" in (folder / "console.log").read_text()
        told[seed] = json.loads((folder / "told.json").read_text())
        assert len(told[seed]["cores"]) == told[seed]["threads"] == 1
        assert told[seed]["workers"] == multiprocessing.get_start_method()
        assert (told[seed]["mark"], told[seed]["here"]) == ("as it is now", str(tmp_path))
        assert result(folder)["command"].endswith(f" paths.runs={tmp_path} trainer=cpu seed={seed}")
    assert len({job["process"] for job in told.values()} | {os.getpid()}) == 4
    assert "unlucky" in (folder_of(tmp_path / "sweep", 13) / "train.log").read_text()
    assert len(os.sched_getaffinity(0)) == CORES
    printed = capsys.readouterr()
    assert "said by" not in printed.out + printed.err
    assert "seed-1-" in printed.out
    assert ": finished, mIoU 0.0100, after " in printed.out
    reasons = printed.err.partition("3 of 6 jobs did not finish:\n")[2].splitlines()
    assert [reason.split(":")[0].rpartition("-")[0].strip() for reason in reasons[:3]] == [
        "seed-13",
        "seed-14",
        "seed-15",
    ]
    assert reasons[0].endswith(": unlucky")
    assert "its process was killed (SIGKILL), as the system does where memory runs out; " in reasons[1]
    assert f"its process ended with status 3; {folder_of(tmp_path / 'sweep', 15) / 'console.log'}" in reasons[2]


def test_the_weights_are_those_of_the_basic_launcher(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    arguments = ["-m", *TINY, "trainer.max_epochs=1", "data.num_workers=1", "seed=0"]
    try:
        train.main([*arguments, f"paths.runs={tmp_path}/basic"])
    finally:
        torch.set_num_threads(threads)
    capsys.readouterr()
    train.main([*arguments, f"paths.runs={tmp_path}/local", "hydra/launcher=local", "hydra.launcher.jobs=2"])
    printed = capsys.readouterr().out
    basic, local = (next(tmp_path.glob(f"{name}/sweep/*/{RESULT}")).parent for name in ("basic", "local"))
    assert differences(basic, local) == []
    assert f"{local.name}: finished, mIoU {result(local)['scores']['miou']:.4f}" in printed
    assert "epoch 1/1" in (local / "console.log").read_text()


def test_a_signal_is_passed_on_and_every_job_saves(tmp_path, tiny):
    study = tmp_path / "sweep"

    def stop():
        wait_for(lambda: len(list(study.glob("*/metrics.csv"))) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(SystemExit) as left:
        train.main(
            [
                "-m",
                *tiny,
                *ENDLESS,
                f"paths.runs={tmp_path}",
                "seed=1,2,3",
                "hydra/launcher=local",
                "hydra.launcher.jobs=2",
            ]
        )
    thread.join()
    assert left.value.code == 128 + signal.SIGTERM
    for seed in (1, 2):
        assert result(folder_of(study, seed))["status"] == "interrupted"
        assert (folder_of(study, seed) / "checkpoints" / "last.ckpt").exists()
    assert not (folder_of(study, 3) / "result.json").exists()


@pytest.mark.slow
def test_jobs_end_with_a_launcher_that_is_killed_and_are_gone_on_with(tmp_path):
    study = tmp_path / "sweep"
    command = [sys.executable, "-m", "atrous", "train", "-m", *TINY, f"paths.runs={tmp_path}", "seed=range(6)"]
    command += [
        "trainer.max_steps=60",
        "trainer.val_check_interval=30",
        "hydra/launcher=local",
        "hydra.launcher.jobs=2",
    ]

    def finished():
        return {path.parent for path in study.glob("*/result.json") if result(path.parent)["status"] == "finished"}

    def held():
        return [path for path in study.glob("*/result.json") if result(path.parent)["status"] == "running"]

    def in_the_middle():
        histories = [path.with_name("metrics.csv") for path in held()]
        return any(path.exists() and 2 < len(path.read_text().splitlines()) < 40 for path in histories)

    launcher = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(finished, 300)
    wait_for(in_the_middle)
    launcher.kill()
    launcher.wait()
    kept = {folder: (folder / "result.json").stat().st_mtime_ns for folder in finished()}
    wait_for(lambda: not held(), 60)  # they have saved, or were about to end
    kept |= {folder: (folder / "result.json").stat().st_mtime_ns for folder in finished()}
    assert 0 < len(kept) < 6
    subprocess.run(command, check=True, timeout=600)
    assert len(finished()) == 6
    assert {folder: (folder / "result.json").stat().st_mtime_ns for folder in kept} == kept
    assert {result(folder)["steps"] for folder in finished()} == {60}
    assert any("resumed" in result(folder) for folder in finished())


def test_how_far_a_run_is_by_its_history(tmp_path):
    epochs, steps = (
        HistoryTail(tmp_path, {"trainer": {"max_epochs": 4, "max_steps": -1}}),
        HistoryTail(tmp_path, {"trainer": {"max_epochs": 4, "max_steps": 40}}),
    )
    assert (epochs.share, epochs.place, str(epochs.score)) == (0, "", "nan")
    history = CSVLogger(folder=str(tmp_path))
    history.log_metrics({"epoch": 0, "train/loss": 2.0}, step=4)
    history.log_metrics({"epoch": 0, "val/miou": 0.5}, step=9)
    history.log_metrics({"epoch": 1, "val/miou": 0.25}, step=19)
    history.log_metrics({"epoch": 2, "train/loss": 1.0}, step=29)
    for tail, share, place in ((epochs, 0.5, "epoch 3/4"), (steps, 0.75, "step 30/40")):
        tail.read()
        assert (tail.share, tail.place, tail.score, tail.best) == (share, place, 0.25, 0.5)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3,,1.0,\n" * TAIL)  # more than is read
    history.log_metrics({"epoch": 3, "val/miou": 0.75}, step=20000)
    epochs.read()
    assert (epochs.share, epochs.place, epochs.score, epochs.best) == (1, "epoch 4/4", 0.75, 0.75)


def test_a_terminal_shows_the_jobs_that_run(tmp_path, monkeypatch):
    shown = io.StringIO()
    jobs = [Job(tmp_path / name, []) for name in ("a", "b", "c")]
    CSVLogger(folder=str(jobs[0].folder)).log_metrics({"epoch": 1, "val/miou": 0.5}, step=9)
    monkeypatch.setattr(job_table, "Console", lambda: Console(file=shown, force_terminal=True, width=100))
    with JobTable(jobs, [{"trainer": {"max_epochs": 4}}] * 3, cores=2, at_once=2) as table:
        table.started(0)
        table.started(1)
        table.show()
        jobs[1].error = "no \x1b[31mluck"
        table.ended(1)
        table.started(2)
        table.show()
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.getvalue())
    assert "3 jobs, 2 at once on 2 cores each" in text
    assert re.search(r"a +[━╸╺ ]+ +epoch 2/4 +0.500 \(best 0.500\) +0 s", text)
    assert "2 running, 1 waiting" in text
    assert r"b: failed: no \x1b[31mluck" in text
    assert "1 failed, 2 running" in text
