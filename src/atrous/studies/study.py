"""A study: the jobs of a multirun, each in a folder that a repeated command finds again, and what came of them.

A job's config is composed once, as the study is planned, and written into the job's folder before it is launched. Whatever
launches it starts `atrous.worker` on the folder. What came of it is read from there, wherever it ran.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from atrous.config.jobs import JobConfig
from atrous.errors import TrainingError
from atrous.runs.identity import Files, Identity, nearest, told
from atrous.runs.record import write_config
from atrous.runs.resume import has_more_time, stored_runs
from atrous.runs.run import Run, Status
from atrous.system.locks import is_held
from atrous.system.ranks import is_main_process
from atrous.system.text import short

SLUG = 60  # characters of a folder's name before its fingerprint
DIGITS = 8  # of the fingerprint


@dataclass
class Job:
    """One combination of a study's values.

    Args:
        folder: Its run folder.
        overrides: Its command line.
        config: Its config; None before it is needed.
        wanted: What tells its run from others; None where its folder was known already.
        error: Why it failed, where its launcher knows more than its folder tells.
    """

    folder: Path
    overrides: list[str]
    config: JobConfig | None = None
    wanted: Identity | None = None
    error: str | None = None

    @property
    def run(self) -> Run:
        """What its folder says now."""
        return Run.at(self.folder)

    @property
    def status(self) -> Status:
        """What came of it."""
        run = self.run
        status = run.status
        if run.finished and self.wanted is not None and has_more_time(run, self.wanted):
            status = Status.INTERRUPTED
        return Status.FAILED if self.error is not None and status != Status.FINISHED else status

    def reason(self) -> str | None:
        """Why it has not finished; None where it has."""
        run = self.run
        return None if self.status == Status.FINISHED else self.error or run.result.get("error") or self.status

    def composed(self) -> JobConfig:
        """Its config.

        Raises:
            ValueError: If it was never needed.
        """
        if self.config is None:
            raise ValueError(f"{self.folder} has no config yet; launch_jobs composes it")
        return self.config

    def resolved(self) -> dict[str, Any]:
        """Its config as it is on this machine."""
        return self.composed().resolved(str(self.folder))


@dataclass(frozen=True)
class Multirun:
    """What a sweeper knows of its multirun.

    Args:
        folder: Holds the jobs' folders.
        compose: Composes a job by its overrides.
        launch: Runs jobs whose folders hold their configs, numbered from a first one on, and sets their `error`.
        dry_run: Whether `launch` only shows what it would do.
        files: Of the jobs' data, as they were when they were first looked at.
    """

    folder: Path
    compose: Callable[[Sequence[str]], JobConfig]
    launch: Callable[[Sequence[Job], int], None]
    dry_run: bool = False
    files: Files = field(default_factory=Files)

    @functools.cached_property
    def stored(self) -> list[Run]:
        """The runs that its folder held as it was planned."""
        return stored_runs(self.folder)


def run_study(combinations: Sequence[Sequence[str]], multirun: Multirun) -> None:
    """Runs the jobs that are not finished, and shows what came of all.

    Args:
        combinations: The overrides of each job.
        multirun: Composes and launches the jobs.

    Raises:
        ConfigError: If a job's config can't be composed; before any is started.
        TrainingError: If jobs failed, with all reasons, the first one first.
    """
    jobs = plan(combinations, multirun)
    tell_unread(job.wanted for job in jobs)
    _tell_nearest(jobs, multirun.stored, varied=_varying(combinations))
    finished = [job for job in jobs if job.status == Status.FINISHED]
    left = [job for job in jobs if job not in finished]
    console = Console()
    count = f"{len(jobs)} job{'s' * (len(jobs) != 1)}, {len(finished)} finished already"
    print(f"study {short(multirun.folder)}: {count}\n", flush=True)
    if left and multirun.dry_run:
        launch_jobs(left, multirun)
        return
    try:
        if left:
            launch_jobs(left, multirun)
    finally:  # also where a signal ends the study
        console.print(_table(jobs, finished))
        if any(job.status == Status.FINISHED for job in jobs):
            print(f"  report     {report_command(multirun.folder)}", flush=True)
    failed = [(job, why) for job in jobs if (why := job.reason()) is not None]
    if failed:
        reasons = "\n".join(f"  {job.folder.name}: {why}" for job, why in failed)
        raise TrainingError(
            f"{len(failed)} of {len(jobs)} jobs did not finish:\n{reasons}\nThe same command goes on with them alone."
        )


def plan(combinations: Sequence[Sequence[str]], multirun: Multirun, *, named_by: Sequence[str] = ()) -> list[Job]:
    """The jobs, each in the folder that holds its settings' run or would hold it.

    Combinations that train the same weights and make the same scores, such as of two numbers of workers, are one job.

    Args:
        combinations: The overrides of each job.
        multirun: Composes the jobs.
        named_by: The keys whose values name a new folder; none: those whose values vary.
    """
    jobs: dict[str, Job] = {}
    for overrides, slug in zip(combinations, _slugs(combinations, named_by), strict=True):
        config = multirun.compose(overrides)
        wanted = multirun.files.identity(config.resolved())
        digits = wanted.fingerprint[:DIGITS]
        there = sorted(multirun.folder.glob(f"*-{digits}"))  # another grid may have given it another name
        # an earlier version, other places of the data, or another trainer.max_time
        there += [run.folder for run in multirun.stored if wanted.is_of(run) or has_more_time(run, wanted)]
        folder = [*there, multirun.folder / f"{slug}-{digits}"][0]
        jobs.setdefault(digits, Job(folder, list(overrides), config, wanted))
    return list(jobs.values())


def tell_unread(asked: Iterable[Identity | None]) -> None:
    """Says so where jobs are not known by their data's files, since those can't be read here."""
    for reason in dict.fromkeys(wanted.unread for wanted in asked if wanted and wanted.unread):
        print(f"The data can't be read here, so these jobs are known by where it lies instead of its files: {reason}")


def _tell_nearest(jobs: Sequence[Job], stored: Sequence[Run], *, varied: set[str]) -> None:
    """Where none of the jobs is there, and other runs are, says how the nearest differs in more than what the study varies."""
    if any(run.folder == job.folder for job in jobs for run in stored):
        return
    near = nearest(jobs[0].wanted, stored) if jobs[0].wanted else None
    if near is not None and not set(near[1]) <= varied:
        run, keys = near
        print(
            f"None of the runs that are there is one of these jobs. {run.folder.name} is near; differing (then / now):"
        )
        print(f"  {told(keys)}")


def launch_jobs(
    jobs: Sequence[Job], multirun: Multirun, *, first: int = 0, pruning: dict[str, int] | None = None
) -> None:
    """Writes the jobs' configs into their folders and runs them.

    Args:
        jobs: Those to be run.
        multirun: Composes and launches them.
        first: The number of the first one.
        pruning: When a search gives a trial up; None: never.
    """
    for job in jobs:
        job.config = job.config or multirun.compose(job.overrides)
        if not multirun.dry_run and is_main_process() and not is_held(job.folder):
            write_config(job.folder, _config_of_job(job, pruning))
    multirun.launch(jobs, first)


def _config_of_job(job: Job, pruning: dict[str, int] | None) -> dict[str, Any]:
    """A job's config: it goes on with what its folder holds, and W&B groups its run with those of the other jobs."""
    config = job.composed().portable(str(job.folder))
    config["resume"] = "auto"
    for options in config["logger"].values():
        if "group" in options and options["group"] is None:
            options["group"] = job.folder.parent.name
    if pruning is not None and "callbacks" in config:  # a method is scored once, with nothing to give up
        prune = {"_target_": "atrous.callbacks.prune.Prune", "folder": str(job.folder), **pruning}
        config["callbacks"] = {**config["callbacks"], "prune": prune}
    return config


