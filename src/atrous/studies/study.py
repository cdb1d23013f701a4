"""A study: the jobs of a multirun, each in a folder that a repeated command finds again, and what came of them.

What is here runs before and after the launcher. A launcher gets the overrides of the jobs that are to be run, which name
their folders; what came of them is read from there, wherever they ran. `job_of_study` is what runs in the job itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write
from rich.console import Console
from rich.table import Column, Table

from atrous.config.compose import resolved
from atrous.config.fingerprint import fingerprint
from atrous.config.messages import error_message
from atrous.errors import TrainingError
from atrous.runs.run import load_run
from atrous.system.locks import is_held
from atrous.system.ranks import is_main_process
from atrous.system.text import printable, short

SLUG = 60  # characters of a folder's name before its fingerprint
DIGITS = 8  # of the fingerprint


@dataclass
class Job:
    """One combination of a study's values.

    Args:
        folder: Its run folder.
        overrides: Its command line.
        error: Why it failed, where the launcher tells.
    """

    folder: Path
    overrides: list[str]
    error: str | None = None

    def result(self) -> dict[str, Any]:
        """Its result.json; empty where there is none."""
        run = load_run(self.folder)
        return run.result if run else {}


def run_study(combinations: Sequence[Sequence[str]], config: DictConfig, *, loader: Any, launcher: Any) -> None:
    """Runs the jobs that are not finished, and shows what came of all.

    Args:
        combinations: The overrides of each job.
        config: The multirun's own config.
        loader: Hydra's, composes the jobs' configs.
        launcher: One of Hydra's; runs the jobs.

    Raises:
        ConfigError: If a job's config can't be composed; before any is started.
        TrainingError: If jobs failed, with all reasons, the first one first.
    """
    study = study_folder(config)
    jobs = plan(combinations, config, study, loader)
    finished = [job for job in jobs if job.result().get("status") == "finished"]
    left = [job for job in jobs if job not in finished]
    console = Console()
    print(
        f"study {short(study)}: {len(jobs)} job{'s' * (len(jobs) != 1)}, {len(finished)} finished already\n", flush=True
    )
    if left and getattr(launcher, "dry_run", False):  # a cluster's, which shows what it would do
        launch_jobs(left, study, launcher)
        return
    try:
        if left:
            launch_jobs(left, study, launcher)
    finally:  # also where a signal ends the study
        console.print(_table(jobs, finished))
    failed = [(job, why) for job in jobs if (why := failure(job)) is not None]
    if failed:
        reasons = "\n".join(f"  {job.folder.name}: {why}" for job, why in failed)
        raise TrainingError(
            f"{len(failed)} of {len(jobs)} jobs did not finish:\n{reasons}\nThe same command goes on with them alone."
        )


def study_folder(config: DictConfig) -> Path:
    """Where the jobs' folders are; written into the config, too, since launchers read it where no job is set up."""
    with _hydra(config):
        study = Path(config.hydra.sweep.dir).absolute()
    with read_write(config.hydra):
        config.hydra.sweep.dir = str(study)
    return study


def plan(
    combinations: Sequence[Sequence[str]], config: DictConfig, study: Path, loader: Any, *, named_by: Sequence[str] = ()
) -> list[Job]:
    """The jobs, each in the folder that holds its settings' run or would hold it.

    Combinations that train the same weights and make the same scores, such as of two numbers of workers, are one job.

    Args:
        combinations: The overrides of each job.
        config: The multirun's own config.
        study: The folder of the jobs' folders.
        loader: Hydra's, composes the jobs' configs.
        named_by: The keys whose values name a new folder; none: those whose values vary.
    """
    slugs = _slugs(combinations, named_by)
    jobs: dict[str, Job] = {}
    for overrides, slug in zip(combinations, slugs, strict=True):
        digits = fingerprint(composed(overrides, config, loader))[:DIGITS]
        there = sorted(study.glob(f"*-{digits}"))  # another grid may have given it another name
        folder = there[0] if there else study / f"{slug}-{digits}"
        jobs.setdefault(digits, Job(folder, list(overrides)))
    return list(jobs.values())


