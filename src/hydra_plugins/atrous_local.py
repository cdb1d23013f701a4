"""Our launcher for one machine where Hydra looks for plugins. Every command imports it, so it imports nothing of ours yet."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn


class LocalLauncher(BasicLauncher):  # type: ignore[misc]
    """Runs several jobs at once, each a process of its own.

    Args:
        jobs: How many at once; None: see `atrous.studies.local.how_many`.
    """

    def __init__(self, jobs: int | None = None) -> None:
        super().__init__()
        self.jobs = jobs

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from atrous.studies.local import run_jobs

        return run_jobs(
            job_overrides,
            first=initial_job_idx,
            jobs=self.jobs,
            config=self.config,
            context=self.hydra_context,
            task=self.task_function,
        )
