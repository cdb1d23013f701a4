"""Reads many samples in parallel, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

from atrous.system.devices import cores

T = TypeVar("T")
_SHOWN_FROM = 200  # samples; fewer are read before a bar would be looked at
_FORKED_FROM = 64  # samples; fewer are not worth starting processes
_AHEAD = 2  # results per core that may wait
_inherited: Callable[[int], Any]


def in_threads(read: Callable[[int], T], indices: Sequence[int], *, description: str) -> Iterator[T]:
    """Yields `read(index)` for each index, in order, read ahead in threads; decoding frees Python's lock.

    Only a few results are held at a time, whatever their number. The first exception in the order of the indices is raised.

    Args:
        read: Reads one sample.
        indices: What to read.
        description: Label of the progress bar, which only a terminal shows.
    """
    with ThreadPoolExecutor(cores()) as pool:
        yield from _in_order(pool, read, indices, description)


def in_processes(read: Callable[[int], T], indices: Sequence[int], *, description: str) -> Iterator[T]:
    """As `in_threads`, in processes, for small results: they are pickled.

    Much faster for PNG files, whose fastest decoder holds Python's lock (`atrous.data.io.png`). The processes are forked,
    so that `read` need not be picklable. Few indices, and systems without a safe fork, use threads.
    """
    if len(indices) < _FORKED_FROM or sys.platform != "linux" or not hasattr(os, "fork"):
        yield from in_threads(read, indices, description=description)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(cores(), mp_context=context, initializer=_inherit, initargs=(read,)) as pool:
        yield from _in_order(pool, _read_inherited, indices, description)


def _in_order(pool: Executor, read: Callable[[int], T], indices: Sequence[int], description: str) -> Iterator[T]:
    hidden = len(indices) < _SHOWN_FROM or not sys.stderr.isatty()
    waiting: deque[Future[T]] = deque()
    try:
        for index in track(indices, description=description, console=Console(stderr=True), disable=hidden):
            waiting.append(pool.submit(read, index))
            if len(waiting) > _AHEAD * cores():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _inherit(read: Callable[[int], Any]) -> None:
    """Stores, in a forked process, the function to call."""
    global _inherited
    _inherited = read


def _read_inherited(index: int) -> Any:
    return _inherited(index)
