"""The offline runs of W&B, read back from their own files."""

import csv
import json
import struct
from functools import partial
from pathlib import Path

import pytest
import wandb
from report.study_folders import write_run

from atrous.cli import report, train
from atrous.errors import ConfigError
from atrous.loggers.csv_logger import CSVLogger
from atrous.loggers.wandb import wandb_mode

BLOCK = 32768  # LevelDB's log format, after 7 bytes of W&B's own


def records(path):
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = path.read_bytes(), 7, b""
    while position < len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        position += 7
        parts += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def read_run(path):
    run = {"group": "", "config": {}, "history": [], "summary": {}, "exit_code": None}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run["group"] = record.run.run_group
            run["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            run["config"] |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            run["history"].append(row)
        elif kind == "summary":
            for item in record.summary.update:
                run["summary"][item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        elif kind == "exit":
            run["exit_code"] = record.exit.exit_code
    return run


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))

    def read():
        wandb.teardown()  # writes what it still has
        return sorted(map(read_run, tmp_path.rglob("*.wandb")), key=lambda run: run["config"].get("seed", 0))

    return read


def test_each_job_is_one_run_with_all_it_should_hold(offline, tiny, tmp_path):
    arguments = [*tiny, f"paths.runs={tmp_path}", "study=seeds", "logger=wandb", "trainer.max_epochs=1", "seed=0,1"]
    train.main(["-m", *arguments])
    runs = offline()
    assert [run["config"]["seed"] for run in runs] == [0, 1]
    for run in runs:
        assert run["group"] == "seeds"
        assert run["exit_code"] == 0
        assert run["config"]["model"]["output_stride"] == 16
        logged = set().union(*run["history"])
        assert {"train/loss", "val/miou", "val/iou/road", "lr"} <= logged
        for media in ("final/per_class", "final/confusion", "final/samples"):  # their keys go on, as in .../_type
            assert any(key.startswith(media) for key in logged), media
        assert "final/miou" in run["summary"]


def test_a_job_that_fails_ends_its_run_with_its_exit_code(offline, tiny, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(
            ["-m", *tiny, f"paths.runs={tmp_path}", "logger=wandb", "trainer.max_epochs=1", "optimizer.lr=1e30,0.01"]
        )
    runs = offline()
    assert sorted(run["exit_code"] for run in runs) == [0, 1]
    assert "not finite" in capsys.readouterr().err


def test_the_report_of_a_study_is_an_artifact(offline, tmp_path, capsys):
    for rate in (0.1, 0.2):
        for seed in range(2):
            write_run(tmp_path / "runs" / f"{rate}-{seed}", seed=seed, settings={"optimizer.lr": rate})
    out = tmp_path / "out"
    report.main([str(tmp_path / "runs"), f"out={out}", "resamples=100", "wandb=mine"])
    assert "logged to W&B project mine: " in capsys.readouterr().out
    (read,) = offline()
    (file,) = out.rglob("*.wandb")
    found = list(records(file))
    (run,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
    assert (run.project, run.job_type, run.display_name) == ("mine", "report", "runs")
    artifacts = [record.artifact for record in found if record.WhichOneof("record_type") == "artifact"]
    (artifact,) = (artifact for artifact in artifacts if artifact.type == "report")
    assert artifact.name == "report-runs"
    contents = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert set(contents) == {"report.html", "table.md", "table.tex", "table.csv", "runs.csv"}
    for name, path in contents.items():
        assert path.read_text() == (out / name).read_text()
    assert read["exit_code"] == 0
    logged = set().union(*read["history"])
    for part in ("report/table", "report/page"):
        assert any(key.startswith(part) for key in logged), part


def test_a_run_that_goes_on_offline_is_one_history_whatever_is_synced(offline, tiny, tmp_path, monkeypatch):
    words = [*tiny, f"paths.runs={tmp_path}", "logger=wandb", "resume=auto", "trainer.max_epochs=4"]
    whole = CSVLogger.log_metrics

    def killed(self, metrics, step=None):
        if step is not None and step >= 5:
            raise RuntimeError("killed")
        whole(self, metrics, step)

    with monkeypatch.context() as patch:
        patch.setattr(CSVLogger, "log_metrics", killed)
        with pytest.raises(RuntimeError):
            train.main(words)
    wandb.teardown()
    (first,) = tmp_path.rglob("*.wandb")
    train.main(words)
    offline()
    (second,) = [
        path for path in tmp_path.rglob("*.wandb") if path.name == first.name and "continued" not in path.parts
    ]
    assert first.parent != second.parent
    assert not first.exists()
    steps = {
        key: [row["trainer/global_step"] for row in read_run(second)["history"] if key in row]
        for key in ("train/loss", "val/miou")
    }
    with (next(tmp_path.rglob("metrics.csv"))).open() as file:
        rows = list(csv.DictReader(file))
    for key, found in steps.items():
        assert found == [int(row["step"]) for row in rows if row[key]], key
        assert len(set(found)) == len(found) >= 4


def test_what_w_and_b_is_told_to_do(offline, tmp_path, monkeypatch):
    choose = partial(wandb_mode, folder=tmp_path, run_id="abc")
    assert choose(None) == "offline"
    with pytest.raises(ConfigError, match=r"logger\.wandb\.offline=false.*wandb login.*logger\.wandb\.offline=true"):
        choose(False)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert (choose(None), choose(True), choose(False)) == ("online", "offline", "online")
    (tmp_path / "wandb" / "offline-run-2026-abc").mkdir(parents=True)
    assert choose(None) == "offline"  # as it began
    for mode in ("offline", "disabled"):
        monkeypatch.setenv("WANDB_MODE", mode)
        assert choose(False) == mode


def test_w_and_b_can_be_switched_off_from_outside(offline, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train.main([*tiny, f"paths.runs={tmp_path}", "logger=wandb", "trainer.max_epochs=1"])
    assert not offline()
