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
_own: set[tuple[int, int, int]] = set()  # process, device and inode of the files that are held


class FolderLock:
    """Marks a run folder as being written by this process, until `release` or the process's end.

    On a file system without locks it marks nothing.

    Raises:
        TrainingError: If a process holds it, this one included.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = None
        path = folder / ".lock"
        if _is_own(path) or not self._take(path):
            raise TrainingError(f"{short(folder)} is being written by another process; wait for it or stop it.")

    def release(self) -> None:
        if self._file is not None:
            _own.discard(_key(os.fstat(self._file)))
            os.close(self._file)
            self._file = None

    def _take(self, path: Path) -> bool:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            free = _try(file)
        except OSError:
            os.close(file)
            return True
        if not free:
            os.close(file)
            return False
        self._file = file
        _own.add(_key(os.fstat(file)))
        return True


def is_held(folder: Path) -> bool:
    """Whether a process, this one included, is writing the run folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        FolderLock(folder).release()
    except TrainingError:
        return True
    return False


def _is_own(path: Path) -> bool:
    """Whether this process holds the file: to open and close it again would free it, as POSIX has it."""
    return path.exists() and _key(path.stat()) in _own


def _key(status: os.stat_result) -> tuple[int, int, int]:
    return os.getpid(), status.st_dev, status.st_ino


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
