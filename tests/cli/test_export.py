import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from atrous.cli import export, predict
from atrous.data.scenes.scenes import Scenes
from atrous.engine.export import size_range
from atrous.export import files, runtime


@pytest.fixture(scope="module")
def ckpt(finished_run):
    return f"ckpt={finished_run}/checkpoints/best.ckpt"


@pytest.fixture(scope="module")
def exported(ckpt, tmp_path_factory):
    """The folder of an export in both formats."""
    out = tmp_path_factory.mktemp("export")
    export.main([ckpt, f"out={out}", "count=2"])
    return out


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "scene.png"
    Image.fromarray(Scenes(split="test", size=[77, 101], length=1, context_distance=8)[0].image).save(path)
    return path


def test_both_files_label_as_predict_does(exported, ckpt, photo, tmp_path):
    predict.main([ckpt, f"images={photo}", f"out={tmp_path / 'ours'}", "accelerator=cpu"])
    expected = np.array(Image.open(tmp_path / "ours" / "labels" / "scene.png"))
    assert len(np.unique(expected)) > 1
    assert runtime.main([str(exported / "model.onnx"), str(photo), "-o", str(tmp_path / "theirs")]) == 0
    labels = np.array(Image.open(tmp_path / "theirs" / "labels" / "scene.png"))
    assert (labels == expected).mean() >= 0.9999
    overlays = [np.array(Image.open(tmp_path / who / "overlays" / "scene.png")) for who in ("ours", "theirs")]
    assert (overlays[0] == overlays[1]).mean() >= 0.9999
    image = torch.from_numpy(np.array(Image.open(photo)))[None]
    module = torch.export.load(str(exported / "model.pt2")).module()
    assert (module(image)[0][0].numpy() == expected).mean() >= 0.9999


def test_the_files_say_what_they_are(exported, finished_run):
    model = onnx.load(str(exported / "model.onnx"))
    (stored,) = [prop.value for prop in model.metadata_props if prop.key == "atrous"]
    inside = {"atrous.json": ""}
    torch.export.load(str(exported / "model.pt2"), extra_files=inside)
    checkpoint = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    for description in (json.loads(stored), json.loads(inside["atrous.json"])):
        assert description["classes"]["names"] == list(checkpoint["class_info"]["names"])
        assert description["classes"]["palette"] == [list(colour) for colour in checkpoint["class_info"]["palette"]]
        assert description["normalisation_inside"]["mean"] == [0.485, 0.456, 0.406]
        assert description["sizes"]["batch"] == [1, None]
        assert description["check"]["equal"] >= 0.9999
        assert len(description["check"]["sizes"]) == 4
        assert str(finished_run) not in json.dumps(description)
    assert {entry.version for entry in model.opset_import if entry.domain == ""} == {20}
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("image", "tensor(uint8)", ["batch", "height", "width", 3])
    ]
    assert session.get_outputs()[0].shape == ["batch", "height", "width"]
    assert sorted(path.name for path in exported.iterdir()) == ["model.onnx", "model.pt2", "predict.py"]


def test_an_export_that_labels_otherwise_is_not_written(ckpt, tmp_path, monkeypatch, capsys):
    runner = files.program_runner

    def spoilt(program):
        run = runner(program)

        def other(images):
            labels, logits = run(images)
            labels[:, 0] += 1  # of 64 rows or fewer
            return labels, logits

        return other

    monkeypatch.setattr(files, "program_runner", spoilt)
    with pytest.raises(SystemExit) as stop:
        export.main([ckpt, f"out={tmp_path}", "format=torch", "count=1"])
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "99.99% are wanted; it was not written" in error
    assert "format=onnx" in error
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_stops_is_not_written(ckpt, tmp_path, monkeypatch, capsys):
    def stops(program):
        def run(images):
            raise RuntimeError("index 30 is out of range")

        return run

    monkeypatch.setattr(files, "program_runner", stops)
    with pytest.raises(SystemExit) as stop:
        export.main([ckpt, f"out={tmp_path}", "format=torch", "count=1", "fixed=true"])
    assert stop.value.code == 1
    told = capsys.readouterr()
    assert "height 64 only, width 64 only" in told.out
    assert "index 30 is out of range. It was not written. Use fixed=true" in told.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("format=tensorrt", ["format=tensorrt", "onnx, torch, both"]),
        ("size=7", ["size=7", "[height,width]"]),
        ("size=[0,64]", ["size=[0,64]"]),
        ("count=0", ["count=0"]),
        ("images=nowhere", ["no images", "nowhere"]),
        ("data=camvid data.root=nowhere", ["can't be had", "images=FOLDER"]),
    ],
)
def test_bad_settings(ckpt, override, parts, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        export.main([ckpt, f"out={tmp_path}", *override.split()])
    assert stop.value.code == 1
    error = capsys.readouterr().err
    for part in parts:
        assert part in error


def test_an_impossible_opset():
    from atrous.errors import ConfigError

    with pytest.raises(ConfigError, match="opset=9 is impossible; give 18 to 23"):
        files.to_onnx(None, None, 9)


def test_sizes_in_words():
    assert size_range("height", 1, None) == "any height from 1 on"
    assert size_range("height", 65, 224) == "height 65 to 224"
    assert size_range("width", 48, 48) == "width 48 only"


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        export.main(["--help"])
    assert stop.value.code == 0
    assert "opset" in capsys.readouterr().out
