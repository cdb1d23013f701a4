"""Reads many samples at once, with a progress bar."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
_SHOWN_FROM = 200  # samples; fewer are read before a bar would be looked at


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(read: Callable[[int], T], indices: Sequence[int], *, description: str) -> Iterator[T]:
    """Yields `read(index)` for each index, in order, read ahead in threads; decoding frees Python's lock.

    At most a few results wait at any time, so that memory does not grow with their number. The first exception in the
    order of the indices is raised.

    Args:
        read: Reads one sample.
        indices: What to read.
        description: Stands before the progress bar, which only a terminal shows.
    """
    hidden = len(indices) < _SHOWN_FROM or not sys.stderr.isatty()
    with ThreadPoolExecutor(cores()) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for index in track(indices, description=description, console=Console(stderr=True), disable=hidden):
                waiting.append(pool.submit(read, index))
                if len(waiting) > 2 * cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
