"""Our launchers where Hydra looks for plugins. Every command imports them, so they import nothing of ours before it is used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from atrous.studies.study import Job


class FolderLauncher(Launcher):  # type: ignore[misc]
    """Starts workers on run folders that hold their configs."""

    dry_run = False

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> None:
        """Runs jobs and sets the `error` of those that fail without a word in their folders."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.loader = config, hydra_context.config_loader

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What sweepers other than ours call; their jobs' folders have numbers."""
        from atrous.config.jobs import compose_job
        from atrous.runs.record import write_config
        from atrous.studies.study import Job

        jobs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = compose_job(overrides, self.config, self.loader, number=number)
            job = Job(config.folder, list(overrides), config)
            if not self.dry_run:
                write_config(job.folder, config.portable(str(job.folder)))
            jobs.append(job)
        self.run(jobs)
        return [self._returned(job) for job in jobs]

    def _returned(self, job: Job) -> JobReturn:
        from atrous.errors import TrainingError

        why = None if self.dry_run else job.reason()
        returned = JobReturn(overrides=job.overrides, status=JobStatus.FAILED if why else JobStatus.COMPLETED)
        score = None if self.dry_run or why else job.run.score
        returned.return_value = TrainingError(f"{job.folder}: {why}") if why else score
        return returned


class LocalLauncher(FolderLauncher):
    """Runs several jobs at once on this machine.

    Args:
        jobs: How many at once; None: see `atrous.studies.local.how_many`.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs

    def run(self, jobs: Sequence[Job]) -> None:
        from atrous.studies.local import run_jobs

        run_jobs(jobs, self.jobs)


class SlurmLauncher(FolderLauncher):
    """Submits the jobs to SLURM and waits for them.

    Args:
        settings: Those of conf/hydra/launcher/slurm.yaml.
    """

    def __init__(self, **settings: Any) -> None:
        self.dry_run = bool(settings["dry_run"])
        self._settings: Any = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)

    def run(self, jobs: Sequence[Job]) -> None:
        from atrous.studies.slurm import launch

        launch(jobs, self._settings)
