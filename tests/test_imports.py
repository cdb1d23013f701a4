"""Imports run one way, as the design says; read with `ast`, nothing is imported."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "atrous"
# From the ground up: a room imports from the floors below its own, never from its own floor or above.
FLOORS = [
    {"types", "errors"},
    {"metrics", "system"},
    {"layers"},
    {"losses", "optim", "data", "crf", "classical", "export", "loggers", "pages"},
    {"encoders", "inference"},
    {"models", "tasks", "config"},
    {"runs", "analysis"},
    {"callbacks", "studies", "report"},
    {"engine"},
    {"lab"},
    {"api", "worker"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(SOURCE.rglob("*.py"))


def imported(path):
    """Every module that a file imports, inside its functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "atrous":
                yield from (f"atrous.{alias.name}" for alias in node.names)
            else:
                yield node.module


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_below(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in FLOOR, f"the new room {room} needs its floor"
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "hydra":
            assert room == "config", f"{path} imports hydra; config is its door"
        if parts[0] != "atrous" or parts[1] == room:
            continue
        assert FLOOR[parts[1]] < FLOOR[room], f"{path} imports {module}"


def test_no_command_imports_another():
    commands = {path.stem for path in (SOURCE / "cli").glob("*.py")} - {"__init__", "main", "app", "settings"}
    for path in (SOURCE / "cli").glob("*.py"):
        if path.stem in commands:
            others = {module.split(".")[2] for module in imported(path) if module.startswith("atrous.cli.")}
            assert not others & commands - {path.stem}, f"{path} imports the command {others & commands}"


def test_no_experiment_imports_a_command():
    for path in (SOURCE.parents[1] / "experiments").rglob("*.py"):
        assert not any(module.startswith("atrous.cli") for module in imported(path)), path