def _varying(combinations: Sequence[Sequence[str]]) -> set[str]:
    """The keys whose values vary."""
    pairs = {override.partition("=")[::2] for overrides in combinations for override in overrides}
    keys = [key for key, _ in pairs]
    return {key for key in keys if keys.count(key) > 1}


def _slugs(combinations: Sequence[Sequence[str]], named_by: Sequence[str]) -> list[str]:
    """A name for each combination, of the keys given or what varies: `output_stride-8_seed-0`."""
    pairs = [[override.partition("=")[::2] for override in overrides] for overrides in combinations]
    varied = named_by or _varying(combinations)
    varying = [column for column in zip(*pairs, strict=True) if column[0][0] in varied]
    if not varying:
        return ["job"] * len(combinations)
    names = short_keys([column[0][0].lstrip("+~") for column in varying])
    rows = [
        "_".join(f"{name}-{_plain(value)}" for name, (_, value) in zip(names, row, strict=True))
        for row in zip(*varying, strict=True)
    ]
    return [row[:SLUG].rstrip("-._") for row in rows]


def short_keys(keys: Sequence[str]) -> list[str]:
    """The last word of each key, where no other has the same."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]


def _plain(text: str) -> str:
    """`[6,12,18]` as 6-12-18; what stays is safe in any shell and file system."""
    return "-".join(re.findall(r"[A-Za-z0-9._+-]+", text))


def report_command(folder: Path) -> str:
    """The command that shows what came of a study, to be pasted."""
    return shlex.join(["python", "-m", "atrous", "report", str(short(folder))])


def _table(jobs: list[Job], before: list[Job]) -> Table:
    name = jobs[0].run.main_score.name
    table = Table(Column("job", overflow="fold"), "outcome", name, "updates")
    for job in jobs:
        run = job.run
        status = "finished before" if job in before else job.status
        score = f"{run.score:.4f}" if run.finished else ""
        table.add_row(job.folder.name, status, score, str(run.result.get("steps", "")))
    return table
