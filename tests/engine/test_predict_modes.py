"""`predict` and `evaluate` with the inference modes of conf/inference."""

import numpy as np
import pytest
import torch
from PIL import Image

from atrous.cli import evaluate, predict
from atrous.config.compose import CONF_DIR
from atrous.config.overrides import with_overrides
from atrous.config.upgrade import upgraded
from atrous.data.io import strips as strip_reader
from atrous.engine.build import build_inference
from atrous.engine.checkpoint import restore
from atrous.layers import strips


@pytest.fixture(scope="module")
def checkpoint(finished_run, tmp_path_factory):
    """With random class layers, so that an image has labels of many classes."""
    stored = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    torch.manual_seed(0)
    last = [key for key, value in stored["state_dict"].items() if value.ndim == 4][-1]
    layer = last.removesuffix("weight")
    stored["state_dict"] |= {last: torch.randn_like(stored["state_dict"][last]), f"{layer}bias": torch.zeros(11)}
    path = tmp_path_factory.mktemp("random") / "net.ckpt"
    torch.save(stored, path)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "a.png"
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(coarse).resize((161, 117), Image.Resampling.BICUBIC).save(path)
    return path


SLIDE = ["inference=slide", "inference.window=[64,64]"]
MODES = {
    "whole": ["inference=whole"],
    "slide": SLIDE,
    "multiscale": ["inference=multiscale", "inference.scales=[0.5,1.5]"],
    "multiscale over slide": [
        "inference=multiscale",
        "inference@inference.base=slide",
        "inference.base.window=[64,64]",
        "inference.scales=[1,1.5]",
    ],
}


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_a_spilled_image_has_the_labels_of_one_pass_through_the_mode(mode, checkpoint, photo, tmp_path, monkeypatch):
    restored = restore(checkpoint, MODES[mode], accelerator="cpu")
    image = restored.normalise(np.array(Image.open(photo)))[None]
    expected = restored.scorer.eval().predict_labels(image)[0].numpy()
    assert len(np.unique(expected)) > 3
    monkeypatch.setattr(strip_reader, "LARGE", 1)
    monkeypatch.setattr(strip_reader, "_PIECE", 5000)
    monkeypatch.setattr(strips, "CPU_STRIP", 11 * 161 * 7)
    predict.main([f"ckpt={checkpoint}", f"images={photo}", f"out={tmp_path}", "overlay_size=40", *MODES[mode]])
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "labels" / "a.png")), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels", "overlays"]
    shown = np.array(Image.open(tmp_path / "overlays" / "a.png"))
    assert shown.shape == (24, 33, 3)  # every fifth pixel: 161 / 40
    palette = np.array(restored.class_info.palette)
    blended = 0.5 * np.array(Image.open(photo))[::5, ::5] + 0.5 * palette[expected[::5, ::5]]
    np.testing.assert_array_equal(shown, blended.round().astype(np.uint8))


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF_DIR / "inference").glob("*.yaml")))
def test_every_choice_builds_and_tells_its_settings(name, checkpoint):
    config = with_overrides(torch.load(checkpoint, weights_only=True)["config"], [f"inference={name}"])
    told = str(build_inference(config))
    assert name.replace("_", "") in told.lower().replace("-", "")
    assert " at 0x" not in told  # an address, which would make every protocol another one


def test_evaluate_says_the_mode(checkpoint, tmp_path, result_of):
    evaluate.main([f"ckpt={checkpoint}", f"out={tmp_path}", "inference=slide", "inference.window=[48,32]"])
    assert result_of(tmp_path)["protocol"]["inference"] == (
        "slide, windows of 48 x 32 every 32 x 21, logits averaged (gaussian)"
    )


def test_the_trainings_end_uses_the_mode(train_run, tmp_path, result_of):
    folder = train_run(tmp_path, "trainer.max_epochs=1", *SLIDE)
    assert result_of(folder)["protocol"]["inference"].startswith("slide, windows of 64 x 64")


def test_checkpoints_of_before_there_was_a_choice(checkpoint):
    config = torch.load(checkpoint, weights_only=True)["config"]
    del config["inference"]
    assert str(build_inference(upgraded(config))) == "whole"
    assert str(build_inference(with_overrides(config, SLIDE))).startswith("slide, windows of 64 x 64")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["max_pixels=1000"], "117 x 161 = 18,837 pixels by its header, more than the limit of 1,000"),
        (["overlay_size=0"], "overlay_size=0 is impossible; give a whole number from 1 on"),
        (["inference=slide", "inference.blend=soft"], "inference.blend=soft is unknown"),
        (["inference=tile"], "inference=tile is for unpadded networks"),
    ],
)
def test_what_is_refused(given, message, checkpoint, photo, tmp_path, capsys):
    with pytest.raises(SystemExit):
        predict.main([f"ckpt={checkpoint}", f"images={photo}", f"out={tmp_path / 'out'}", *given])
    assert message in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_probabilities_that_would_be_too_many(checkpoint, photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("atrous.engine.predict.LARGEST", 100_000)
    with pytest.raises(SystemExit):
        predict.main([f"ckpt={checkpoint}", f"images={photo}", f"out={tmp_path}", "probabilities=true"])
    assert "probabilities=true would gather 0.0 GiB for a, 117 x 161 pixels of 11 classes" in capsys.readouterr().err
