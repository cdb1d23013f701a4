"""The offline runs of W&B, read back from their own files."""

import json
import struct

import pytest

from atrous.cli import train

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
    return lambda: sorted(map(read_run, tmp_path.rglob("*.wandb")), key=lambda run: run["config"].get("seed", 0))


def test_each_job_is_one_run_with_all_it_should_hold(offline, tiny, tmp_path):
    train.main(
        ["-m", *tiny, f"paths.runs={tmp_path}", "study=seeds", "logger=wandb", "trainer.max_epochs=1", "seed=0,1"]
    )
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
            ["-m", *tiny, f"paths.runs={tmp_path}", "logger=wandb", "trainer.max_epochs=1", "optimizer.lr=nan,0.01"]
        )
    runs = offline()
    assert sorted(run["exit_code"] for run in runs) == [0, 1]
    assert "not finite" in capsys.readouterr().err
