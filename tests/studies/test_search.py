"""A search draws by what came of the earlier trials, does nothing twice, and gives up what does badly."""

import csv
import itertools
import json
import math
import os
import re
import signal
import sys
import time
from functools import partial

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from kill_and_resume import start, wait

import atrous.engine.build  # noqa: F401 - before processes are forked off
from atrous.cli import train
from atrous.config.jobs import JobConfig
from atrous.engine import fit
from atrous.errors import ConfigError, TrainingError
from atrous.runs.record import RunRecord
from atrous.runs.run import checked_run
from atrous.studies import search
from atrous.studies import torchrun as launch
from atrous.studies.study import Multirun
from atrous.system.locks import FolderLock
from atrous.system.signals import Interrupted

optuna = pytest.importorskip("optuna", reason="a search needs the extra: search")

RATE = "optimizer.lr=tag(log,interval(1e-4,1))"


def searched(runs, *overrides, trials):
    train.main(["-m", "hydra/sweeper=search", f"paths.runs={runs}", f"hydra.sweeper.trials={trials}", *overrides])


def rows(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def result(folder):
    return json.loads((folder / "result.json").read_text())


def score_of(rate):
    """Best at 0.01, 0.1 less for each power of ten beside it."""
    return 0.8 - 0.1 * abs(math.log10(rate) + 2)


def write_scores(folder, scores):
    """metrics.csv of validations with these scores, and a row of the training."""
    lines = [f"{step},,{score}" for step, score in enumerate(scores)]
    (folder / "metrics.csv").write_text("\n".join(["step,train/loss,val/miou", "0,0.7,", *lines, ""]))


@pytest.fixture
def jobs(monkeypatch):
    """The rates that were trained with; the training itself is left out."""
    rates = []

    def run(config, folder, *_):
        rates.append(config["optimizer"]["lr"])
        record = RunRecord(folder, config, resumed=config["resume"] == "auto")
        write_scores(folder, [score_of(rates[-1]) * share for share in (0.5, 1, 0.9)])
        record.update(status="finished", scores={"miou": 0.123}, steps=7)  # of another split
        record.release()
        return 0.123

    monkeypatch.setattr("atrous.engine.fit.run", run)
    return rates


def test_trials_are_told_and_the_best_is_a_command(tmp_path, jobs, capsys):
    searched(tmp_path, RATE, "optimizer=sgd", "seed=3", trials=3)
    found = rows(tmp_path / "sweep")
    assert [float(row["optimizer.lr"]) for row in found] == jobs
    assert len(set(jobs)) == 3
    assert all(1e-4 <= rate <= 1 and rate == float(f"{rate:.4g}") for rate in jobs)
    assert [float(row["miou"]) for row in found] == pytest.approx([score_of(rate) for rate in jobs])
    best = max(jobs, key=score_of)
    printed = capsys.readouterr().out
    assert "Trial" not in printed  # Optuna's own lines
    assert f"best: trial {jobs.index(best) + 1}, val mIoU {score_of(best):.4f}" in printed
    command = re.search(r"^  python \S+ train .*$|^  python .*$", printed, re.MULTILINE)[0]
    assert command.split()[-3:] == ["optimizer=sgd", "seed=3", f"optimizer.lr={best}"]
    assert re.search(rf"│ {jobs.index(best) + 1} +│ {best} +│ {score_of(best):.4f} +│ best ", printed)
    for row in found:
        folder = tmp_path / "sweep" / row["folder"]
        assert re.fullmatch(rf"lr-{row['optimizer.lr']}-[0-9a-f]{{8}}", folder.name)
        assert result(folder)["provenance"]["seed"] == 3


def test_an_experiments_space_and_its_command(tmp_path, jobs, capsys):
    train.main(["experiment=search_scenes", f"paths.runs={tmp_path}", "hydra.sweeper.trials=1", "optimizer.lr=0.05"])
    (row,) = rows(tmp_path / "search_scenes")
    assert jobs == [0.05]
    assert list(row)[1:3] == ["optimizer.weight_decay", "loss"]  # the rate is fixed now
    (command,) = re.findall(r"^  (python .*)$", capsys.readouterr().out, re.MULTILINE)
    train.main([*command.split()[command.split().index("train") + 1 :], f"paths.runs={tmp_path / 'alone'}"])
    (alone,) = (tmp_path / "alone").rglob("result.json")
    assert result(alone.parent)["fingerprint"] == result(tmp_path / "search_scenes" / row["folder"])["fingerprint"]


class Jobs:
    """A launcher whose jobs do no more than what a function says, in searches that compose no configs.

    Args:
        job: Gets a job's values and run folder; returns its status and scores, or raises.
    """

    def __init__(self, job):
        self.job = job
        self.batches = []

    def launch(self, jobs, first):
        self.batches.append([])
        for job in jobs:
            values = dict(override.split("=", 1) for override in job.overrides)
            self.batches[-1].append(values)
            job.folder.mkdir(exist_ok=True)
            write_result(job.folder, "running")
            try:
                status, scores = self.job(values, job.folder)
            except RuntimeError as error:
                write_result(job.folder, "failed", error=f"RuntimeError: {error}")
                continue
            write_scores(job.folder, scores)
            write_result(job.folder, status, steps=7)

    @property
    def values(self):
        return list(itertools.chain(*self.batches))


class Composed(JobConfig):
    """A job's overrides as its config."""

    def resolved(self, folder="run"):
        return dict(override.split("=", 1) for override in self.whole)

    def portable(self, folder):
        return {"logger": {}, "callbacks": {}, **self.resolved()}


def write_result(folder, status, **more):
    content = {"status": status, "fingerprint": "0", "command": "python train.py x=1", **more}
    (folder / "result.json").write_text(json.dumps(content))


def by_rate(values, folder):
    return "finished", [score_of(float(values["optimizer.lr"]))]


def parsed(*overrides):
    return OverridesParser.create().parse_overrides(list(overrides))


@pytest.fixture
def go(tmp_path):
    """Searches in a folder; returns the launcher."""

    def go(*overrides, job=by_rate, folder="search", trials=5, jobs=1, seed=0, pruning=None):
        launcher = Jobs(job)
        multirun = Multirun(tmp_path / folder, Composed, launcher.launch)
        try:
            search.run_search(parsed(*overrides), multirun, trials=trials, jobs=jobs, seed=seed, pruning=pruning)
        finally:
            go.values = launcher.values
        return launcher

    return go


def test_a_search_that_was_stopped_draws_what_it_would_have_drawn(go):
    parts = []
    for trials in (2, 3, 12):
        parts += go(RATE, folder="parts", trials=trials).values
    whole = go(RATE, folder="whole", trials=12).values
    assert parts == whole
    assert len({values["optimizer.lr"] for values in whole}) == 12
    assert go(RATE, folder="whole", trials=12).values == []
    assert go(RATE, folder="other", trials=2, seed=1).values != whole[:2]


@pytest.mark.parametrize("ended", [True, False], ids=["as it had finished", "in a trial"])
def test_what_was_running_goes_on_in_its_folder_and_is_told_once(go, tmp_path, capsys, ended):
    def stopped(values, folder):
        count = len(list(folder.parent.glob("*/result.json")))
        if count == 11:
            if ended:
                write_scores(folder, by_rate(values, folder)[1])
                write_result(folder, "finished")
            raise Interrupted(signal.SIGTERM)
        return by_rate(values, folder)

    with pytest.raises(Interrupted):
        go(RATE, job=stopped, trials=12, folder="stopped")
    before = go.values
    assert [row["outcome"] for row in rows(tmp_path / "stopped")] == ["finished"] * 10 + [
        "finished" if ended else "killed"
    ]
    assert "│ 11 " in capsys.readouterr().out
    after = go(RATE, trials=12, folder="stopped").values
    whole = go(RATE, trials=12, folder="whole").values
    assert before + after[not ended :] == whole
    assert after[0] == (whole[11] if ended else whole[10])
    assert len(list((tmp_path / "stopped").glob("*/result.json"))) == 12
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/stopped/search.db").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 12
    assert [trial.value for trial in trials] == [
        pytest.approx(score_of(float(values["optimizer.lr"]))) for values in whole
    ]


def test_it_finds_better_settings_than_chance(go):
    """At equal trials; chance is the mean over 1,000 searches of uniform draws."""
    lost = {"16": 0.04, "32": 0.0, "64": 0.02}

    def job(values, folder):
        rate, decay = (math.log10(float(values[key])) for key in ("optimizer.lr", "optimizer.weight_decay"))
        return "finished", [0.8 - 0.1 * abs(rate + 2) - 0.05 * abs(decay + 3) - lost[values["model.decoder_channels"]]]

    space = ["optimizer.weight_decay=tag(log,interval(1e-5,1))", "model.decoder_channels=16,32,64"]
    launcher = go(RATE, *space, job=job, trials=60)
    found = max(job(values, None)[1][0] for values in launcher.values)
    rng = np.random.default_rng(0)
    rates, decays = rng.uniform(-4, 0, (1000, 60)), rng.uniform(-5, 0, (1000, 60))
    drawn = 0.8 - 0.1 * np.abs(rates + 2) - 0.05 * np.abs(decays + 3) - rng.choice(list(lost.values()), (1000, 60))
    assert 0.8 - found < 0.5 * (0.8 - drawn.max(1)).mean()
    assert np.mean(0.8 - drawn.max(1) < 0.8 - found) < 0.1


def test_batches_of_several(go):
    batches = go(RATE, trials=7, jobs=3).batches
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert len({values["optimizer.lr"] for batch in batches for values in batch}) == 7


def test_a_failed_trial_stops_no_other_and_is_tried_again(go, tmp_path):
    def unlucky(values, folder):
        if float(values["optimizer.lr"]) > 0.1:
            raise RuntimeError("unlucky")
        return by_rate(values, folder)

    with pytest.raises(TrainingError, match=r"did not finish:\n  lr-0\.\d+-\w{8}: RuntimeError: unlucky\n") as told:
        go(RATE, job=unlucky, trials=8)
    assert len(go.values) == 8
    outcomes = [row["outcome"] for row in rows(tmp_path / "search")]
    failed = [values for values in go.values if float(values["optimizer.lr"]) > 0.1]
    assert 0 < len(failed) == outcomes.count("failed") < 8
    assert f"{len(failed)} of 8 trials" in str(told.value)
    assert go(RATE, trials=8).values == failed
    assert {row["outcome"] for row in rows(tmp_path / "search")} == {"finished"}
    assert go(RATE, trials=8).values == []


def test_a_small_space_is_tried_once_and_ends(go, capsys):
    launcher = go("optimizer.lr=0.1,0.2,0.3", trials=5, jobs=2)
    assert sorted(values["optimizer.lr"] for values in launcher.values) == ["0.1", "0.2", "0.3"]
    assert "There are no more settings" in capsys.readouterr().out


def test_what_differs_in_nothing_that_counts_is_one_trial(go):
    assert len(go("name=a,b", "optimizer.lr=0.1,0.2", trials=4).values) == 2


def test_a_pruned_trial_is_told_with_its_scores_and_is_not_the_best(go, tmp_path, capsys):
    def pruned(values, folder):
        bad = values["optimizer.lr"] == "0.2"
        return ("pruned", [0.3, 0.9, 0.2]) if bad else ("finished", [0.4, 0.5])

    go("optimizer.lr=0.1,0.2", job=pruned, trials=2)
    (trial,) = [row for row in rows(tmp_path / "search") if row["optimizer.lr"] == "0.2"]
    assert (trial["outcome"], trial["miou"]) == ("pruned", "0.9")
    assert "val mIoU 0.5000" in capsys.readouterr().out
    told = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/search/search.db").trials
    (told,) = [trial for trial in told if trial.state.name == "PRUNED"]
    assert told.intermediate_values == {0: 0.3, 1: 0.9, 2: 0.2}
    assert go("optimizer.lr=0.1,0.2", job=pruned, trials=2).values == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([RATE.replace("1e-4", "1e-5"), "seed=1"], "the space of optimizer.lr was another"),
        ([RATE, "seed=1", "x=1,2"], "the space of x was another"),
        ([RATE, "seed=2"], "what stays fixed was seed=1, now seed=2"),
    ],
)
def test_other_settings_are_another_search(go, overrides, message):
    go(RATE, "seed=1", trials=1)
    with pytest.raises(ConfigError, match=f"(?s)holds a search of other settings: {message}.*study=NAME"):
        go(*overrides, trials=2)
    assert (
        len(go("seed=1", "optimizer.lr=tag(log,interval(0.0001,1.0))", trials=2).values) == 1
    )  # the same, in other words


