"""`train`: fit a network, score its best checkpoint, leave a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from atrous.api import start
from atrous.cli.app import run_hydra
from atrous.config.compose import resolved
from atrous.errors import ConfigError
from atrous.worker import run_saved


def main(argv: Sequence[str] | None = None) -> None:
    """`python train.py` and `atrous train`; `argv` None means the process's own arguments."""
    run_hydra(job, "train", argv)


def job(cfg: DictConfig) -> float:
    """One run of the (multi)run; returns its mIoU, which sweepers read."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if hydra.mode != RunMode.MULTIRUN and hydra.runtime.choices.get("hydra/launcher") == "slurm":
        raise ConfigError("hydra/launcher=slurm submits the jobs of a multirun, of which there may be one: add -m.")
    if hydra.mode == RunMode.MULTIRUN and str(hydra.sweeper._target_).startswith("hydra_plugins.atrous"):
        return run_saved(folder)  # the study has composed and written its config
    return start(resolved(cfg), folder)[1]
