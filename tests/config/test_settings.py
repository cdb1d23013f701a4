"""How a command line becomes a command's settings."""

import importlib
import shlex
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
from omegaconf import OmegaConf

from atrous.cli.main import COMMANDS
from atrous.config import settings
from atrous.config.compose import CONF_DIR
from atrous.config.settings import Words, read_settings
from atrous.config.values import PositiveInt
from atrous.errors import ConfigError

READ = sorted(set(COMMANDS) - {"train"})


@dataclass(frozen=True)
class Paint:
    out: Path
    count: PositiveInt
    glob: str | list[str] | None
    command: str
    overrides: list[str]


@dataclass(frozen=True)
class Strict:
    folders: Annotated[list[Path], Words("folder; give one")]
    out: Path
    count: PositiveInt
    glob: str | None


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "CONF_DIR", tmp_path)
    (tmp_path / "paint.yaml").write_text("# paints\nout: ???\ncount: 4 # of strokes\nglob: null\n")
    return lambda kind, *words: read_settings("paint", kind, words)


def test_own_settings_and_those_of_a_checkpoint(read):
    found = read(Paint, "out=[a", "model.output_stride=8", "+data.x=1", "glob=['a b',c]", "count=7")
    expected = {
        "out": Path("[a"),
        "count": 7,
        "glob": ["a b", "c"],
        "overrides": ["model.output_stride=8", "+data.x=1"],
    }
    assert {key: value for key, value in vars(found).items() if key != "command"} == expected
    assert shlex.split(found.command)[:5] == ["python", "-m", "atrous", "paint", "out=[a"]


@pytest.mark.parametrize("text", ["photos/*.jpg", "a #b: c", "yes"])
def test_text_is_taken_as_it_stands(read, text):
    assert read(Paint, "out=x", f"glob={text}").glob == text
    assert read(Paint, "out=x", f"glob='{text}'").glob == text


def test_folders_and_nothing_else(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    assert read(Strict, "a", "lr=0.1", "out=x").folders == [Path("a"), Path("lr=0.1")]


@pytest.mark.parametrize(
    ("kind", "words", "parts"),
    [
        (Paint, [], ["no value for out", "out=..."]),
        (Paint, ["out=x", "count=true"], ["count=true", "a whole number from 1 on", "count=4"]),
        (Paint, ["out=x", "count=[4"], ["count=[4"]),
        (Strict, ["out=x"], ["paint got no folder; give one"]),
        (Strict, ["a", "out=x", "cuont=3"], ["'cuont=3'", "out=, count=, glob="]),
        (Strict, ["a", "out=x", "--fast"], ["'--fast'"]),
    ],
)
def test_mistakes(read, kind, words, parts):
    with pytest.raises(ConfigError) as error:
        read(kind, *words)
    assert all(part in str(error.value) for part in parts)


def test_help_shows_the_yaml(read, capsys):
    with pytest.raises(SystemExit) as stop:
        read(Paint, "--help")
    assert (stop.value.code, "# of strokes" in capsys.readouterr().out) == (0, True)


@pytest.mark.parametrize("command", READ)
def test_every_command_s_settings_are_its_yaml_s(monkeypatch, command):
    module, read = importlib.import_module(f"atrous.cli.{command}"), []
    monkeypatch.setattr(module, "run_command", lambda name, kind, run, argv: read.append((name, kind)))
    module.main([])
    ((name, own),) = read
    assert name == command
    words = {field.name for field in fields(own) if "Words(" in str(field.type)}
    keys = set(OmegaConf.load(CONF_DIR / f"{command}.yaml"))
    assert {field.name for field in fields(own)} - {"command", "overrides"} - words == keys


@pytest.mark.parametrize("command", READ)
def test_help_and_mistakes_import_nothing_heavy(command):
    """Every command in one process each: `--help`, then an impossible value."""
    code = (
        "import sys\nfrom atrous.cli.main import main\n"
        "for words in (['--help'], ['seed=x', 'count=x', 'seed=[x', 'split=x']):\n"
        "    sys.argv = ['atrous', sys.argv[1] if len(sys.argv) == 2 else command, *words]\n"
        "    command = sys.argv[1]\n"
        "    try:\n        main()\n    except SystemExit:\n        pass\n"
        "heavy = {'torch', 'lightning', 'timm', 'albumentations', 'cv2', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
