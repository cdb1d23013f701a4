"""Slips on a command line or in a call: each is done as it was meant, or refused by name, value and remedy."""

import sys

import pytest

import atrous
from atrous.cli import evaluate, profile, report, train
from atrous.config.jobs import compose_run
from atrous.errors import CheckpointError, ConfigError


@pytest.mark.parametrize(
    ("command", "words", "parts"),
    [
        (train, ["study=x"], ["study=x", "add -m"]),
        (train, ["data=folder", "data.images=Bücher"], ["data.images=Bücher", "'data.images=\"Bücher\"'"]),
        (evaluate, ["ckpt="], ["ckpt=", "a path"]),
        (train, ["data.images[0]=x"], ["data.images[0]=x", "key=value"]),
        (train, ["inference.strid=3", "inference=slide"], ["'strid'", "of inference", "'stride'"]),
        (train, ["modle=unet"], ["'modle'", "'model'"]),
        (train, ["+modle=unet"], ["nothing reads modle", "'model'"]),
        (train, ["+paths.rnus=x"], ["nothing reads paths.rnus", "'runs'"]),
        (train, ["model=unett"], ["model=unett", "'unet'", "pspnet"]),
        (train, ["model=[unet,fcn]"], ["model=[unet,fcn]", "model=unet,fcn", "-m"]),
        (train, ["seed=0,1"], ["seed=0,1", "-m"]),
        (train, ["+model=unet"], ["give model=unet"]),
        (train, ["~loss"], ["a training needs loss", "~loss"]),
        (train, ["seed=${foo}"], ["seed can't be found out", "foo"]),
        (train, ["data.size=${data.size}"], ["can't be found out", "Recursive"]),
        (train, ["paths.runs="], ["paths.runs= names no folder"]),
        (train, ["hydra.run.dir="], ["hydra.run.dir= names no folder"]),
        (train, ["model.encoder.name=1"], ["model.encoder.name=1", "resnet50"]),
        (train, ["model.low_level_channels=0"], ["model.low_level_channels=0", "from 1 on"]),
        (train, ["inference=crf", "inference.mean=[]"], ["inference.mean=[]", "three numbers"]),
        (train, ["seed=true"], ["seed=true", "from 0 to 4294967295"]),
        (train, ["ckpt_path="], ["ckpt_path=", "not empty"]),
        (profile, ["models=[]"], ["models=[]", "not empty"]),
        (profile, ["models="], ["models=", "not empty"]),
        (report, [".", "wandb=true"], ["wandb=true", "wandb=atrous"]),
    ],
)
def test_a_slip_is_told(command, words, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["atrous"])
    with pytest.raises(SystemExit):
        command.main(words)
    said = capsys.readouterr().err
    assert all(part in said for part in parts), said
    assert len(said.strip().splitlines()) == 1  # no list of all words, no hints of Hydra's that add a key


def test_a_key_of_ones_own_may_be_referred_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, _ = compose_run(["+rate=0.125", "optimizer.lr=${rate}"])
    assert config["optimizer"]["lr"] == 0.125


def test_launchers_are_listed_without_escapes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        train.main(["hydra/launcher=x"])
    said = capsys.readouterr().err
    assert "local" in said
    assert "\\t" not in said


def test_many_runs_may_be_asked_for_in_the_middle(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("atrous.cli.app.hydra_app", lambda task, name: lambda: asked.append(sys.argv[1:]))
    train.main(["seed=0,1", "-m", "data=scenes"])
    assert asked == [["-m", "seed=0,1", "data=scenes"]]


@pytest.mark.parametrize("file", ["notes.txt", "notes.ckpt"])
def test_a_text_is_no_checkpoint(file, tmp_path):
    (tmp_path / file).write_text("hello")
    with pytest.raises(CheckpointError, match=file):
        atrous.load(tmp_path / file)


def test_calls_of_another_kind_are_refused():
    with pytest.raises(ConfigError, match=r"train\(\*words\)"):
        atrous.train(["model=unet"])
    with pytest.raises(ConfigError, match=r"None.*unet"):
        atrous.create_model(name=None, num_classes=2)


def test_a_network_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "nets_of_mine.py").write_text(
        "from torch import nn\ndef net(num_classes): return nn.Conv2d(3, num_classes, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    net = atrous.create_model("custom", num_classes=4, _target_="nets_of_mine.net")
    assert net.model.out_channels == 4


def test_a_config_that_is_only_shown_names_the_folder_that_a_run_would_have(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train.main(["--cfg", "job", "--resolve", "name=mine"])
    said = capsys.readouterr().out
    assert "dirpath: runs/mine/" in said
    assert "None/" not in said
