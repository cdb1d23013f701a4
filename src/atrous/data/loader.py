"""A DataLoader whose workers a training can resume, interrupt and leave behind."""

from __future__ import annotations

import atexit
import copy
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, cast
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader

from atrous.types import Sample


class LateLoader(DataLoader[Sample]):
    """A DataLoader that begins at its first batch.

    Lightning takes the iterator of a resumed training before it tells the sampler the epoch; workers that read ahead
    would be an epoch behind.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()


def leave_signals_to_the_parent(worker: int) -> None:
    """A terminal or a cluster sends its signals to the workers too; without them the training could not go on to save."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":  # a worker that waits for room in its queue would outlive a parent that was killed
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


def worker_context() -> BaseContext:
    """The system's way to start processes, which notes those that it starts."""
    context: Any = copy.copy(multiprocessing.get_context())

    def start(*args: Any, **kwargs: Any) -> BaseProcess:
        worker: BaseProcess = type(context).Process(*args, **kwargs)
        _workers[worker] = os.getpid()
        return worker

    context.Process = start
    return cast(BaseContext, context)


_workers: WeakKeyDictionary[BaseProcess, int] = WeakKeyDictionary()  # of our loaders -> the process that started it


@atexit.register  # before multiprocessing's own, which ends workers by the signal that they ignore and waits for them
def kill_workers() -> None:
    """Lets a program end whose workers an error has left behind."""
    for worker, parent in _workers.items():
        if worker.pid and parent == os.getpid():
            worker.kill()
