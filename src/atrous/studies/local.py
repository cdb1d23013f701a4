"""`hydra/launcher=local`: several jobs of a multirun at once on one machine, each a process of its own.

The processes are forked off a server that has imported torch and nothing else, so that a job starts in a fraction of a
second and gives all its memory back. Each is pinned to its share of the cores: whatever asks how many cores there are,
such as loader workers that are counted by them, then gets the right answer, in the processes that it starts, too.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.utils import JobReturn, filter_overrides, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from atrous.errors import ConfigError
from atrous.studies.board import Board
from atrous.studies.local_process import Process, Share, starter, visible_gpus
from atrous.system.devices import core_numbers
from atrous.system.signals import Interrupted, Signals

CORES = 2  # of a job, where the user does not say: one trains, one loads
REFRESH = 0.5  # seconds
GRACE = 10.0  # seconds from the second Ctrl-C until what still runs is killed


def run_jobs(
    overrides: Sequence[Sequence[str]],
    *,
    first: int,
    jobs: int | None,
    config: DictConfig,
    context: Any,
    task: Callable[[DictConfig], Any],
) -> list[JobReturn]:
    """Runs the jobs, a few at once, and shows how far they are.

    A job that fails or is killed stops no other. The first signal is passed on, so that every job saves and ends; a
    second Ctrl-C ends them without. Should this process be killed, each job gets a SIGTERM.

    Args:
        overrides: Of each job.
        first: The number of the first one.
        jobs: How many at once; None: see `how_many`.
        config: The multirun's own config.
        context: Hydra's.
        task: What a job does with its config; importable by its name.

    Raises:
        ConfigError: If `jobs` is impossible, or `trainer.devices` names GPUs.
        Interrupted: If this process was told to stop, once all jobs have ended.
    """
    setup_globals()
    configs = [_config(context, config, words, number) for number, words in enumerate(overrides, first)]
    trainers = [cfg.get("trainer", {}) for cfg in configs]
    devices = [_devices(trainer) for trainer in trainers]
    starting = starter()
    gpus = () if all(trainer.get("accelerator") == "cpu" for trainer in trainers) else visible_gpus(starting)
    cores = core_numbers()
    jobs = how_many(jobs, devices=devices, cores=len(cores), gpus=len(gpus))
    shares = deal(jobs, devices=devices, cores=cores, gpus=gpus)
    common = {"context": context, "task": task, "base": version.getbase()}
    folders = [Path(str(cfg.hydra.sweep.dir), str(cfg.hydra.sweep.subdir)) for cfg in configs]
    returns = [
        JobReturn(overrides=filter_overrides(words), cfg=cfg) for words, cfg in zip(overrides, configs, strict=True)
    ]

    waiting = list(range(len(configs)))[::-1]
    running: dict[Any, Process] = {}  # by their sentinels
    free = list(shares)[::-1]
    with Signals() as signals, Board(folders, trainers, shares[0].cores, jobs) as board:
        signals.deferred = True
        try:
            while running or (waiting and not signals.number):
                while waiting and free and not signals.number:
                    number, share = waiting.pop(), free.pop()
                    process = Process(starting, number, share, {**common, "config": configs[number]}, folders[number])
                    running[process.sentinel] = process
                    board.started(number)
                for sentinel in wait(list(running), timeout=REFRESH):
                    process = running.pop(sentinel)
                    returns[process.number] = process.end(returns[process.number])
                    free.append(process.share)
                    board.ended(process.number, returns[process.number])
                if signals.number:
                    for process in running.values():
                        process.tell(signals.number)
                board.show()
        except Interrupted:  # a second Ctrl-C
            _stop(list(running.values()))
            raise
        except BaseException:
            _stop(list(running.values()), grace=0)
            raise
    if signals.number:
        raise Interrupted(signals.number)
    return returns


def how_many(jobs: int | None, *, devices: Sequence[int | None], cores: int, gpus: int) -> int:
    """How many jobs run at once, unless the user says.

    One for each `trainer.devices` GPUs, where there are any, else one for every two cores of each of its processes.

    Args:
        jobs: The user's number.
        devices: Of each job; None: all there are.
        cores: Of this machine.
        gpus: Of this machine; 0 if no job uses one.

    Raises:
        ConfigError: If the number is impossible.
    """
    if jobs is not None:
        if not isinstance(jobs, int) or jobs < 1:
            raise ConfigError(
                f"hydra.launcher.jobs={jobs} is impossible; give the number of jobs at once, from 1 on, or null."
            )
        return jobs
    most = max(count or max(gpus, 1) for count in devices)
    return max(1, gpus // most if gpus else cores // (CORES * most))


def deal(jobs: int, *, devices: Sequence[int | None], cores: Sequence[int], gpus: Sequence[str]) -> list[Share]:
    """The share of each of `jobs` jobs; all have equally many cores, so that no result depends on which one it gets.

    Cores and GPUs are shared where there are fewer of them than jobs.

    Args:
        jobs: How many run at once.
        devices: Of each job; None: as many as there are for it.
        cores: To be dealt out.
        gpus: To be dealt out; none: as they are.
    """
    each = max(1, len(cores) // jobs)
    most = min(len(gpus), max(count or max(1, len(gpus) // jobs) for count in devices))
    return [
        Share(
            cores=tuple(cores[(job * each + place) % len(cores)] for place in range(each)),
            gpus=tuple(gpus[(job * most + place) % len(gpus)] for place in range(most)),
        )
        for job in range(jobs)
    ]


def _config(context: Any, config: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    cfg: DictConfig = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.job.id = cfg.hydra.job.num = number
    return cfg


def _devices(trainer: Any) -> int | None:
    """How many devices a job takes; None: all."""
    devices = trainer.get("devices", 1)
    if OmegaConf.is_list(devices):
        raise ConfigError(
            f"trainer.devices={list(devices)}, but hydra/launcher=local deals the GPUs out itself. Give their number, "
            f"trainer.devices={len(devices)}, and leave out others by CUDA_VISIBLE_DEVICES."
        )
    return devices if isinstance(devices, int) and devices > 0 else None


def _stop(processes: list[Process], grace: float = GRACE) -> None:
    """Ends processes at once, by a second SIGINT, which they take for that, and kills what is left."""
    for process in processes:
        process.send(signal.SIGINT)
    until = time.monotonic() + grace
    left = {process.sentinel: process for process in processes}
    while left and time.monotonic() < until:
        for sentinel in wait(list(left), timeout=REFRESH):
            del left[sentinel]
    for process in left.values():
        process.kill()
