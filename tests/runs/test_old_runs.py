"""Runs that commit e8df798 wrote (tests/old_runs/write.sh) are read, found, scored and gone on with by today's code."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_and_resume import differences

from atrous.cli import evaluate, report, train
from atrous.runs.run import Status, find_runs, load_run
from atrous.system.devices import processor_name

OLD = Path(__file__).parents[1] / "old_runs"
FINISHED = sorted(path.parent.relative_to(OLD / "runs") for path in (OLD / "runs").rglob("confusion.npz"))


@pytest.fixture
def runs(tmp_path):
    """A copy, so that every run lies elsewhere than where it was written."""
    shutil.copytree(OLD / "runs", tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As they were written."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def words_of(folder, runs):
    """The command of a run, `paths.runs` led to the copy."""
    words = shlex.split(load_run(folder).command)[2:]
    return [
        f"paths.runs={runs}{word.removeprefix('paths.runs=/old/runs')}" if "paths.runs=" in word else word
        for word in words
    ]


def test_all_are_read_and_reported(runs, tmp_path):
    found, unread = find_runs([runs])
    assert unread == []
    assert {run.folder.relative_to(runs) for run in found if run.finished} == set(FINISHED)
    assert [run.status for run in found if not run.finished] == [Status.KILLED]
    report.main([str(runs), f"out={tmp_path / 'report'}", "resamples=10"])
    with (tmp_path / "report" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found)
    for row in rows:
        scores = json.loads((Path(row["folder"]) / "result.json").read_text()).get("scores", {})
        assert row["miou"] == (f"{scores['miou']:.10g}" if scores else "")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.parts[0] == "crf" else name for name in FINISHED
    ],  # it compiles
    ids=lambda path: path.parts[0] + "-" + path.name,
)
def test_a_finished_one_is_scored_as_before(runs, tmp_path, name):
    extra = load_run(runs / name).config["extra_metrics"]
    checkpoint = runs / name / "checkpoints" / "best.ckpt"
    evaluate.main(
        [f"ckpt={checkpoint}", f"out={tmp_path / 'out'}", "accelerator=cpu", f"extra_metrics={str(extra).lower()}"]
    )
    with np.load(OLD / "runs" / name / "confusion.npz") as then, np.load(tmp_path / "out" / "confusion.npz") as now:
        assert then.files == now.files
        assert all(np.array_equal(then[key], now[key]) for key in then.files)
    then, now = (json.loads((folder / "result.json").read_text()) for folder in (runs / name, tmp_path / "out"))
    for key in ("scores", "per_class", "per_image"):
        assert now[key] == then[key]
    assert {**now["protocol"], "code": 0} == {**then["protocol"], "code": 0}


@pytest.mark.parametrize("name", [name for name in FINISHED if len(name.parts) == 3], ids=lambda path: path.parts[0])
def test_a_finished_one_is_found_by_its_command(runs, capfd, name):
    before = (runs / name / "result.json").read_text()
    train.main([*words_of(runs / name, runs), "resume=auto"])
    assert f"is finished: {runs / name}" in capfd.readouterr().out
    assert (runs / name / "result.json").read_text() == before


def history(folder):
    with (folder / "metrics.csv").open() as file:
        return [*csv.DictReader(file)]


def test_a_killed_one_goes_on_to_the_same_end(runs):
    (result,) = (runs / "half").rglob("result.json")
    (expected,) = (OLD / "expected").rglob("result.json")
    train.main([*words_of(result.parent, runs), "resume=auto"])
    (again,) = (runs / "half").rglob("result.json")
    assert again == result
    assert len(json.loads(result.read_text())["resumed"]) == 1
    same_processor = json.loads(expected.read_text())["provenance"]["hardware"]["processor"] == processor_name()
    if same_processor:
        found = differences(expected.parent, result.parent)
        assert sorted(found) == ["metrics.csv", "result.json: fingerprint"]  # of another version
        then, now = (history(run.parent) for run in (expected, result))
        assert {key for row in now for key in row} - {key for row in then for key in row} == {"val/loss"}
        assert then == [{key: value for key, value in row.items() if key != "val/loss"} for row in now]
    else:
        weights = [torch.load(run.parent / "checkpoints" / "best.ckpt")["state_dict"] for run in (expected, result)]
        torch.testing.assert_close(*weights, atol=1e-4, rtol=0)


def test_a_study_trains_what_is_new_alone(runs, capfd):
    before = {path: path.read_text() for path in (runs / "rates").rglob("result.json")}
    words = [word for word in words_of(runs / "rates" / "lr-0.05-2c23121e", runs) if "optimizer.lr" not in word]
    train.main(["-m", *words, "optimizer.lr=0.02,0.05,0.1"])
    assert "3 jobs, 2 finished already" in capfd.readouterr().out
    found, _ = find_runs([runs / "rates"])
    assert sorted(run.settings["optimizer.lr"] for run in found if run.finished) == [0.02, 0.05, 0.1]
    assert {path: path.read_text() for path in before} == before


def test_a_search_goes_on(runs, capfd):
    pytest.importorskip("optuna")
    before = {path: path.read_text() for path in (runs / "search").rglob("result.json")}
    words = [word for word in words_of(runs / "search" / "lr-0.0884-e67346b9", runs) if "optimizer.lr" not in word]
    search = ["-m", *words, "hydra/sweeper=search", "hydra.sweeper.trials=3"]
    with pytest.raises(SystemExit):
        train.main([*search, "optimizer.lr=tag(log,interval(1e-3,1e-1))", "data.batch_size=2"])
    assert "holds a search of other settings" in capfd.readouterr().err
    train.main([*search, "optimizer.lr=tag(log,interval(1e-3,1e-1))"])
    assert "3 trials, 2 ended already" in capfd.readouterr().out
    with (runs / "search" / "trials.csv").open() as file, (OLD / "runs" / "search" / "trials.csv").open() as old:
        rows, earlier = list(csv.DictReader(file)), list(csv.DictReader(old))
    assert rows[:2] == earlier
    assert (len(rows), rows[2]["outcome"]) == (3, "finished")
    assert {path: path.read_text() for path in before} == before
