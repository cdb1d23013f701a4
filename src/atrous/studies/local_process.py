"""A job of `hydra/launcher=local` as a process: how it is started, what it may use, and what it tells when it ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from omegaconf import DictConfig

from atrous.config.compose import prepare
from atrous.config.messages import error_message
from atrous.errors import TrainingError
from atrous.system.signals import NOTED

CONSOLE = "console.log"  # in the run folder: what a job would have shown on the terminal
_IMPORTED = (  # by the server; what a job needs
    "atrous.studies.local_process",
    "atrous.cli.train",
    "atrous.engine.build",
    "atrous.engine.evaluation",
    "atrous.analysis.cost",
    "atrous.loggers.wandb",
)


@dataclass(frozen=True)
class Share:
    """What a job may use.

    Args:
        cores: Numbers of the cores.
        gpus: For CUDA_VISIBLE_DEVICES; empty: as it is.
    """

    cores: tuple[int, ...]
    gpus: tuple[str, ...] = ()


class Process:
    """A job that runs.

    Args:
        starter: Of multiprocessing; starts the process.
        number: Its place among the jobs.
        share: What it may use.
        what: For `_work`.
        folder: Its run folder.
    """

    def __init__(self, starter: Any, number: int, share: Share, what: dict[str, Any], folder: Path) -> None:
        self.number, self.share = number, share
        self._folder = folder
        self._answers, answer = multiprocessing.Pipe(duplex=False)
        self._told = 0
        self._process = starter.Process(
            target=_job, args=(what, share, folder, dict(os.environ), str(Path.cwd()), list(sys.argv), answer)
        )
        self._process.start()
        answer.close()
        self.sentinel = self._process.sentinel

    def tell(self, number: int) -> None:
        """Passes a signal on, once."""
        if not self._told:
            self._told = number
            self.send(number)

    def send(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kills it and the loader workers that are in its process group."""
        if self._process.is_alive():
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self, job: JobReturn) -> JobReturn:
        """Fills in what came of it, once it has ended."""
        self._process.join()
        code = self._process.exitcode
        try:
            job.status, job._return_value = self._answers.recv()
        except EOFError:  # it ended without a word
            job.status, job._return_value = JobStatus.FAILED, TrainingError(self._reason(code))
        self._answers.close()
        self._process.close()
        return job

    def _reason(self, code: int) -> str:
        number = -code if code < 0 else code - 128
        if number in NOTED and code > 0:
            return f"stopped by {signal.Signals(number).name}"
        if number == signal.SIGKILL and code < 0:
            how = "was killed (SIGKILL), as the system does where memory runs out"
        elif code < 0:
            how = f"was ended by {signal.Signals(number).name}"
        else:
            how = f"ended with status {code}"
        return f"its process {how}; {self._folder / CONSOLE} holds its output"


def _job(
    what: dict[str, Any],
    share: Share,
    folder: Path,
    environment: dict[str, str],
    here: str,
    argv: list[str],
    answer: Connection,
) -> None:
    """The job's process."""
    from atrous.data.datamodule import kill_workers  # imports torch, as the server has

    multiprocessing.set_start_method(None, force=True)  # of loader workers: the system's, not that of this process
    os.setsid()  # a Ctrl-C reaches the launcher alone, which passes it on
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()  # the server's is as old as the server
    os.environ.update(environment)
    os.chdir(here)
    sys.argv = argv
    _write_to(folder / CONSOLE)
    threading.Thread(target=_watch_launcher, daemon=True).start()
    if share.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
    _use(share.cores)
    try:
        answer.send(_work(**what))
    except BrokenPipeError:  # the launcher is gone
        pass
    finally:
        answer.close()
        # A forked process runs no atexit functions, since most are the server's; these two are needed.
        kill_workers()
        if "wandb" in sys.modules:
            sys.modules["wandb"].teardown()  # writes what it still has


def _work(base: Any, context: Any, task: Callable[[DictConfig], Any], config: DictConfig) -> tuple[JobStatus, Any]:
    prepare()
    version.setbase(str(base))
    setup_globals()
    JobRuntime.instance().set("name", config.hydra.job.name)
    done = run_job(
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
    value = done._return_value  # the public one prints and raises
    if done.status == JobStatus.FAILED:
        message = error_message(value)
        if message is None:
            traceback.print_exception(value)
        return done.status, TrainingError(message or f"{type(value).__name__}: {value}")
    return done.status, value


def _write_to(path: Path) -> None:
    """Appends all output of this process, and of those it starts, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        os.dup2(file, number)
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(file)


def _watch_launcher() -> None:
    """Tells this process to save and end where the launcher has gone without doing so."""
    launcher = multiprocessing.parent_process()
    if launcher is not None:
        wait([launcher.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _use(cores: Sequence[int]) -> None:
    """Keeps this process and those it starts to the cores."""
    import torch

    os.sched_setaffinity(0, cores)
    threads = min(torch.get_num_threads(), len(cores))  # OMP_NUM_THREADS may ask for fewer
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the processes that it starts


def starter() -> Any:
    """Starts processes, from a server that has imported what a job needs."""
    starter = multiprocessing.get_context("forkserver")
    starter.set_forkserver_preload(list(_IMPORTED))
    with _ignored(signal.SIGTERM):  # it has to outlive the jobs, to tell how they ended
        multiprocessing.forkserver.ensure_running()
    return starter


@contextmanager
def _ignored(number: int) -> Iterator[None]:
    """A signal that processes started meanwhile ignore."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def visible_gpus(starter: Any) -> tuple[str, ...]:
    """The GPUs that PyTorch sees, by their names for CUDA_VISIBLE_DEVICES.

    Asked in a process of its own: one that has asked can't be forked any more.
    """
    answers, answer = multiprocessing.Pipe(duplex=False)
    process = starter.Process(target=_count_gpus, args=(dict(os.environ), answer))
    process.start()
    answer.close()
    count = answers.recv()
    process.join()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return tuple(visible[:count] or map(str, range(count)))


def _count_gpus(environment: dict[str, str], answer: Connection) -> None:
    os.environ.update(environment)
    import torch

    answer.send(torch.cuda.device_count())
