"""Locks on files and folders, which the system takes back from a process that dies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atrous.errors import TrainingError
from atrous.system.text import short

_AGAIN = 0.1  # seconds between two tries


def hold(folder: Path) -> int | None:
    """Marks a run folder as being written by this process until the file descriptor is closed or the process ends.

    Returns:
        The file descriptor; None on a file system without locks.

    Raises:
        TrainingError: If another process holds it.
    """
    file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        free = _try(file)
    except OSError:
        os.close(file)
        return None
    if not free:
        os.close(file)
        raise TrainingError(f"{short(folder)} is being written by another process; wait for it or stop it.")
    return file


def is_held(folder: Path) -> bool:
    """Whether another process is writing the run folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        file = hold(folder)
    except TrainingError:
        return True
    if file is not None:
        os.close(file)
    return False


@contextmanager
def locked(path: str | Path, *, waiting: str) -> Iterator[None]:
    """Holds a file's lock, and waits for another process that does.

    Args:
        path: The file; made if it is not there.
        waiting: What to say before waiting.

    Raises:
        OSError: If the file can't be made, or the file system has no locks.
    """
    with open(path, "a") as file:
        told = False
        while not _try(file.fileno()):
            if not told:
                from rich.console import Console  # most holders never wait

                Console(stderr=True).print(waiting)
            told = True
            time.sleep(_AGAIN)
        yield


def _try(file: int) -> bool:
    """Locks an open file; False if another process holds it."""
    try:
        import fcntl
    except ImportError:
        return _try_on_windows(file)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, forked loader workers don't inherit it
    except (BlockingIOError, PermissionError):
        return False
    return True


def _try_on_windows(file: int) -> bool:
    import msvcrt

    os.lseek(file, 0, os.SEEK_SET)
    try:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except PermissionError:
        return False
    return True
