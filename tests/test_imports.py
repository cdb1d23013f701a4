"""Imports run one way, as the design says; read with `ast`, nothing is imported."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "atrous"
BASE = {"types", "errors", "processes"}
ALLOWED = {
    "types": set(),
    "errors": set(),
    "processes": set(),
    "layers": BASE,
    "encoders": BASE | {"layers"},
    "models": BASE | {"layers", "encoders"},
    "data": BASE,
    "losses": BASE,
    "metrics": BASE,
    "optim": BASE,
    "crf": BASE,
    "export": BASE,
    "report": BASE | {"metrics"},
    "analysis": BASE | {"layers"},
    "inference": BASE | {"layers"},
    "tasks": BASE | {"metrics", "inference"},
    "callbacks": BASE | {"metrics", "inference", "optim"},
}
FILES = sorted(SOURCE.rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def package_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_part_imports_only_what_it_may(path):
    package = package_of(path)
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "hydra":
            assert package == "cli", f"{path} imports hydra, which is the commands' business"
        if parts[0] != "atrous" or len(parts) == 1:
            continue
        if package in ALLOWED:
            assert parts[1] in ALLOWED[package] | {package}, f"{path} imports {module}"
        else:
            assert package in ("cli", "__main__", "__init__"), f"the new package {package} needs a line in ALLOWED"


def test_every_package_is_covered():
    assert {package_of(path) for path in FILES} - {"cli", "__init__", "__main__"} <= set(ALLOWED)