def test_a_search_goes_by_metrics_csv(go):
    with pytest.raises(TrainingError, match=r"is finished, but its metrics.csv holds no val/miou.*logger=csv"):
        go(RATE, job=lambda values, folder: ("finished", []))


def test_one_process_searches_at_a_time(go, tmp_path):
    (tmp_path / "search").mkdir()
    ready, tell = os.pipe()
    process = os.fork()
    if process == 0:
        FolderLock(tmp_path / "search")
        os.write(tell, b".")
        signal.pause()
    try:
        os.read(ready, 1)
        with pytest.raises(TrainingError, match="search is being written by another process"):
            go(RATE)
    finally:
        os.kill(process, signal.SIGKILL)
        wait(process)
    assert len(go(RATE, trials=1).values) == 1


def test_without_optuna(go, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"needs optuna, which is not installed; `pip install 'atrous\[search\]'`"):
        go(RATE)


@pytest.fixture
def good_first(monkeypatch):
    """Trials with a rate of 0.05 are finished at once, with scores that no other reaches."""

    def run(config, folder, *report, instead):
        if config["optimizer"]["lr"] != 0.05:
            return instead(config, folder, *report)
        record = RunRecord(folder, config)
        write_scores(folder, [0.9, 0.9])
        record.update(status="finished", scores={"miou": 0.9}, steps=4)
        record.release()
        return 0.9

    monkeypatch.setattr("atrous.engine.fit.run", partial(run, instead=fit.run))
    monkeypatch.setattr(launch, "launch", partial(run, instead=launch.launch))


