"""Waits for jobs that SLURM has. What came of them is read from their folders, whether they are still there from squeue.

Not from sacct: many clusters keep no accounts, and it would then wait for ever for a job that was killed.
"""

from __future__ import annotations

import datetime
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from atrous.errors import TrainingError
from atrous.runs.run import Run, Status
from atrous.system.signals import Interrupted
from atrous.system.text import short

PATIENCE = 600.0  # seconds without an answer of squeue
LONGEST = 30.0  # seconds between two looks


@dataclass(frozen=True)
class SlurmJob:
    """A job that was submitted.

    Args:
        id: SLURM's, such as 12_0.
        folder: Its run folder.
        log: What its first process says.
    """

    id: str
    folder: Path
    log: Path

    def status(self) -> Status:
        """That of its result.json, as the disk has it now."""
        if self.folder.is_dir():
            list(self.folder.iterdir())  # has a network file system look again
        return Run.at(self.folder).status


def queue() -> dict[str, str] | None:
    """The state of each job of this user that is pending, running or about to end; None where squeue does not answer."""
    said = _ask("squeue", "--noheader", "--array", "--me", "--format=%i|%T|%r")
    if said is None:
        return None
    rows = [line.strip().split("|") for line in said.splitlines() if line.strip()]
    reasons = {name: f" ({reason})" for name, state, reason in rows if state == "PENDING" and reason != "None"}
    return {name: state.lower() + reasons.get(name, "") for name, state, _ in rows}


def wait(jobs: list[SlurmJob]) -> None:
    """Returns when SLURM has none of the jobs any more; says what they do whenever that changes.

    Raises:
        Interrupted: By Ctrl-C; the jobs go on.
        TrainingError: If SLURM does not answer for ten minutes.
    """
    ids = ",".join(sorted({job.id.partition("_")[0] for job in jobs}, key=int))
    if not jobs:
        return
    print(f"SLURM job{'s' * (',' in ids)} {ids}; output in {short(jobs[0].log.parent)}", flush=True)
    try:
        _wait(jobs)
    except KeyboardInterrupt:
        print(
            f"\nThe jobs go on without this command.\n  look    squeue --jobs={ids}\n  cancel  scancel "
            f"{ids.replace(',', ' ')}\n  rejoin  the same command",
            flush=True,
        )
        raise Interrupted(signal.SIGINT) from None
    for job in jobs:
        if job.status() not in (Status.FINISHED, Status.FAILED, Status.PRUNED):
            print(
                f"{job.folder.name} has ended unfinished: {_told(job.id)}; its output is in {short(job.log)}",
                flush=True,
            )


def _wait(jobs: list[SlurmJob]) -> None:
    left = {job.id: job for job in jobs}
    said, missing = "", set[str]()
    changed = answered = time.monotonic()
    while left:
        there = queue()
        now = time.monotonic()
        if there is None:
            if now - answered > PATIENCE:
                raise TrainingError(
                    f"squeue has not answered for {PATIENCE / 60:.0f} minutes. The jobs may go on; the same command finds them."
                )
        else:
            answered = now
            gone = {name for name in left if name not in there}
            for name in gone & missing:  # twice, since a job that is queued again may be nowhere for a moment
                del left[name]
            missing = gone
            line = _progress(jobs, left, there)
            if line != said:
                print(f"{datetime.datetime.now():%H:%M:%S}  {line}", flush=True)
                said, changed = line, now
        if left:
            time.sleep(min(LONGEST, 1 + (now - changed) / 10))


def _progress(jobs: list[SlurmJob], left: dict[str, SlurmJob], there: dict[str, str]) -> str:
    """Such as `1 running, 2 pending (Resources), 3 finished`."""
    words = {Status.NOT_STARTED: Status.KILLED, Status.RUNNING: Status.KILLED}
    ended = Counter(words.get(status := job.status(), status) for job in jobs if job.id not in left)
    going = Counter(there.get(name, "completing") for name in left)
    told = [f"{count} {state}" for counts in (going, ended) for state, count in sorted(counts.items())]
    return ", ".join(told)


def _told(name: str) -> str:
    """What SLURM still knows of a job."""
    said = _ask("scontrol", "show", "job", "--oneliner", name) or ""
    words = dict(word.split("=", 1) for word in said.split() if "=" in word)
    if "JobState" not in words:
        return f"SLURM no longer knows job {name}"
    return f"job {name} is {words['JobState']}, exit code {words.get('ExitCode', '?')}"


def _ask(*command: str) -> str | None:
    """What a command of SLURM says; None where it fails or does not answer."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout if asked.returncode == 0 else None
