"""Our sweepers where Hydra looks for plugins. Every command imports them, so they import nothing of ours before it is used."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from contextlib import redirect_stderr
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from atrous.studies.study import Job, Multirun


class FolderSweeper(Sweeper):  # type: ignore[misc]
    """Finds a job's folder by its settings. Any launcher of Hydra runs the jobs; it decides nothing.

    Args:
        params: What varies, as overrides; the command line's come on top.
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def overrides(self, arguments: Sequence[str]) -> list[Override]:
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parsed: list[Override] = OverridesParser.create(config_loader=self.loader).parse_overrides(words)
        return parsed

    def multirun(self) -> Multirun:
        from atrous.config.jobs import compose_job, sweep_folder
        from atrous.studies.study import Multirun

        return Multirun(
            folder=sweep_folder(self.config),
            compose=partial(compose_job, config=self.config, loader=self.loader),
            launch=self._launch,
            dry_run=getattr(self.launcher, "dry_run", False),
        )

    def _launch(self, jobs: Sequence[Job], first: int) -> None:
        if hasattr(self.launcher, "run"):  # ours
            self.launcher.run(jobs)
            return
        from atrous.config.command_line import COMMAND
        from atrous.config.messages import describe

        overrides = [
            [
                *job.overrides,
                f"hydra.sweep.dir={_quoted(job.folder.parent)}",
                f"hydra.sweep.subdir={_quoted(job.folder.name)}",
                f"++hydra.job.env_set.{COMMAND}={_quoted(job.composed().command)}",
            ]
            for job in jobs
        ]
        for job, returned in zip(jobs, self.launcher.launch(overrides, initial_job_idx=first), strict=True):
            error = _error(returned)
            job.error = describe(error) if error else None


class StudySweeper(FolderSweeper):
    """Runs all combinations of the values given, each once, however often the command is started."""

    def sweep(self, arguments: Sequence[str]) -> None:
        from atrous.studies.study import run_study

        run_study(_combinations(self.overrides(arguments)), self.multirun())


class SearchSweeper(FolderSweeper):
    """Draws values by what came of the earlier ones, trains with them, and goes on where it was stopped.

    Args:
        params: The space, as overrides; the command line's replace them.
        settings: The others of conf/hydra/sweeper/search.yaml.
    """

    def __init__(self, params: dict[str, Any] | None = None, **settings: Any) -> None:
        super().__init__(params)
        self.settings = settings

    def sweep(self, arguments: Sequence[str]) -> None:
        from atrous.studies.search import run_search

        run_search(self.overrides(arguments), self.multirun(), **self.settings)


def _combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """All combinations of the values given; of two overrides with one key the later counts."""
    words: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            words[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            words[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            from atrous.errors import ConfigError

            raise ConfigError(
                f"{override.input_line}: a study runs all values, and an interval has no end of them. Give values, such as "
                f"{key}=1,2, or draw them by hydra/sweeper=search."
            )
    return [list(combination) for combination in itertools.product(*words.values())]


def _error(returned: JobReturn) -> BaseException | None:
    """What a job that failed has raised."""
    if returned.status != JobStatus.FAILED:
        return None
    try:
        with redirect_stderr(io.StringIO()):  # where Hydra tells it, too
            returned.return_value  # noqa: B018 - raises it
    except Exception as error:
        return error
    return None


def _quoted(value: object) -> str:
    """A string as Hydra's grammar reads it back."""
    return "'" + str(value).replace("'", "\\'") + "'"