def pruned(tiny, runs, *overrides):
    """The second of two trials is given up at its first validation of two. Returns its folder."""
    seed = next(seed for seed in itertools.count() if _first_drawn(seed) == "0.05")
    settings = [f"hydra.sweeper.seed={seed}", "hydra.sweeper.pruning={after_trials:1,after_validations:0}"]
    searched(runs, "optimizer.lr=0.05,1e-3", *settings, *tiny, *overrides, trials=2)
    good, bad = (runs / "sweep" / row["folder"] for row in rows(runs / "sweep"))
    assert result(good)["status"] == "finished"
    assert (result(bad)["status"], result(bad)["steps"], "scores" in result(bad)) == ("pruned", 2, False)
    (validation,) = [row for row in csv.DictReader((bad / "metrics.csv").open()) if row["val/miou"]]
    assert result(bad)["val_miou"] == float(validation["val/miou"])
    return bad


def _first_drawn(seed):
    """The first choice of a search with such a seed."""
    (drawn,) = np.random.SeedSequence((seed, 0)).generate_state(1)
    sampler = optuna.samplers.TPESampler(seed=int(drawn), multivariate=True, constant_liar=True)
    distributions = {"x": optuna.distributions.CategoricalDistribution(["0.05", "1e-3"])}
    return optuna.create_study(sampler=sampler).ask(distributions).params["x"]


