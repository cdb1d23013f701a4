import json

import numpy as np
import pytest
import torch
from PIL import Image

from atrous.cli import evaluate, predict
from atrous.engine.build import build_datamodule


@pytest.fixture(scope="module")
def ckpt(finished_run):
    return f"ckpt={finished_run}/checkpoints/best.ckpt"


def test_evaluate_gives_the_scores_of_the_trainings_end_exactly(ckpt, finished_run, result_of, tmp_path, capsys):
    evaluate.main([ckpt, f"out={tmp_path / 'scores'}"])
    again, first = result_of(tmp_path / "scores"), result_of(finished_run)
    assert again["command"] == f"python -m atrous evaluate {ckpt} out={tmp_path / 'scores'}"
    assert again["scores"] == first["scores"]
    assert again["per_class"] == first["per_class"]
    assert again["protocol"] == first["protocol"]
    stored = [np.load(folder / "confusion.npz")["matrices"] for folder in (finished_run, tmp_path / "scores")]
    np.testing.assert_array_equal(*stored)
    assert "vehicle" in capsys.readouterr().out


def test_evaluate_another_split_and_data_setting(ckpt, tmp_path, result_of):
    evaluate.main([ckpt, f"out={tmp_path}", "split=test", "data.test.length=3"])
    assert result_of(tmp_path)["images"] == 3
    assert result_of(tmp_path)["protocol"]["split"] == "test"


def test_evaluate_another_dataset_group(ckpt, tmp_path, result_of):
    overrides = ["data=scenes", "data.val.length=2", "data.size=[64,64]", "data.context_distance=8"]
    evaluate.main([ckpt, f"out={tmp_path}", *overrides])
    assert result_of(tmp_path)["images"] == 2


def test_predict_labels_a_folder_in_original_size(ckpt, finished_run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    sizes = {"a.png": (50, 71), "deeper/b.jpg": (33, 64), "deeper/c.png": (97, 40)}
    for name, (height, width) in sizes.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    predict.main([ckpt, f"images={tmp_path / 'photos'}", f"out={tmp_path / 'out'}", "probabilities=true"])
    for name, (height, width) in sizes.items():
        stem = name.rpartition(".")[0]
        mask = np.array(Image.open(tmp_path / "out" / "labels" / f"{stem}.png"))
        assert mask.shape == (height, width)
        assert mask.max() < 11
        assert Image.open(tmp_path / "out" / "overlays" / f"{stem}.png").size == (width, height)
        scores = np.load(tmp_path / "out" / "probabilities" / f"{stem}.npz")["probabilities"]
        assert scores.shape == (11, height, width)
        np.testing.assert_allclose(scores.astype(np.float32).sum(0), 1, atol=0.01)
        np.testing.assert_array_equal(scores.argmax(0)[scores.max(0) > 0.5], mask[scores.max(0) > 0.5])
    assert "3 images labelled" in capsys.readouterr().out


def test_predict_agrees_with_evaluate(ckpt, finished_run, tmp_path):
    """The labels of a scene saved as a file give the confusion matrix that the training's end counted."""
    from atrous.data.scenes.scenes import Scenes

    config = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)["config"]["data"]
    scene = Scenes(
        split="val", length=4, size=config["size"], context_distance=8, scale_range=config["scale_range"], seed=0
    )[2]
    Image.fromarray(scene.image).save(tmp_path / "scene.png")
    predict.main([ckpt, f"images={tmp_path}/*.png", f"out={tmp_path / 'out'}", "overlay=false"])
    mask = np.array(Image.open(tmp_path / "out" / "labels" / "scene.png"))
    stored = np.load(finished_run / "confusion.npz")
    expected = np.zeros((11, 11), int)
    np.add.at(expected, (scene.mask, mask), 1)
    (row,) = np.flatnonzero(stored["names"] == scene.name)
    np.testing.assert_array_equal(stored["matrices"][row], expected)
    assert not (tmp_path / "out" / "overlays").exists()


def test_predict_a_split_gives_what_evaluate_counts(ckpt, finished_run, tmp_path):
    predict.main([ckpt, "split=val", f"out={tmp_path}", "overlay=false"])
    stored = np.load(finished_run / "confusion.npz")
    config = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)["config"]
    scenes = build_datamodule(config).dataset("val")
    assert len(list(tmp_path.rglob("*.png"))) == len(scenes) == 4
    for scene in (scenes[index] for index in range(4)):
        expected = np.zeros((11, 11), int)
        np.add.at(expected, (scene.mask, np.array(Image.open(tmp_path / "labels" / f"{scene.name}.png"))), 1)
        (row,) = np.flatnonzero(stored["names"] == scene.name)
        np.testing.assert_array_equal(stored["matrices"][row], expected)


@pytest.mark.parametrize("given", [[], ["images=a", "split=val"]])
def test_predict_wants_images_or_a_split(ckpt, given, capsys):
    with pytest.raises(SystemExit):
        predict.main([ckpt, *given])
    assert "give one of them" in capsys.readouterr().err


def test_predict_goes_on_where_an_image_cannot_be_labelled(ckpt, tmp_path, capsys):
    images, out = tmp_path / "images", tmp_path / "out"
    (images / "folder.png").mkdir(parents=True)
    for name, size in (("a", (20, 30)), ("c", (1, 1))):
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(images / f"{name}.png")
    for name in ("b.png", "._a.png"):
        (images / name).write_bytes(b"no image")
    predict.main([ckpt, f"images={images / 'a.png'}", f"out={out}", "probabilities=true"])
    (out / "labels" / "b.png").write_bytes(b"of an earlier predict")
    with pytest.raises(SystemExit) as stopped:
        predict.main([ckpt, f"images={images}", f"out={out}"])
    said = capsys.readouterr()
    assert stopped.value.code == 1
    assert "2 images labelled" in said.out
    assert "1 of 3 images" in said.err
    assert "b.png" in said.err
    assert sorted(path.name for path in out.rglob("*.*")) == ["a.png", "a.png", "c.png", "c.png"]  # no older results


def test_predict_keeps_images_apart_that_differ_in_suffix(ckpt, tmp_path):
    picture = Image.fromarray(np.zeros((40, 40, 3), np.uint8))
    for name in ("same.png", "same.jpg"):
        picture.save(tmp_path / name)
    predict.main([ckpt, f"images={tmp_path}", f"out={tmp_path / 'out'}", "overlay=false"])
    assert sorted(path.name for path in (tmp_path / "out" / "labels").iterdir()) == ["same.jpg.png", "same.png.png"]


def test_help_shows_the_settings(capsys):
    with pytest.raises(SystemExit) as stop:
        predict.main(["--help"])
    assert stop.value.code == 0
    assert "probabilities" in capsys.readouterr().out


def test_the_dispatcher_names_its_commands(capsys, monkeypatch):
    from atrous.cli.main import COMMANDS, main

    monkeypatch.setattr("sys.argv", ["atrous"])
    main()
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    monkeypatch.setattr("sys.argv", ["atrous", "trian"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "trian" in capsys.readouterr().err


def test_json_has_no_nan():
    from atrous.system.files import to_json

    assert json.loads(to_json({"iou": np.array([0.5, np.nan]), "n": np.int64(3)})) == {"iou": [0.5, None], "n": 3}
