"""`train`: fit a network, score its best checkpoint, leave a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atrous.cli.app import Failed, run_hydra
from atrous.config.compose import HydraRun, hydra_run, training_config
from atrous.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> None:
    """`python train.py` and `atrous train`; `argv` None means the process's own arguments."""
    run_hydra(job, "train", argv)


def job(cfg: Any) -> float:
    """One run of the (multi)run; returns its main score, which sweepers read."""
    run = hydra_run()
    if run.multirun:
        return _job(cfg, run)
    try:
        return _job(cfg, run)
    except Exception as error:
        raise Failed(error) from error


def _job(cfg: Any, run: HydraRun) -> float:
    from atrous.api import start  # here, since --help needs none of it
    from atrous.worker import run_saved

    if run.launcher == "slurm" and not run.multirun:
        raise ConfigError("hydra/launcher=slurm submits the jobs of a multirun, of which there may be one: add -m.")
    if not run.multirun and (given := [word for word in run.words if word.lstrip("+").startswith("study=")]):
        raise ConfigError(
            f"{given[0]} names the folder of a multirun's jobs, and this is a single run: add -m, or leave it out."
        )
    if run.multirun and run.sweeper.startswith("hydra_plugins.atrous"):
        return run_saved(run.folder)  # the study has composed and written its config
    return start(training_config(cfg), run.folder)[1]
