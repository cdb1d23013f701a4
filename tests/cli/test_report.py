"""`report`: from run folders to files, through the command."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from report.study_folders import write_run

from atrous.cli import report
from atrous.config.command_line import command_line
from atrous.config.compose import CONF_DIR, prepare
from atrous.errors import ConfigError, DataError
from atrous.report.read import read_study
from atrous.report.write import write_report

FILES = {"report.html", "table.md", "table.tex", "table.csv", "runs.csv"}


@pytest.fixture
def runs(tmp_path):
    """Two rates with three seeds each; 0.1 is better."""
    for rate, accuracy in ((0.1, 0.85), (0.2, 0.75)):
        for seed in range(3):
            write_run(
                tmp_path / "runs" / f"{rate}-{seed}", accuracy=accuracy, seed=seed, settings={"optimizer.lr": rate}
            )
    return tmp_path / "runs"


def reported(runs, out, resamples=100):
    """The study whose report is written."""
    study = read_study([runs], resamples=resamples)
    write_report(study, out, roots=[runs], command="")
    return study


def rows_of(path):
    return list(csv.DictReader(path.open()))


def test_the_files_and_what_they_say(runs, tmp_path, capsys):
    report.main([str(runs), f"out={tmp_path / 'out'}", "baseline=lr=0.2", "resamples=500"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    better, baseline = rows_of(tmp_path / "out" / "table.csv")
    assert (better["optimizer.lr"], better["verdict"]) == ("0.1", "better")
    assert baseline["verdict"] == "baseline"
    gap = float(better["miou"]) - float(baseline["miou"])
    assert float(better["difference"]) == pytest.approx(gap)
    assert 0 < float(better["difference_low"]) < gap < float(better["difference_high"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"python -m atrous report {runs} out={tmp_path / 'out'} baseline=lr=0.2 resamples=500" in page
    assert "500 paired resamples" in page
    assert '<a href="./../runs/0.1-0/">' in page
    printed = capsys.readouterr().out
    assert f"+{gap:.3f}" in printed
    assert "written to" in printed


def test_the_same_runs_give_the_same_tables(runs, tmp_path):
    for name in ("a", "b"):
        report.main([str(runs), f"out={tmp_path / name}"])
    for name in FILES - {"report.html"}:
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()


def test_scores_of_different_splits_are_not_compared(runs, tmp_path):
    write_run(runs / "other", settings={"optimizer.lr": 0.3}, protocol={"split": "test"})
    (write_run(runs / "bare", settings={"optimizer.lr": 0.4}) / "confusion.npz").unlink()
    study = reported(runs, tmp_path / "out", 100)
    words = {group.values[0]: (group.verdict, group.reason) for group in study.groups}
    assert words["0.3"][0] == words["0.4"][0] == "not comparable"
    assert "split: val / test" in words["0.3"][1]
    assert "no confusion.npz" in words["0.4"][1]
    assert "split: val / test" in (tmp_path / "out" / "report.html").read_text()


def test_a_run_that_nobody_writes_was_killed(runs, tmp_path):
    for name in ("gone", "going"):
        write_run(runs / name, status="running")
        (runs / name / ".lock").touch()
    hold = (
        "import fcntl, os, sys; file = os.open(sys.argv[1], os.O_RDWR); fcntl.lockf(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    lock = str(runs / "going" / ".lock")
    with subprocess.Popen(
        [sys.executable, "-c", hold, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        study = reported(runs, tmp_path / "out", 10)
        process.stdin.close()
    assert {run.folder.name: run.status for run in study.unfinished} == {"gone": "killed", "going": "running"}
    assert "no process is writing it any more" in (tmp_path / "out" / "report.html").read_text()


def test_the_report_may_lie_among_the_runs(runs):
    for _ in range(2):
        study = reported(runs, runs / "report", 10)
    assert (len(study.runs), study.unread) == (6, [])


def test_names_that_are_no_text(runs, tmp_path):
    (runs / "0.1-0").rename(runs / os.fsdecode(b"\xff\xfe"))
    reported(runs, tmp_path / "out", 10)
    assert '<a href="./../runs/%FF%FE/">' in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], ConfigError, "report got no folder; give one or more"),
        (["RUNS/nowhere"], DataError, "no folder .*/nowhere. Give folders that hold run folders"),
        (["RUNS/0.1-0/samples"], DataError, "no run folder in .*: none below it holds a result.json"),
        (["RUNS", "resample=3"], ConfigError, "no setting 'resample=3'; choose from out=, baseline="),
        (["RUNS", "--fast"], ConfigError, "no setting '--fast'"),
        (
            ["RUNS", "resamples=0"],
            ConfigError,
            "resamples=0 is impossible; give a whole number from 1 on",
        ),
        (["RUNS", "seed=x"], ConfigError, "seed=x is impossible; give a whole number from 0 on, such as 'seed=0'"),
        (["RUNS", "baseline=lr=7"], ConfigError, "baseline=lr=7 fits 0 of the 2 settings"),
    ],
)
def test_mistakes_are_told(runs, tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)
    (runs / "0.1-0" / "samples").mkdir(exist_ok=True)
    with pytest.raises(error, match=message):
        report.main([argument.replace("RUNS", str(runs)) for argument in arguments])
    assert not (tmp_path / "report").exists()


def test_a_training_s_folder(finished_run, tmp_path, result_of):
    study = reported(finished_run, tmp_path)
    (group,) = study.groups
    assert group.score.mean == result_of(finished_run)["scores"]["miou"]
    assert list(group.classes) == result_of(finished_run)["per_class"]["names"]
    page = (tmp_path / "report.html").read_text()
    assert "val/miou" in page
    assert page.count("<article class=sample>") == len(list((finished_run / "samples").glob("*.png")))


def test_no_torch_is_imported(runs, tmp_path):
    code = (
        "import sys; from atrous.cli.main import main; main();"
        "assert not {'torch', 'lightning', 'matplotlib', 'cv2'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "report", str(runs), f"out={tmp_path / 'out'}", "resamples=10"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["train.py", "a=1", "b=[1,2]"], "python train.py a=1 'b=[1,2]'"),
        (["/home/me/train.py"], "python /home/me/train.py"),  # in another folder
        (["atrous train", "seed=1"], "python -m atrous train seed=1"),
    ],
)
def test_a_command_can_be_typed_again(monkeypatch, argv, expected):
    monkeypatch.setattr(sys, "argv", argv)
    assert command_line() == expected


def test_the_command_of_a_multirun_s_job_runs_that_job(monkeypatch):
    prepare()
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", "model=unet"])
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        overrides = ["seed=1", "model=unet", "hydra.mode=MULTIRUN"]
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(cfg)
    assert command_line() == "python train.py seed=1 model=unet"
