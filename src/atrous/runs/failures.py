"""Which of a run's processes failed first, and why: the others only see that it is gone. Imports no torch."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

from atrous.config.messages import describe
from atrous.errors import TrainingError
from atrous.system.files import write_text
from atrous.system.ranks import is_launched, is_main_process, rank
from atrous.system.signals import Interrupted

_GONE = ("gloo", "nccl", "connection", "broken pipe")  # in what is said of a process that can't be reached
_STOPPED = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR2", signal.SIGTERM)}


def failure_of(error: BaseException, folder: Path, signalled: int) -> BaseException:
    """What has ended a run, as seen by one of its processes.

    A process that fails leaves a note in the run folder, which process 0 reads. Whoever starts the processes may send the others
    a signal then, and what they wait for does not come: neither is why the run ends.

    Args:
        error: What this process met.
        folder: The run folder.
        signalled: The signal that asked this process to stop; 0 for none.

    Returns:
        The error itself, `Interrupted` where a signal is the reason, or a TrainingError that names another process.
    """
    stopped = bool(isinstance(error, Interrupted) or signalled)
    gone = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _GONE)
    if is_launched() and not is_main_process() and not stopped and not gone:
        write_text(_note(folder, rank()), json.dumps({"time": time.time(), "error": describe(error)}))
    if is_launched() and is_main_process():
        other = first_failure(folder)
        if other is not None and other[1] != describe(error):
            return TrainingError(_told(*other))
    if stopped:  # also where it is another process that was stopped first
        return error if isinstance(error, Interrupted) else Interrupted(signalled)
    if is_launched() and gone:
        return TrainingError(
            "another process of the run has ended and left no message, as where the system ends one that needs too much memory; "
            f"see its log. ({describe(error)})"
        )
    return error


def first_failure(folder: Path) -> tuple[int, str] | None:
    """The process that left the earliest note, and what it says; None where there is none. Takes the notes away."""
    notes = []
    for path in folder.glob(_note(folder, "*").name):
        content = json.loads(path.read_text(encoding="utf-8"))
        notes.append((content["time"], int(path.stem.rpartition("-")[2]), content["error"]))
        path.unlink()
    return min(notes)[1:] if notes else None


def failure_from_outside(folder: Path, log: str) -> str | None:
    """What has ended the processes, where process 0 could not say so itself; None where that is not known.

    Args:
        folder: The run folder.
        log: What torchrun has written, which names the processes that ended and how.
    """
    other = first_failure(folder)
    if other is not None:
        return _told(*other)
    ends = [(int(code), int(process)) for process, code in re.findall(r"rank +: (\d+) .*\n +exitcode +: (-?\d+)", log)]
    killed = [(code, process) for code, process in ends if code < 0 and -code not in _STOPPED]
    if not killed:
        return None
    code, process = min(killed)
    return (
        f"process {process} of the run was ended by {signal.Signals(-code).name}, as the system does with one that needs too much "
        "memory. Lower data.batch_size or data.num_workers."
    )


def _told(process: int, error: str) -> str:
    return f"process {process} of the run failed: {error}"


def _note(folder: Path, process: int | str) -> Path:
    return folder / f".failed-{process}.json"
