"""Locks on files and folders, which the system takes back from a process that dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from atrous.errors import TrainingError
from atrous.system.text import short


def hold(folder: Path) -> int | None:
    """Marks a run folder as being written by this process until the file descriptor is closed or the process ends.

    Raises:
        TrainingError: If another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, forked loader workers don't inherit it
    except OSError as error:
        os.close(file)
        if isinstance(error, BlockingIOError | PermissionError):
            raise TrainingError(
                f"{short(folder)} is being written by another process; wait for it or stop it."
            ) from error
        return None  # a file system without locks
    return file


def is_held(folder: Path) -> bool:
    """Whether a process is writing the run folder."""
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
def locked(path: str, *, waiting: str) -> Iterator[None]:
    """Holds a file's lock, which the system takes back from a process that dies.

    Args:
        path: The file; made if it is not there.
        waiting: What to say where another process holds the lock.

    Raises:
        OSError: If the file can't be made, or the file system has no locks.
    """
    import fcntl  # not on Windows, where the rest works

    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Console(stderr=True).print(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
