"""A multirun that is started again does only what is left to do."""

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
from kill_and_resume import start, wait
from omegaconf import OmegaConf

import atrous.engine.build  # noqa: F401 - before processes are forked off
from atrous.cli import train
from atrous.errors import ConfigError
from atrous.runs.record import RunRecord
from atrous.system.locks import FolderLock
from atrous.worker import run_saved

SHORT = ["trainer.max_steps=2", "trainer.val_check_interval=2", "data.train.length=8", "data.num_workers=0"]


def result(folder):
    return json.loads((folder / "result.json").read_text())


def finished(study):
    return [path.parent for path in study.glob("*/result.json") if result(path.parent)["status"] == "finished"]


def times(folder):
    """When each file of a run folder was written last."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def jobs(monkeypatch):
    """The seeds of the jobs that were run, whose training is left out; a seed of 13 fails."""
    seeds = []

    def run(config, folder, *_):
        seeds.append(config["seed"])
        record = RunRecord(folder, config, resumed=config["resume"] == "auto")
        if config["seed"] == 13:
            record.update(status="failed", error="unlucky")
            record.release()
            raise RuntimeError("unlucky")
        record.update(status="finished", scores={"miou": config["seed"] / 100}, steps=7)
        record.release()
        return config["seed"] / 100

    monkeypatch.setattr("atrous.engine.fit.run", run)
    return seeds


def test_a_failed_job_stops_no_other_and_is_gone_on_with_alone(tiny, tmp_path, capsys):
    arguments = [
        "-m",
        *tiny,
        f"paths.runs={tmp_path}",
        "trainer.max_epochs=1",
        "study=rates",
        "optimizer.lr=0.01,1e30,0.02",
    ]
    with pytest.raises(SystemExit) as left:
        train.main(arguments)
    assert left.value.code == 1
    printed = capsys.readouterr()
    assert "1 of 3 jobs did not finish:\n  lr-1e+30-" in printed.err
    assert "the loss is not finite" in printed.err
    first, failed, last = (next((tmp_path / "rates").glob(f"lr-{rate}-*")) for rate in ("0.01", "1e+30", "0.02"))
    for folder in (first, last):
        assert result(folder)["status"] == "finished"
        score = result(folder)["scores"]["miou"]
        assert re.search(rf"{folder.name} +│ finished +│ {score:.4f} +│ 2 ", printed.out)
    assert re.search(rf"{re.escape(failed.name)} +│ failed ", printed.out)
    before = [times(first), times(last)]
    with pytest.raises(SystemExit):
        train.main(arguments)
    assert [times(first), times(last)] == before
    assert len(result(failed)["resumed"]) == 1
    assert "3 jobs, 2 finished already" in capsys.readouterr().out


def kill_study(runs, arguments, rng, kills):
    """Starts a study and kills it `kills` times at a random moment. What was finished then must stay as it was."""
    study = runs / "sweep"
    for _ in range(kills):
        done = len(finished(study))
        process = start(runs, *arguments)
        while len(finished(study)) == done:  # a job more
            assert os.waitpid(process, os.WNOHANG) == (0, 0), f"it has ended, see {runs / 'output.txt'}"
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))  # a job takes half a second or more
        os.kill(process, signal.SIGKILL)
        assert wait(process) == 128 + signal.SIGKILL, "it had ended"
        kept = {folder: times(folder) for folder in finished(study)}
        yield kept


def check_killed(runs, arguments, seeds, kills):
    kept = {}
    for now in kill_study(runs, arguments, random.Random(0), kills):
        assert {folder: now[folder] for folder in kept} == kept
        kept = now
    assert 0 < len(kept) < len(seeds)
    assert wait(start(runs, *arguments)) == 0
    assert {folder: times(folder) for folder in kept} == kept
    results = [result(folder) for folder in finished(runs / "sweep")]
    assert sorted(found["provenance"]["seed"] for found in results) == seeds
    assert {found["steps"] for found in results} == {2}


def test_killed_between_jobs_or_in_one_it_goes_on(tmp_path):
    check_killed(tmp_path, [*SHORT, "seed=0,1,2", "-m"], [0, 1, 2], kills=1)


@pytest.mark.slow
def test_twelve_jobs_killed_again_and_again_end_once(tmp_path):
    check_killed(tmp_path / "killed", [*SHORT, "seed=range(12)", "-m"], list(range(12)), kills=4)
    assert wait(start(tmp_path / "straight", *SHORT, "seed=range(12)", "-m")) == 0
    killed, straight = (
        {folder.name: result(folder)["scores"] for folder in finished(tmp_path / name / "sweep")}
        for name in ("killed", "straight")
    )
    assert killed == straight


def test_the_grid_of_an_experiment(tmp_path, jobs, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "seeds.yaml").write_text(
        "# @package _global_\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 1,2\n      model.dilations: '[2,4,6],[3,6,9]'\n"
    )
    arguments = ["experiment=seeds", f"paths.runs={tmp_path}/runs", f"hydra.searchpath=[file://{tmp_path}]"]
    train.main(arguments)
    folders = finished(tmp_path / "runs" / "seeds")
    names = sorted(re.sub("-[0-9a-f]{8}$", "", folder.name) for folder in folders)
    assert names == [
        "seed-1_dilations-2-4-6",
        "seed-1_dilations-3-6-9",
        "seed-2_dilations-2-4-6",
        "seed-2_dilations-3-6-9",
    ]
    assert jobs == [1, 1, 2, 2]
    capsys.readouterr()
    train.main(
        [*arguments, "seed=2,5", "model.dilations=[3,6,9]"]
    )  # the command line's values instead, one of them new
    assert jobs == [1, 1, 2, 2, 5]
    printed = capsys.readouterr().out
    assert "2 jobs, 1 finished already" in printed
    assert re.search(r"│ finished before │ 0.0200 │ 7 ", printed)
    assert re.search(r"│ finished        │ 0.0500 │ 7 ", printed)


def test_what_differs_in_nothing_that_counts_is_one_job(tmp_path, jobs):
    train.main(["-m", f"paths.runs={tmp_path}", "data.num_workers=0,1", "seed=3,4"])
    assert jobs == [3, 4]


def test_other_settings_are_other_jobs(tmp_path, jobs):
    for epochs in (1, 2, 1):
        train.main(["-m", f"paths.runs={tmp_path}", f"trainer.max_epochs={epochs}", "seed=3"])
    assert jobs == [3, 3]


def test_folders_have_short_plain_names(tmp_path, jobs):
    long = "[" + ",".join(map(str, range(1, 60))) + "]"
    train.main(["-m", f"paths.runs={tmp_path}", f"model.dilations=[1,2],{long}", "name='a b,c=[d]',e"])
    names = [folder.name for folder in (tmp_path / "sweep").iterdir()]
    assert len(names) == 2  # the name is not counted
    assert all(re.fullmatch(r"[\w.+-]{1,70}", name) for name in names), names


def test_all_failures_are_told_the_first_one_first(tmp_path, jobs, capsys):
    with pytest.raises(SystemExit) as left:
        train.main(["-m", f"paths.runs={tmp_path}", "data.batch_size=0,4", "seed=13,1"])
    assert left.value.code == 1
    assert jobs == [13, 1]
    told = capsys.readouterr().err
    assert "3 of 4 jobs did not finish" in told
    reasons = re.findall(r"^  (\S+)-[0-9a-f]{8}: (.{20})", told, re.MULTILINE)
    assert [name for name, _ in reasons] == ["batch_size-0_seed-13", "batch_size-0_seed-1", "batch_size-4_seed-13"]
    impossible = [next((tmp_path / "sweep").glob(f"{name}-*")) for name, _ in reasons[:2]]
    for folder in impossible:
        assert result(folder)["status"] == "failed"
        assert "data.batch_size=0 is impossible" in result(folder)["error"]


def test_a_job_of_another_process_is_left_to_it(tmp_path, jobs, capsys):
    arguments = ["-m", f"paths.runs={tmp_path}", "seed=1,2"]
    train.main(arguments)
    folder = next((tmp_path / "sweep").glob("seed-1-*"))
    running = {**result(folder), "status": "running"}
    (folder / "result.json").write_text(json.dumps(running))
    ready, tell = os.pipe()
    process = os.fork()
    if process == 0:
        FolderLock(folder)
        os.write(tell, b".")
        signal.pause()
    try:
        os.read(ready, 1)
        with pytest.raises(SystemExit):
            train.main(arguments)
    finally:
        os.kill(process, signal.SIGKILL)
        wait(process)
    assert "is still going on in another process" in capsys.readouterr().err
    assert result(folder) == running
    train.main(arguments)
    assert jobs == [1, 2, 1]


def test_what_depends_on_the_environment_is_resolved_where_the_job_runs(tmp_path, monkeypatch):
    seen = []

    def run(config, folder, *_):
        seen.append((config, OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")), folder))
        raise ConfigError("that is all")

    monkeypatch.setattr("atrous.engine.fit.run", run)
    monkeypatch.setenv("XDG_CACHE_HOME", "/login")
    monkeypatch.setenv("WORKERS", "3")
    with pytest.raises(SystemExit):
        train.main(["-m", f"paths.runs={tmp_path}", "data.num_workers='${oc.decode:${oc.env:WORKERS}}'", "seed=1"])
    config, written, folder = seen[0]
    assert config["paths"]["cache"] == "/login/atrous"
    assert config["data"]["num_workers"] == 3
    assert written["paths"]["cache"].startswith("${oc.env:XDG_CACHE_HOME,")
    assert written["data"]["num_workers"] == "${oc.decode:${oc.env:WORKERS}}"
    assert written["data"]["val"] == config["data"]["val"]
    assert written["callbacks"]["best"]["dirpath"] == f"{folder}/checkpoints"
    assert written["resume"] == "auto"
    monkeypatch.setenv("XDG_CACHE_HOME", "/node")
    monkeypatch.setenv("WORKERS", "5")
    with pytest.raises(ConfigError):
        run_saved(folder)
    assert (seen[1][0]["paths"]["cache"], seen[1][0]["data"]["num_workers"]) == ("/node/atrous", 5)


def test_intervals_are_for_searches(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["-m", f"paths.runs={tmp_path}", "optimizer.lr=interval(0,1)"])
    assert "optimizer.lr=interval(0,1)" in (told := capsys.readouterr().err)
    assert "hydra/sweeper=search" in told


def test_another_sweepers_jobs_have_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("instead_of_training")))
    train.main(["-m", "hydra/sweeper=basic", "hydra/launcher=local", f"hydra.sweep.dir={tmp_path}", "seed=1,2"])
    scores = {path.parent.name: result(path.parent)["scores"]["miou"] for path in tmp_path.rglob("result.json")}
    assert scores == {"0": 0.01, "1": 0.02}


def test_jobs_that_max_time_ended_go_on_where_they_get_more(tiny, tmp_path, monkeypatch, capsys):
    def run(config, folder, *_):
        record = RunRecord(folder, config, resumed=config["resume"] == "auto")
        limit = config["trainer"]["max_time"]
        record.end("finished", scores={"miou": 0.5}, steps=7, out_of_time=limit if limit != "00:03:00:00" else None)
        record.release()
        return 0.5

    monkeypatch.setattr("atrous.engine.fit.run", run)
    words = ["-m", *tiny, f"paths.runs={tmp_path}", "study=s", "seed=0,1"]
    for limit, before in (
        ("00:01:00:00", 0),
        ("00:01:00:00", 2),
        ("00:02:00:00", 0),
        ("00:03:00:00", 0),
        ("00:03:00:00", 2),
    ):
        train.main([*words, f"trainer.max_time={limit}"])
        assert f"2 jobs, {before} finished already" in capsys.readouterr().out
        assert len(finished(tmp_path / "s")) == 2
