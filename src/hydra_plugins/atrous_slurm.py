"""`hydra/launcher=slurm` where Hydra looks for plugins; every command imports it, so it imports nothing of ours by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class SlurmLauncher(Launcher):  # type: ignore[misc]
    """Submits the jobs of a multirun to SLURM and waits for them.

    Args:
        settings: Those of conf/hydra/launcher/slurm.yaml.
    """

    def __init__(self, **settings: Any) -> None:
        self.dry_run = bool(settings["dry_run"])
        self._settings: Any = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from atrous.studies.slurm import launch

        return launch(
            [list(overrides) for overrides in job_overrides],
            first=initial_job_idx,
            settings=self._settings,
            context=self._context,
            task=self._task,
            config=self._config,
        )
