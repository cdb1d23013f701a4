"""Networks without a run: `model=... weights=... data=...` in the place of `ckpt=...`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import atrous
from atrous.cli import evaluate, export, predict
from atrous.engine.subjects import of_words
from atrous.errors import CheckpointError, ConfigError
from atrous.runs.run import load_run


@pytest.fixture(scope="module")
def words(finished_run, tiny, tmp_path_factory):
    """The tiny network's weights alone, and what it is."""
    state = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    path = tmp_path_factory.mktemp("published") / "net.pth"
    torch.save({key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}, path)
    return [*tiny, f"weights={path}"]


def test_the_scores_are_those_of_the_run(words, finished_run, tmp_path):
    evaluate.main([*words, f"out={tmp_path / 'out'}"])
    scored, run = load_run(tmp_path / "out"), load_run(finished_run)
    assert scored.scores == run.scores
    weights = json.loads((tmp_path / "out" / "result.json").read_text())["protocol"]["weights"]
    assert weights.startswith("net.pth, sha256 ")
    assert atrous.evaluate(None, *words).scores == run.scores


def test_labels_are_those_of_the_run(words, finished_run, tmp_path):
    photo = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(photo)
    predict.main([*words, f"images={photo}", f"out={tmp_path / 'a'}"])
    predict.main([f"ckpt={finished_run}", f"images={photo}", f"out={tmp_path / 'b'}"])
    labels = [np.asarray(Image.open(tmp_path / side / "labels" / "a.png")) for side in "ab"]
    np.testing.assert_array_equal(*labels)
    export.main([*words, f"images={photo}", f"out={tmp_path / 'export'}", "format=torch"])
    assert (tmp_path / "export" / "model.pt2").is_file()


def test_profile_takes_a_model_and_its_settings():
    subject = of_words(["model=unet", "model.padded=true"])
    assert subject.name == "unet"
    assert subject.model["padded"]
    assert of_words([]).name == "deeplabv3plus_small"


def test_what_would_be_no_net_is_refused(tiny, tmp_path):
    torch.save(atrous.create_model("espnet", num_classes=11, decoder=False).state_dict(), tmp_path / "c.pth")
    with pytest.raises(ConfigError, match=r"ckpt=null.*weights=FILE"):
        atrous.evaluate(None, *tiny)
    with pytest.raises(CheckpointError, match=r"at random.*whole net"):
        atrous.evaluate(None, "model=espnet", f"weights={tmp_path}/c.pth")
