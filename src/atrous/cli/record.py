"""What a run leaves in its folder beside checkpoints and curves: config.yaml, result.json, confusion.npz."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

VERSIONS_OF = ("atrous", "torch", "torchvision", "lightning", "hydra-core", "timm", "albumentations", "numpy")


class RunRecord:
    """`result.json` of one run. Every change is written at once, to a temporary name that is then renamed.

    Args:
        folder: The run folder; it exists.
        config: The resolved config, written as config.yaml.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
        self.content: dict[str, Any] = {
            "status": "running",
            "command": command_line(),
            "started": now(),
            "provenance": provenance(config),
        }
        self.write()

    def update(self, **values: Any) -> None:
        self.content |= values
        self.write()

    def write(self) -> None:
        write_text(self.folder / "result.json", to_json(self.content))


def to_json(content: dict[str, Any]) -> str:
    """Strict JSON: numbers that are not finite, such as the IoU of an absent class, become null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple | np.ndarray):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Writes to a temporary name and renames, so that a reader never meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes a compressed .npz to a temporary name and renames it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def command_line() -> str:
    """The command as a user would type it again."""
    return shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])


def provenance(config: dict[str, Any]) -> dict[str, Any]:
    """Where a score comes from: code, versions, hardware, seed."""
    versions = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "git": git_state(Path(__file__).parent),
        "versions": versions,
        "hardware": {
            "machine": platform.machine(),
            "processor": processor_name(),
            "cores": len(os.sched_getaffinity(0)),
        },
        "seed": config["seed"],
    }


def git_state(folder: Path) -> dict[str, Any]:
    """The commit that the code was at and whether it had been changed since; nulls outside a clone."""

    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return run.stdout.strip() if run.returncode == 0 else None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def processor_name() -> str:
    """The CPU's model name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
