"""Defers signals until a training can stop without losing anything."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

NOTED: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
if hasattr(signal, "SIGUSR2"):  # not on Windows; SLURM's, ahead of the time limit or a preemption
    NOTED += (signal.SIGUSR2,)
_AGAIN_AFTER = 1.0  # seconds; a launcher may pass on a Ctrl-C that the terminal has sent already


class Interrupted(SystemExit):
    """The run was told to stop. The process exits with 128 + signal, as a shell reports it.

    A `SystemExit`, so that it ends a whole multirun and no launcher takes the job for a finished one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number

    @property
    def name(self) -> str:
        """Such as SIGTERM."""
        return signal.Signals(self.number).name


class Signals:
    """Records signals while it is entered; until `deferred` is set they raise `Interrupted` at once.

    The handler only sets a flag, since a lock it would wait for may be held by the code it interrupts. Forked processes
    inherit the handler, which does nothing in them. Outside the main thread, where Python allows no handlers, no signal is
    recorded.

    Args:
        numbers: The signals.
    """

    def __init__(self, numbers: tuple[int, ...] = NOTED) -> None:
        self.number = 0  # the first that came; 0 while none has
        self.deferred = False
        self._numbers = numbers
        self._previous: dict[int, Any] = {}
        self._process = os.getpid()
        self._since = 0.0

    def __enter__(self) -> Signals:
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in self._numbers}
        self.install()
        return self

    def __exit__(self, *error: object) -> None:
        self.deferred = False
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Installs the handlers, again after Lightning has installed its own, which wait for other processes."""
        for number in self._previous:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        again = number == signal.SIGINT and self.number and time.monotonic() - self._since > _AGAIN_AFTER
        if again or not self.deferred:
            raise Interrupted(number)
        if not self.number:
            self.number, self._since = number, time.monotonic()
            name = signal.Signals(number).name
            message = f"\n{name}: stopping after this update, to save what there is. Ctrl-C again stops at once.\n"
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, message.encode())  # print could be interrupted


def kill_tree(process: int) -> None:
    """Kills a process, its group, and the processes that it has started, where the system tells them (Linux)."""
    path = Path(f"/proc/{process}/task/{process}/children")
    children = path.read_text().split() if path.exists() else []
    for child in children:
        kill_tree(int(child))
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg") and os.getpgid(process) == process:
            os.killpg(process, signal.SIGKILL)
        else:
            os.kill(process, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
