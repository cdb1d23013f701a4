"""`import atrous` as a user has it: the docstrings' examples run, and the names do what the commands do."""

import doctest
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import atrous
from atrous.cli import predict
from atrous.config.jobs import compose_run
from atrous.system.signals import Interrupted


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, as a notebook would."""
    before = Path.cwd()
    folder = tmp_path_factory.mktemp("notebook")
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def run(place, tiny):
    return atrous.train(*tiny)


@pytest.fixture(scope="module")
def names(run, tiny):
    """What the examples find there."""
    image = np.random.default_rng(0).integers(0, 256, (50, 71, 3), np.uint8)
    return {"atrous": atrous, "tiny": tiny, "run": run, "other": run, "image": image}


@pytest.mark.parametrize("name", ["create_model", "load", "train", "evaluate", "compare", "read_runs"])
def test_an_example_runs(name, names):
    examples = doctest.DocTestFinder().find(getattr(atrous, name), name, globs=dict(names))
    assert examples[0].examples
    for example in examples:
        said: list[str] = []
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append).failed
        assert not failed, "".join(said)


def test_a_run_is_the_commands(run, place, train_run, tiny, tmp_path, result_of):
    assert run.folder.is_relative_to(place / "runs")
    assert run.scores == pytest.approx(result_of(train_run(tmp_path))["scores"], abs=0, nan_ok=True)
    assert len(run.history()["val/miou"][1]) == 2
    assert run.command.startswith("python -m atrous train ")


def test_a_predictor_labels_as_the_command(run, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 61, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    words = [f"ckpt={run.folder}/checkpoints/best.ckpt", f"images={tmp_path / 'a.png'}", "probabilities=true"]
    predict.main([*words, f"out={tmp_path / 'out'}"])
    net = atrous.load(run.folder)
    for image in (pixels, Image.fromarray(pixels), tmp_path / "a.png"):
        np.testing.assert_array_equal(net.predict(image), np.array(Image.open(tmp_path / "out/labels/a.png")))
    np.testing.assert_array_equal(net.overlay(pixels), np.array(Image.open(tmp_path / "out/overlays/a.png")))
    stored = np.load(tmp_path / "out/probabilities/a.npz")["probabilities"]
    np.testing.assert_array_equal(net.probabilities(pixels).astype(np.float16), stored)
    with pytest.raises(atrous.DataError, match="float64"):
        net.predict(pixels / 255)
    with pytest.raises(atrous.DataError, match="mode I;16"):  # whose values Pillow would cut to 255
        net.predict(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: atrous.create_model("pspnett", num_classes=2), "did you mean 'pspnet'"),
        (lambda: atrous.create_model("pspnet", num_classes=2, strid=8), "unknown setting of pspnet 'strid'"),
        (lambda: atrous.create_model("deeplabv3plus", num_classes=2, encoder="resnet5"), "resnet5"),
        (lambda: atrous.create_model("pspnet", num_classes=0), "num_classes=0"),
        (lambda: atrous.create_model("pspnet", num_classes=2, pool_sizes={1}), "set"),
        (lambda: atrous.compare([], []), "0 and 0 runs"),
        (lambda: atrous.train("model=pspnett"), "pspnett"),
        (lambda: atrous.train("-m", "seed=0,1"), "key=value"),
        (lambda: atrous.train("data.batch_size=0"), "data.batch_size=0"),
        (lambda: atrous.train("data=camvid", "data.root=nowhere", "trainer=cpu"), "nowhere"),
        (lambda: atrous.evaluate("nowhere.ckpt"), "no checkpoint at nowhere.ckpt"),
        (lambda: atrous.evaluate("nowhere.ckpt", "split=all"), "split=all"),
        (lambda: atrous.read_runs("nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_raised_as_our_errors(call, message, place):
    with pytest.raises(atrous.AtrousError, match=message):
        call()


def test_a_model_takes_its_settings_as_python_has_them():
    net = atrous.create_model(
        "pspnet", num_classes=2, encoder={"name": "resnet18", "output_stride": 8}, pool_sizes=(1, 2)
    )
    assert net.eval()(torch.zeros(1, 3, 64, 64)).logits.shape[1] == 2
    smp = atrous.create_model("smp", num_classes=3, arch="unet", encoder_name="resnet18", encoder_weights=None)
    assert smp.eval()(torch.zeros(1, 3, 64, 64)).logits.shape[1] == 3


def test_the_import_is_light_and_names_what_there_is():
    code = "import sys, atrous; print(atrous.__version__, *dir(atrous)); sys.exit(bool({'torch', 'numpy', 'hydra'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"create_model", "load", "train", "evaluate", "read_runs", "compare"} <= set(done.stdout.split())
    with pytest.raises(AttributeError, match="nothing"):
        _ = atrous.nothing


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(Path(__file__).parents[1] / "docs" / "notebook.py"))
    out = capsys.readouterr().out
    assert "loss=" in out
    assert "too few seeds" in out or "no difference shown" in out  # which of them hangs on rounding


def test_a_run_that_is_stopped_stops_the_cell_alone(place, monkeypatch):
    def stopped(*_):
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr("atrous.engine.fit.run", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"SIGINT.*resume=auto"):
        atrous.train("trainer=cpu")


def test_runs_of_one_second_have_their_own_folders(place):
    assert len({compose_run(["seed=1"])[1] for _ in range(3)}) == 3