def test_a_bad_trial_is_given_up_and_can_be_gone_on_with(tiny, tmp_path, capsys, good_first):
    bad = pruned(tiny, tmp_path)
    assert "given up after 2 updates" in capsys.readouterr().out
    assert checked_run(bad).error == f"given up by its search at a val/miou of {result(bad)['val_miou']:.4f}"
    before = times(tmp_path / "sweep")
    searched(tmp_path, "optimizer.lr=0.05,1e-3", *tiny, trials=2)
    assert times(tmp_path / "sweep") == before
    train.main([*tiny, "optimizer.lr=1e-3", f"paths.runs={tmp_path}", "resume=auto"])
    assert (result(bad)["status"], result(bad)["steps"]) == ("finished", 4)
    assert result(bad)["resumed"][-1]["steps"] == 2
    assert 0 <= result(bad)["scores"]["miou"] <= 1


@pytest.mark.slow
def test_two_processes_give_up_together(tiny, tmp_path, good_first):
    bad = pruned(tiny, tmp_path, "trainer.devices=2", "trainer.strategy=ddp")
    assert (bad / "launch.log").exists()  # two there were


@pytest.mark.slow
def test_killed_again_and_again_each_trial_ends_once(tmp_path):
    arguments = ["hydra/sweeper=search", "hydra.sweeper.trials=6", RATE, "trainer.max_epochs=2", "-m"]
    folder, seen = tmp_path / "killed" / "sweep", {}
    for kills in range(3):
        process = start(tmp_path / "killed", *arguments)
        while len(_finished(folder)) <= kills:
            assert os.waitpid(process, os.WNOHANG) == (0, 0), "it has ended, see output.txt"
            time.sleep(0.01)
        time.sleep(0.2 * kills)
        os.kill(process, signal.SIGKILL)
        wait(process)
        now = _finished(folder)
        assert {path: now[path] for path in seen} == seen
        seen = now
    assert wait(start(tmp_path / "killed", *arguments)) == 0
    assert wait(start(tmp_path / "straight", *arguments)) == 0
    killed, straight = rows(folder), rows(tmp_path / "straight" / "sweep")
    assert killed == straight
    assert len(killed) == 6
    assert {path: _finished(folder)[path] for path in seen} == seen


def times(folder):
    """When the result of each trial was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}


def _finished(folder):
    """When the result of each finished trial was written."""
    return {path: when for path, when in times(folder).items() if result(path.parent)["status"] == "finished"}
