"""Run folders: what is read, and what is told of those that can't be."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from report.study_folders import write_run

from atrous.config.upgrade import upgraded
from atrous.runs.run import Run, Status, Unread, checked_run, find_runs, flat


def test_a_run_is_read(tmp_path):
    run = checked_run(write_run(tmp_path / "a", accuracy=0.9, seed=3, settings={"model.rates": [6, 12]}))
    content = json.loads((tmp_path / "a" / "result.json").read_text())
    assert run.finished
    assert (run.score, run.seed, run.commit) == (content["scores"]["miou"], 3, "0123456")
    assert run.settings["model.rates"] == [6, 12]
    assert run.settings["model._target_"] == "atrous.models.unet.UNet"
    assert run.classes == ("road", "car", "sky")
    assert run.iou.tolist() == content["per_class"]["iou"]
    assert run.cost("macs") == 2e9
    assert np.isnan(run.cost("energy"))


def test_absent_classes_have_no_score(tmp_path):
    folder = write_run(tmp_path / "a", per_class={"names": ["road", "car"], "iou": [0.5, None]})
    np.testing.assert_array_equal(checked_run(folder).iou, [0.5, np.nan])


def test_curves_leave_out_what_is_no_number(tmp_path):
    folder = write_run(tmp_path / "a")
    (folder / "metrics.csv").write_text("step,lr,val/miou,train/loss\n0,,0.5,nan\n1,x,,2\n,0.1,0.7,3\n2,,0.6\n3,0.")
    history = checked_run(folder).history()
    assert {key: (x.tolist(), y.tolist()) for key, (x, y) in history.items() if key != "step"} == {
        "val/miou": ([0, 2], [0.5, 0.6]),
        "train/loss": ([1], [2]),
        "lr": ([3], [0]),
    }
    (folder / "metrics.csv").unlink()
    assert checked_run(folder).history() == {}


def test_runs_are_found_at_any_depth_and_once(tmp_path):
    for name in ("b/2", "b/1", "a"):
        write_run(tmp_path / name)
    write_run(tmp_path / "a" / "checkpoints" / "inner")  # a run holds no runs
    write_run(tmp_path / ".hidden")
    (tmp_path / "empty").mkdir()
    runs, unread = find_runs([tmp_path, tmp_path / "b"])
    assert [str(run.folder.relative_to(tmp_path)) for run in runs] == ["a", "b/1", "b/2"]
    assert unread == []


def test_a_planned_run_has_not_begun(tmp_path):
    (write_run(tmp_path / "planned") / "result.json").unlink()
    run = checked_run(tmp_path / "planned")
    assert (run.status, run.finished, run.seed, run.error) == (Status.NOT_STARTED, False, 0, "planned, and not begun")
    (tmp_path / "planned" / "config.yaml").write_text("a: 1")
    assert checked_run(tmp_path / "planned").reason == "no result.json"


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("config.yaml", None, "no config.yaml"),
        ("result.json", '{"status": "fin', "result.json can't be read: Unterminated string"),
        ("result.json", "[]", "result.json is no mapping"),
        ("result.json", '{"status": "finished"}', "holds no scores.miou"),
        ("result.json", '{"status": "finished", "scores": {"miou": "high"}}', "holds no scores.miou"),
        ("result.json", '{"status": "finished", "scores": 7}', "holds no scores.miou"),
        (
            "result.json",
            '{"status": "finished", "scores": {"miou": 0.5}, "per_class": {"names": [1]}}',
            "no IoU for each",
        ),
        ("result.json", b"\xff\xfe", "result.json can't be read"),
        ("result.json", "[" * 100_000, "result.json can't be read"),
        ("config.yaml", "a: [1", "config.yaml can't be read"),
        ("config.yaml", "", "config.yaml is no mapping"),
        ("config.yaml", "- [a, 1]", "config.yaml is no mapping"),
        ("config.yaml", "a: 1\n- b", "config.yaml can't be read"),
        ("config.yaml", "a: !!python/object/apply:os.system [true]", "config.yaml can't be read"),
    ],
)
def test_what_is_broken_is_told(tmp_path, file, text, reason):
    path = write_run(tmp_path / "a") / file
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = checked_run(tmp_path / "a")
    assert isinstance(found, Unread)
    assert reason in found.reason


def test_odd_values_of_an_unfinished_run_are_no_error(tmp_path):
    folder = write_run(tmp_path / "a", status="failed")
    (folder / "result.json").write_text(
        '{"status": ["x"], "command": 7, "provenance": [], "error": {"a": 1}, "cost": 3}'
    )
    run = checked_run(folder)
    assert isinstance(run, Run)
    assert (run.status, run.command, run.commit, run.overrides()) == (Status.UNKNOWN, "7", "", {})


def test_a_run_that_no_process_writes_was_killed(tmp_path):
    run = checked_run(write_run(tmp_path / "a", status="running"))
    assert (run.status, run.error) == (Status.KILLED, "no process is writing it any more")


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb:\n  c: [1, 2]\n  d: null\n",
        "a: &x {c: 1}\nb: *x\n",
        "# words\nA: 1\n_b: 2\n3: c\n",
        "a: |\n  some\n\n  b: words\nb: 2\n",
        "a: {b: 1,\n  c: 2}\nd: 'some\n  words'\n",
        "{a: 1,\nb: 2}\n",
        "a: 1\na: 2\n",
        "'a b': 1\nc: 2\n",
    ],
)
def test_a_config_is_what_yaml_reads(tmp_path, text):
    folder = write_run(tmp_path / "run")
    (folder / "config.yaml").write_text(text)
    found = checked_run(folder)
    assert isinstance(found, Run), found
    assert found.config == upgraded(yaml.safe_load(text))


def test_a_config_that_grows_is_given_up(tmp_path):
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    folder = write_run(tmp_path / "a")
    (folder / "config.yaml").write_text(text)
    assert "more than 20000 values" in checked_run(folder).reason


def test_flat_keeps_lists_and_empty_groups():
    assert flat(yaml.safe_load("{a: {b: 1, c: [{d: 2}], e: {}}, f: null}")) == {
        "a.b": 1,
        "a.c": [{"d": 2}],
        "a.e": {},
        "f": None,
    }


def test_an_interrupted_run_names_its_signal(tmp_path):
    assert checked_run(write_run(tmp_path / "a", status="interrupted", signal="SIGTERM")).error == "SIGTERM"


def test_overrides_of_a_command(tmp_path):
    run = checked_run(
        write_run(tmp_path / "a", command="python train.py -m +x.y=1 model=unet 'rates=[1, 2]' ~z --flag=3")
    )
    assert run.overrides() == {"x.y": "1", "model": "unet", "rates": "[1, 2]"}
    assert checked_run(write_run(tmp_path / "b", command="python 'unclosed")).overrides() == {}
