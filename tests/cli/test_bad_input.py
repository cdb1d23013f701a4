"""Bad input gets a message that names it and the remedy, no traceback, and a status that is not zero."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from atrous.cli import evaluate, predict, train

REPO = Path(__file__).parents[2]


def message_of(capsys, command, arguments):
    with pytest.raises(SystemExit) as stop:
        command(arguments)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("modle.output_stride=8", ["modle"]),
        ("model=deeplabv3pluss", ["deeplabv3pluss", "deeplabv3plus_small"]),
        ("data=cityscape", ["cityscape", "camvid"]),
        ("model.output_stride=7", ["7", "8", "16", "32"]),
        ("model.encoder.name=swin_tiny_patch4_window7_224", ["swin_tiny", "output stride 16", "32"]),
        ("model.dilations=[0,6]", ["dilations", "[0,6]", "from 1 on"]),
        ("model.dilations=[]", ["dilations", "[]"]),
        ("data.batch_size=0", ["batch_size=0", "from 1 on"]),
        ("data.train.length=2", ["2", "batch"]),
        ("data.context_distance=1000", ["context_distance", "1000"]),
        ("trainer.accelerator=gpu", ["trainer.accelerator=gpu", "no GPU", "trainer=cpu"]),
        ("trainer.devices=0", ["trainer.devices=0"]),
        ("ckpt_path=nowhere.ckpt", ["nowhere.ckpt", "checkpoints/"]),
        ("data.num_classes=7", ["num_classes", "7", "11"]),
        ("optimizer.lr=abc", ["optimizer.lr=abc", "a number from 0 on"]),
        ("trainer.max_epochs=-1", ["max_epochs=-1", "has no end", "trainer.max_epochs=100"]),
        ("optimizer.lr=nan", ["optimizer.lr=nan", "from 0 on"]),
        ("optimizer.lr=1e30", ["not finite"]),
        ("model.encoder.name=resnet19", ["resnet19", "resnet18"]),
    ],
)
def test_train(capsys, tiny, tmp_path, override, parts):
    if override == "trainer.accelerator=gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    error = message_of(capsys, train.main, [*tiny, f"paths.runs={tmp_path}", override])
    for part in parts:
        assert part in error


def test_a_required_value_that_is_missing(capsys, tmp_path):
    error = message_of(capsys, train.main, ["model=custom", f"paths.runs={tmp_path}"])
    assert "no value for model._target_" in error


def test_a_batch_of_one_says_what_batch_norm_needs(capsys, tiny, tmp_path):
    error = message_of(capsys, train.main, [*tiny, f"paths.runs={tmp_path}", "data.batch_size=1"])
    assert "batch" in error
    assert "data.batch_size" in error


@pytest.mark.parametrize("word", ["optimizer=adamw", "optimizer.lr=0.2"])
def test_a_checkpoint_of_another_optimizer(capsys, tiny, tmp_path, finished_run, word):
    """Its state would take the place of what is asked for."""
    path = finished_run / "checkpoints" / "last.ckpt"
    error = message_of(capsys, train.main, [*tiny, f"paths.runs={tmp_path}", f"ckpt_path={path}", word])
    assert "optimizer.lr=0.01 there" in error
    assert f"weights={path}" in error


def test_a_run_folder_that_cannot_be_written(capsys, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    error = message_of(capsys, train.main, [*tiny, f"paths.runs={tmp_path / 'file'}"])
    assert str(tmp_path / "file") in error
    assert "paths.runs=" in error


def test_a_failed_run_keeps_its_error_and_its_good_checkpoint(capsys, monkeypatch, tiny, tmp_path):
    from atrous.losses.cross_entropy import CrossEntropy

    forward, calls = CrossEntropy.forward, []

    def spoilt(self, output, mask):  # good for the first epoch's two steps
        calls.extend([None] * self.training)
        return forward(self, output, mask) * (1 if len(calls) < 3 else float("nan"))

    monkeypatch.setattr(CrossEntropy, "forward", spoilt)
    error = message_of(capsys, train.main, [*tiny, f"paths.runs={tmp_path}"])
    assert "not finite at step 3" in error
    (result_path,) = tmp_path.rglob("result.json")
    result = json.loads(result_path.read_text())
    assert result["status"] == "failed"
    assert "not finite" in result["error"]
    checkpoint = torch.load(result_path.parent / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


@pytest.mark.parametrize("command", [evaluate.main, predict.main])
def test_checkpoints_that_are_none(capsys, command, tmp_path, finished_run):
    extra = [f"images={finished_run}/samples"] if command is predict.main else []
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "empty.ckpt")
    whole = (finished_run / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    for name, part in {
        "absent.ckpt": "no checkpoint at",
        "text.ckpt": "can't be read",
        "half.ckpt": "can't be read",
        "empty.ckpt": "no `config`",
    }.items():
        assert part in message_of(capsys, command, [f"ckpt={tmp_path / name}", *extra])


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_a_checkpoint_does_not_run(capsys, tmp_path):
    torch.save({"state_dict": {}, "config": Malicious(tmp_path / "owned")}, tmp_path / "bad.ckpt")
    assert "never run" in message_of(capsys, evaluate.main, [f"ckpt={tmp_path / 'bad.ckpt'}"])
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("part", ["model", "data"])
def test_a_target_in_a_checkpoint_does_not_run(capsys, tmp_path, finished_run, part):
    checkpoint = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["config"][part] = {
        **checkpoint["config"][part],
        "extra": [{"_target_": "os.mkdir", "path": str(tmp_path / "owned")}],
    }
    torch.save(checkpoint, tmp_path / "bad.ckpt")
    error = message_of(capsys, evaluate.main, [f"ckpt={tmp_path / 'bad.ckpt'}"])
    assert "os.mkdir" in error
    assert "trusted=[os.]" in error
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_another_model_or_class_count(capsys, tiny, tmp_path, finished_run):
    checkpoint = finished_run / "checkpoints" / "best.ckpt"
    arguments = [*tiny, f"paths.runs={tmp_path}", f"ckpt_path={checkpoint}", "model.decoder_channels=16"]
    assert "another model or number of classes" in message_of(capsys, train.main, arguments)
    stored = torch.load(checkpoint, weights_only=True)
    stored["class_info"]["names"] = [f"other{i}" for i in range(11)]
    torch.save(stored, tmp_path / "other.ckpt")
    assert "other0" in message_of(capsys, evaluate.main, [f"ckpt={tmp_path / 'other.ckpt'}"])


def test_unknown_keys_of_evaluate(capsys, finished_run):
    ckpt = f"ckpt={finished_run}/checkpoints/best.ckpt"
    error = message_of(capsys, evaluate.main, [ckpt, "model.outputstride=8"])
    assert "model.outputstride" in error
    assert "output_stride" in error


def test_predict_refuses_what_it_cannot_do(capsys, finished_run, tmp_path):
    ckpt = f"ckpt={finished_run}/checkpoints/best.ckpt"
    assert "no images" in message_of(capsys, predict.main, [ckpt, f"images={tmp_path}"])
    assert "images" in message_of(capsys, predict.main, [ckpt])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    assert "broken.png" in message_of(capsys, predict.main, [ckpt, f"images={tmp_path}", f"out={tmp_path / 'out'}"])
    source = next((finished_run / "samples").glob("*.png"))
    (tmp_path / "labels").mkdir()
    picture = tmp_path / "labels" / "a.png"
    picture.write_bytes(source.read_bytes())
    error = message_of(capsys, predict.main, [ckpt, f"images={picture}", f"out={tmp_path}"])
    assert "would overwrite" in error
    assert picture.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("arguments", [["--help"], ["model.output_stride=7"]])
def test_help_and_config_errors_do_not_import_torch(arguments, tmp_path):
    code = (
        "import sys\nfrom atrous.cli.train import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'lightning', 'timm', 'albumentations', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments, f"paths.runs={tmp_path}"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_full_traceback_on_request(tmp_path):
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1"}
    command = [sys.executable, str(REPO / "train.py"), "model.output_stride=7", f"paths.runs={tmp_path}"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode != 0
    assert "Traceback" in run.stderr
    assert "ConfigError" in run.stderr


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    code = "from atrous.cli.train import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
