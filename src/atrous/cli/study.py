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

from atrous.cli.app import error_message, printable, resolved
from atrous.cli.resume import fingerprint, read_run, short
from atrous.errors import TrainingError

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
        run = read_run(self.folder / "result.json")
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
    with _hydra(config):
        study = Path(config.hydra.sweep.dir).absolute()
    with read_write(config.hydra):
        config.hydra.sweep.dir = str(study)  # launchers read it where no job is set up
    jobs = plan(combinations, config, study, loader)
    finished = [job for job in jobs if job.result().get("status") == "finished"]
    left = [job for job in jobs if job not in finished]
    console = Console()
    print(f"study {short(study)}: {len(jobs)} jobs, {len(finished)} finished already\n", flush=True)
    try:
        if left:
            _launch(left, study, launcher)
    finally:  # also where a signal ends the study
        console.print(_table(jobs, finished))
    failed = [(job, why) for job in jobs if (why := _failure(job)) is not None]
    if failed:
        reasons = "\n".join(f"  {job.folder.name}: {why}" for job, why in failed)
        raise TrainingError(
            f"{len(failed)} of {len(jobs)} jobs did not finish:\n{reasons}\nThe same command goes on with them alone."
        )


def plan(combinations: Sequence[Sequence[str]], config: DictConfig, study: Path, loader: Any) -> list[Job]:
    """The jobs, each in the folder that holds its settings' run or would hold it.

    Combinations that train the same weights and make the same scores, such as of two numbers of workers, are one job.
    """
    slugs = _slugs(combinations)
    jobs: dict[str, Job] = {}
    for overrides, slug in zip(combinations, slugs, strict=True):
        digits = fingerprint(_composed(loader.load_sweep_config(config, list(overrides))))[:DIGITS]
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
    from atrous.cli.record import RunRecord, now

    loggers = {name: dict(options) for name, options in config["logger"].items()}
    for options in loggers.values():
        if "group" in options and options["group"] is None:
            options["group"] = folder.parent.name
    config = {**config, "resume": "auto", "logger": loggers}
    try:
        yield config
    except Exception as error:
        why = error_message(error)
        logging.getLogger(__name__).error("%s", printable(_told(error)), exc_info=None if why else error)
        if not (folder / "result.json").exists():  # failed before its record was there
            record = RunRecord(folder, config)
            record.update(status="failed", error=_told(error), ended=now())
            record.release()
        raise


def _launch(jobs: list[Job], study: Path, launcher: Any) -> None:
    returns = launcher.launch(
        [
            [*job.overrides, f"hydra.sweep.dir={_quoted(study)}", f"hydra.sweep.subdir={_quoted(job.folder.name)}"]
            for job in jobs
        ],
        initial_job_idx=0,
    )
    for job, returned in zip(jobs, returns, strict=True):
        if returned.status == JobStatus.FAILED:
            job.error = _told(returned._return_value)  # the public one prints and raises


def _told(error: BaseException) -> str:
    return error_message(error) or f"{type(error).__name__}: {error}"


def _quoted(value: object) -> str:
    """A string as Hydra's grammar reads it back."""
    return "'" + str(value).replace("'", "\\'") + "'"


def _composed(cfg: DictConfig) -> dict[str, Any]:
    """A job's config with all interpolations, as in the job, but for its folder, which is to be found by it."""
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


def _slugs(combinations: Sequence[Sequence[str]]) -> list[str]:
    """A name for each combination, of what varies: `output_stride-8_seed-0`."""
    pairs = [[override.partition("=")[::2] for override in overrides] for overrides in combinations]
    varying = [column for column in zip(*pairs, strict=True) if len({value for _, value in column}) > 1]
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


def _failure(job: Job) -> str | None:
    result = job.result()
    if result.get("status") == "finished":
        return None
    if job.error is not None:
        return job.error
    return result.get("error") or {"running": "killed"}.get(str(result.get("status")), "not started")


def _table(jobs: list[Job], before: list[Job]) -> Table:
    table = Table(Column("job", overflow="fold"), "outcome", "mIoU", "updates")
    for job in jobs:
        result = job.result()
        status = str(result.get("status", "not started"))
        if job.error is not None and status != "finished":
            status = "failed"
        scored = status == "finished"
        status = "finished before" if job in before else {"running": "killed"}.get(status, status)
        score = result["scores"]["miou"] if scored else None
        table.add_row(job.folder.name, status, "" if score is None else f"{score:.4f}", str(result.get("steps", "")))
    return table