def is_study() -> bool:
    """Whether this process runs a job of a study."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and str(hydra.sweeper._target_).startswith("hydra_plugins.atrous")


@contextmanager
def job_of_study(config: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Around a study's job, whichever launcher runs it: yields the job's config and records its failure.

    The config goes on with what the folder holds, and W&B groups its run with those of the other jobs.
    """
    from atrous.runs.record import RunRecord, now

    loggers = {name: dict(options) for name, options in config["logger"].items()}
    for options in loggers.values():
        if "group" in options and options["group"] is None:
            options["group"] = folder.parent.name
    config = {**config, "resume": "auto", "logger": loggers}
    pruning = HydraConfig.get().sweeper.get("pruning")  # of a search
    if pruning is not None:
        prune = {"_target_": "atrous.callbacks.prune.Prune", "folder": str(folder), **pruning}
        config["callbacks"] = {**config["callbacks"], "prune": prune}
    try:
        yield config
    except Exception as error:
        why = error_message(error)
        logging.getLogger(__name__).error("%s", printable(_told(error), keep="\n"), exc_info=None if why else error)
        if is_main_process() and not (folder / "result.json").exists():  # failed before its record was there
            record = RunRecord(folder, config)
            record.update(status="failed", error=_told(error), ended=now())
            record.release()
        raise


def launch_jobs(jobs: list[Job], study: Path, launcher: Any, *, first: int = 0) -> None:
    """Runs the jobs, numbered from `first` on, and notes the errors that the launcher returns."""
    returns = launcher.launch(
        [
            [*job.overrides, f"hydra.sweep.dir={_quoted(study)}", f"hydra.sweep.subdir={_quoted(job.folder.name)}"]
            for job in jobs
        ],
        initial_job_idx=first,
    )
    for job, returned in zip(jobs, returns, strict=True):
        if returned.status == JobStatus.FAILED:
            job.error = _told(returned._return_value)  # the public one prints and raises


def _told(error: BaseException) -> str:
    return error_message(error) or f"{type(error).__name__}: {error}"


def _quoted(value: object) -> str:
    """A string as Hydra's grammar reads it back."""
    return "'" + str(value).replace("'", "\\'") + "'"


def composed(overrides: Sequence[str], config: DictConfig, loader: Any) -> dict[str, Any]:
    """A job's config, interpolations replaced as in the job, but for its folder, which is to be found by it."""
    cfg = loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = "run"
        task = cfg.copy()
        del task["hydra"]
    with _hydra(cfg):
        return resolved(task)


@contextmanager
def _hydra(cfg: DictConfig) -> Iterator[None]:
    """Where `${hydra:...}` is read from meanwhile."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _slugs(combinations: Sequence[Sequence[str]], named_by: Sequence[str]) -> list[str]:
    """A name for each combination, of the keys given or what varies: `output_stride-8_seed-0`."""
    pairs = [[override.partition("=")[::2] for override in overrides] for overrides in combinations]
    columns = zip(*pairs, strict=True)
    if named_by:
        varying = [column for column in columns if column[0][0] in named_by]
    else:
        varying = [column for column in columns if len({value for _, value in column}) > 1]
    if not varying:
        return ["job"] * len(combinations)
    keys = [column[0][0].lstrip("+~") for column in varying]
    lasts = [key.rpartition(".")[2] for key in keys]
    names = [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]
    rows = [
        "_".join(f"{name}-{_plain(value)}" for name, (_, value) in zip(names, row, strict=True))
        for row in zip(*varying, strict=True)
    ]
    return [row[:SLUG].rstrip("-._") for row in rows]


def _plain(text: str) -> str:
    """`[6,12,18]` as 6-12-18; what stays is safe in any shell and file system."""
    return "-".join(re.findall(r"[A-Za-z0-9._+-]+", text))


def outcome(job: Job) -> str:
    """What came of a job: finished, failed, killed, not started, or another status of its result.json."""
    status = str(job.result().get("status", "not started"))
    if job.error is not None and status != "finished":
        return "failed"
    return "killed" if status == "running" and not is_held(job.folder) else status


def failure(job: Job) -> str | None:
    """Why a job has not finished; None where it has."""
    result = job.result()
    if result.get("status") == "finished":
        return None
    if job.error is not None:
        return job.error
    return result.get("error") or outcome(job)


def _table(jobs: list[Job], before: list[Job]) -> Table:
    table = Table(Column("job", overflow="fold"), "outcome", "mIoU", "updates")
    for job in jobs:
        result, status = job.result(), outcome(job)
        score = result["scores"]["miou"] if status == "finished" else None
        status = "finished before" if job in before else status
        table.add_row(job.folder.name, status, "" if score is None else f"{score:.4f}", str(result.get("steps", "")))
    return table
