"""`hydra/launcher=local`: several jobs of a multirun at once on one machine, each a worker of its own.

Each is pinned to its share of the cores: whatever asks how many cores there are, such as loader workers that are counted
by them, then gets the right answer, in the processes that it starts, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from atrous.config.values import PositiveInt, checked
from atrous.errors import ConfigError
from atrous.runs.run import Status
from atrous.studies.job_table import JobTable
from atrous.studies.study import Job
from atrous.system.devices import core_numbers, pin
from atrous.system.locks import is_held
from atrous.system.signals import NOTED, Interrupted, Signals, kill_tree
from atrous.system.text import short

CONSOLE = "console.log"  # in the run folder: what a job would have shown on the terminal
CORES = 2  # of a job, where the user does not say: one trains, one loads
LOOK = 0.1  # seconds between two looks at whether a job has ended
REFRESH = 0.5  # seconds between two tables
GRACE = 10.0  # seconds from the second Ctrl-C until what still runs is killed


@dataclass(frozen=True)
class Share:
    """What a job may use.

    Args:
        cores: Numbers of the cores.
        gpus: For CUDA_VISIBLE_DEVICES; empty: as it is.
    """

    cores: tuple[int, ...]
    gpus: tuple[str, ...] = ()


def run_jobs(jobs: Sequence[Job], at_once: int | None) -> None:
    """Runs the jobs, a few at once, and shows how far they are.

    A job that fails or is killed stops no other. The first signal is passed on, so that every job saves and ends; a
    second Ctrl-C ends them without. Should this process be killed, each job gets a SIGTERM.

    Args:
        jobs: Their folders hold their configs; `error` is set where a folder can't tell what happened.
        at_once: How many run at once; None: see `how_many`.

    Raises:
        ConfigError: If `at_once` is impossible, or `trainer.devices` names GPUs.
        Interrupted: If this process was told to stop, once all jobs have ended.
    """
    configs = [job.resolved() for job in jobs]
    trainers = [config["trainer"] for config in configs]
    devices = [_devices(trainer) for trainer in trainers]
    gpus = () if all(trainer.get("accelerator") == "cpu" for trainer in trainers) else visible_gpus()
    cores = core_numbers()
    at_once = how_many(at_once, devices=devices, cores=len(cores), gpus=len(gpus))
    shares = deal(at_once, devices=devices, cores=cores, gpus=gpus)
    waiting = list(range(len(jobs)))[::-1]
    free = shares[::-1]
    running: list[Process] = []
    with Signals() as signals, JobTable(jobs, configs, len(shares[0].cores), at_once) as table:
        signals.deferred = True
        shown = 0.0
        try:
            while running or (waiting and not signals.number):
                while waiting and free and not signals.number:
                    number = waiting.pop()
                    if is_held(jobs[number].folder):
                        jobs[number].error = f"{short(jobs[number].folder)} is being written by another process"
                        continue
                    running.append(Process(number, jobs[number], free.pop()))
                    table.started(number)
                for process in [process for process in running if process.has_ended()]:
                    running.remove(process)
                    free.append(process.share)
                    table.ended(process.number)
                if signals.number:
                    for process in running:
                        process.tell(signals.number)
                if time.monotonic() - shown > REFRESH:
                    table.show()
                    shown = time.monotonic()
                time.sleep(LOOK)
        except BaseException as error:
            _stop(running, grace=GRACE if isinstance(error, Interrupted) else 0)  # a second Ctrl-C
            raise
    if signals.number:
        raise Interrupted(signals.number)


class Process:
    """The worker of a job.

    Args:
        number: Its place among the jobs.
        job: What it runs.
        share: What it may use.
    """

    def __init__(self, number: int, job: Job, share: Share) -> None:
        self.number, self.job, self.share = number, job, share
        self._told = False
        environment = {**os.environ, "OMP_NUM_THREADS": str(_threads(share.cores)), **job.composed().environment}
        if share.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
        with (job.folder / CONSOLE).open("ab") as console, _pinned(share.cores):
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "atrous.worker", str(job.folder), "--watch-stdin"],
                stdin=subprocess.PIPE,  # whose end tells it that this process is gone
                stdout=console,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # a Ctrl-C reaches this process alone, which passes it on
            )

    def tell(self, number: int) -> None:
        """Passes a signal on, once."""
        if not self._told:
            self._told = True
            self.send(number)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kills it and the processes that it has started."""
        if self._process.poll() is None:
            kill_tree(self._process.pid)

    def has_ended(self) -> bool:
        """Whether it has; the job's `error` is then set where its folder can't tell why."""
        status = self._process.poll()
        if status is None:
            return False
        assert self._process.stdin is not None
        self._process.stdin.close()
        ended = self.job.run.status
        expected = {Status.FINISHED: 0, Status.PRUNED: 0, Status.FAILED: 1}.get(ended)
        stopped = status - 128 in NOTED or (self._told and -status in NOTED)  # the second: while it still imported
        if not stopped and status != expected:
            self.job.error = f"its process {_how(status)}; {self.job.folder / CONSOLE} holds its output"
        return True


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
        return int(checked("hydra.launcher.jobs", jobs, PositiveInt, example=2))
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


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that PyTorch sees, by their names for CUDA_VISIBLE_DEVICES."""
    import torch

    count = torch.cuda.device_count()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return tuple(visible[:count] or map(str, range(count)))


def _devices(trainer: dict[str, Any]) -> int | None:
    """How many devices a job takes; None: all."""
    devices = trainer.get("devices", 1)
    if isinstance(devices, list):
        raise ConfigError(
            f"trainer.devices={devices}, but hydra/launcher=local deals the GPUs out itself. Give their number, "
            f"trainer.devices={len(devices)}, and leave out others by CUDA_VISIBLE_DEVICES."
        )
    return devices if isinstance(devices, int) and devices > 0 else None


def _threads(cores: Sequence[int]) -> int:
    """Of a job; OMP_NUM_THREADS may ask for fewer than it has cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(int(asked), len(cores)) if asked.isdigit() else len(cores)


@contextmanager
def _pinned(cores: Sequence[int]) -> Iterator[None]:
    """Processes that are started meanwhile keep to these cores."""
    before = core_numbers()
    pin(list(cores))
    try:
        yield
    finally:
        pin(before)


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL), as the system does where memory runs out"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _stop(processes: list[Process], grace: float) -> None:
    """Ends processes at once, by a second SIGINT, which they take for that, and kills what is left."""
    for process in processes:
        process.send(signal.SIGINT)
    until = time.monotonic() + grace
    while time.monotonic() < until and any(not process.has_ended() for process in processes):
        time.sleep(LOOK)
    for process in processes:
        process.kill()
