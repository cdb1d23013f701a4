"""`ckpt=[a,b]`: the probabilities of several networks averaged, in `evaluate` and `predict`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from atrous.cli import evaluate, predict
from atrous.engine.build import build_datamodule
from atrous.engine.checkpoint import restore
from atrous.engine.ensemble import check_division, restore_all
from atrous.engine.predict import Predictor
from atrous.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def nets(finished_run, tmp_path_factory):
    """Three checkpoints with other random class layers."""
    stored = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    last = [key for key, value in stored["state_dict"].items() if value.ndim == 4][-1]
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        stored["state_dict"] |= {
            last: torch.randn_like(stored["state_dict"][last]),
            f"{last.removesuffix('weight')}bias": torch.zeros(11),
        }
        paths.append(tmp_path_factory.mktemp("net") / f"{seed}.ckpt")
        torch.save(stored, paths[-1])
    return paths


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "a.png"
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(coarse).resize((161, 117), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("mode", [[], ["inference=slide", "inference.window=[64,64]"]])
def test_probabilities_are_averaged(nets, photo, tmp_path, mode):
    single = [Predictor(restore(path, mode)).probabilities(photo) for path in nets]
    together = Predictor(restore_all(nets, mode)).probabilities(photo)
    np.testing.assert_allclose(together, np.mean(single, axis=0), atol=1e-6)
    listed = f"ckpt=[{','.join(map(str, nets))}]"
    predict.main([listed, f"images={photo}", f"out={tmp_path}", "overlay=false", *mode])
    labels = np.asarray(Image.open(tmp_path / "labels" / "a.png"))
    sure = np.sort(np.mean(single, axis=0), axis=0)
    sure = sure[-1] - sure[-2] > 1e-5
    np.testing.assert_array_equal(labels[sure], np.mean(single, axis=0).argmax(0)[sure])


def test_evaluate_says_what_was_scored(nets, tmp_path, capsys):
    evaluate.main([f"ckpt=[{','.join(map(str, nets))}]", f"out={tmp_path}"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["protocol"]["inference"].startswith("3 networks, probabilities averaged, each whole")
    assert result["checkpoint"].split(", ") == [str(path) for path in nets]
    matrices = np.load(tmp_path / "confusion.npz")["matrices"]
    ensemble = Predictor(restore_all(nets))
    dataset = build_datamodule(restore(nets[0]).config).dataset("val")
    raw = dataset[0]
    labels, counted = ensemble.predict(raw.image), raw.mask != 255
    expected = np.bincount(raw.mask[counted].astype(int) * 11 + labels[counted], minlength=121).reshape(11, 11)
    np.testing.assert_array_equal(matrices[0], expected)


def test_one_in_a_list_is_itself(nets, photo):
    single, listed = (Predictor(restore_all(path)).probabilities(photo) for path in (nets[0], nets[:1]))
    np.testing.assert_allclose(single, listed, atol=1e-6)


@pytest.fixture
def changed(nets, tmp_path):
    """Writes a copy of a checkpoint whose config or classes are changed."""

    def write(change):
        stored = torch.load(nets[0], weights_only=True)
        change(stored)
        torch.save(stored, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return write


def test_networks_that_do_not_go_together(nets, changed):
    def other_names(stored):
        stored["class_info"]["names"] = tuple(f"x{name}" for name in stored["class_info"]["names"])

    def other_mean(stored):
        stored["config"]["data"]["eval_transform"]["mean"] = [0.1, 0.2, 0.3]

    with pytest.raises(CheckpointError, match="same classes"):
        restore_all([nets[0], changed(other_names)])
    with pytest.raises(CheckpointError, match=r"changed.ckpt.*data.eval_transform.*Leave one out"):
        restore_all([nets[0], changed(other_mean)])
    for wrong in ([], [nets[0], nets[0]]):
        with pytest.raises(ConfigError, match=r"ckpt=\[.*'ckpt=\[a.ckpt,b.ckpt\]'"):
            restore_all(wrong)


def test_images_that_trained_one_of_them_are_not_scored(nets, changed):
    def fold(stored):
        stored["config"]["data"] |= {"folds": 5, "fold": 1}

    def seed(stored):
        stored["config"]["data"]["split_seed"] = 7

    ensemble = restore_all([nets[0], changed(lambda stored: None)])
    check_division(ensemble, "val")
    ensemble = restore_all([nets[0], changed(seed)])
    for split in ("val", "test"):
        with pytest.raises(ConfigError, match=r"split=.*split_seed=None and split_seed=7.*Score split=test"):
            check_division(ensemble, split)
    other = changed(fold)
    stored = torch.load(other, weights_only=True)
    stored["config"]["data"]["fold"] = 0
    torch.save(stored, other.with_name("first.ckpt"))
    ensemble = restore_all([other.with_name("first.ckpt"), other])
    with pytest.raises(ConfigError, match="fold=0 and fold=1"):
        check_division(ensemble, "val")
    check_division(ensemble, "test")
