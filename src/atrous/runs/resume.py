"""Which run a command continues, and from which of its checkpoints. Imports no torch."""

from __future__ import annotations

import datetime
import logging
import math
import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atrous.config.fingerprint import run_folder_of
from atrous.errors import TrainingError
from atrous.runs.history import HISTORY
from atrous.runs.identity import FEW, Files, Identity, nearest, told
from atrous.runs.run import MATRICES, Run, Status, load_run, run_folders
from atrous.system.locks import is_held
from atrous.system.text import short

OUT_OF_TIME = (
    "trainer.max_time ended it. To go on: the same command with resume=auto and a longer trainer.max_time, or null."
)


def newest_run(runs: Iterable[Run], wanted: Identity) -> Run | None:
    """The run of an equal identity that was started last."""
    equal = [run for run in runs if wanted.is_of(run)]
    return max(equal, key=lambda run: (str(run.result.get("started")), str(run.folder)), default=None)


def stored_runs(below: Path) -> list[Run]:
    """All runs in and below a folder."""
    return [run for folder in run_folders(below) if (run := load_run(folder)) is not None]


def choose_folder(
    config: dict[str, Any], folder: Path, *, runs: Path | None = None, leads: bool = True
) -> tuple[dict[str, Any], Path, Run | None]:
    """Decides by `config["resume"]` which folder this command trains in.

    `auto` continues the newest run of an equal identity in its folder, or one that `trainer.max_time` has ended and that is given
    more of it, and deletes the folder that Hydra has made.
    Otherwise, if that run is unfinished, a message says how to continue it.

    Args:
        config: The resolved config.
        folder: The run folder that Hydra has made.
        runs: Where to look for that run; None: in `paths.runs`.
        leads: Whether this process, of those that a launcher has started, is the one that prints and writes.

    Returns:
        The config and folder to train with, and the run that is continued, if any; it may be finished already.

    Raises:
        TrainingError: If the run is going on in another process, or the folder holds another one.
    """
    stored = stored_runs(runs or Path(config["paths"]["runs"]))
    named = next((run for run in stored if _is_in(run, folder)), None)
    if named is None and (named := load_run(folder)) is not None:
        stored.append(named)
    alike = [run for run in stored if run.part("provenance").get("seed", config["seed"]) == config["seed"]]
    wanted = Files().identity(config) if alike else Identity(config, None, None)
    run = named if named and wanted.is_of(named) else newest_run(alike, wanted) or _with_more_time(alike, wanted)
    if run is None or (_is_in(run, folder) and config["resume"] != "auto"):
        if leads:
            _refuse_overwriting(folder, wanted, same=run is not None)
        if leads and runs is None and config["resume"] == "auto":
            _tell_nearest(wanted, stored)
        return config, folder, None
    if config["resume"] != "auto":
        if leads:
            _refuse_overwriting(folder, wanted, same=False)
        if leads and not run.finished and not is_held(run.folder):
            print(f"An unfinished run has the same settings: {run}.\nTo go on with it: resume=auto\n")
        return config, folder, None
    if not leads:
        return moved(config, str(folder), str(run.folder.resolve())), run.folder.resolve(), run
    if is_held(run.folder):
        raise TrainingError(
            f"the newest run with these settings, {short(run.folder)}, is still going on in another process. Wait for it or "
            "stop it, or leave out resume=auto to start another."
        )
    if run.finished:
        print(f"A run with these settings is finished: {run}. To train again, leave out resume=auto.")
        if run.result.get("out_of_time"):
            print(OUT_OF_TIME)
    else:
        print(f"Going on with {run}.")
    if not _is_in(run, folder):
        leave(folder, run.folder, log=True)
    for part in (run.folder / "checkpoints").glob(".*.part"):  # of a process that was killed as it wrote
        part.unlink()
    return moved(config, str(folder), str(run.folder.resolve())), run.folder.resolve(), run


def _with_more_time(runs: Iterable[Run], wanted: Identity) -> Run | None:
    """The newest run that goes on, which is then not finished any more."""
    ended = [run for run in runs if has_more_time(run, wanted)]
    run = max(ended, key=lambda run: str(run.result.get("started")), default=None)
    return None if run is None else Run(run.folder, {**run.result, "status": Status.INTERRUPTED})


def has_more_time(run: Run, wanted: Identity) -> bool:
    """Whether `trainer.max_time` has ended the run, and it is given more of it now, and else the same settings."""
    before = run.result.get("out_of_time")
    if before is None or _seconds(wanted.config["trainer"].get("max_time")) <= _seconds(before):
        return False
    trainer = {**wanted.config["trainer"], "max_time": before}
    return replace(wanted, config={**wanted.config, "trainer": trainer}).is_of(run)


def _seconds(max_time: Any) -> float:
    """Of a value of `trainer.max_time`: null, DD:HH:MM:SS, or timedelta's arguments."""
    if max_time is None:
        return math.inf
    if not isinstance(max_time, dict):
        max_time = dict(zip(("days", "hours", "minutes", "seconds"), map(int, str(max_time).split(":")), strict=False))
    return datetime.timedelta(**max_time).total_seconds()


def _is_in(run: Run, folder: Path) -> bool:
    return run.folder.resolve() == folder.resolve()


def _refuse_overwriting(folder: Path, wanted: Identity, *, same: bool) -> None:
    """Refuses to train in a folder that holds what another training, or an evaluation, has left."""
    run = Run.at(folder)
    if not (run.finished or any((folder / name).exists() for name in (HISTORY, MATRICES, "checkpoints"))):
        return  # nothing that could be lost
    if same:
        remedy = (
            "To go on with it: resume=auto. To train again, give another folder by hydra.run.dir, or leave that out."
        )
    else:
        keys = wanted.differences(run) or {}
        remedy = f"It differs in (then / now) {told(keys)}. " if 0 < len(keys) <= FEW else ""
        remedy += "Give another folder by hydra.run.dir, or leave that out."
    raise TrainingError(f"{short(folder)} holds a run already, {run.status}, which this one would overwrite. {remedy}")


def _tell_nearest(wanted: Identity, stored: Sequence[Run]) -> None:
    """Says that nothing was found to go on with, and how the nearest run differs."""
    near = nearest(wanted, stored)
    if near is not None:
        run, keys = near
        print(
            f"No run has these settings; a new one begins. The nearest, {run}, differs in (then / now)\n  {told(keys)}\n"
        )


def whole_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint to continue from, last.ckpt before best.ckpt, and messages about damaged ones.

    A checkpoint is a zip archive; each of its parts is held against its checksum, which `torch.load` does not do.
    """
    messages: list[str] = []
    for name in ("last", "best"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        if not path.exists():
            continue
        if _is_whole(path):
            return path, messages
        messages.append(f"{short(path)} is damaged and left aside.")
    return None, messages


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def in_folder(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A run's config, whose paths may lead into the folder that it was copied or moved from, as that of this folder."""
    place = run_folder_of(config)
    if place is None or Path(place).resolve() == folder.resolve():
        return config
    return moved(config, place, str(folder))  # type: ignore[no-any-return]


def moved(value: Any, old: str, new: str) -> Any:
    """A copy with all paths in the folder `old`, also those that are keys, led to `new`."""
    if isinstance(value, dict):
        return {moved(key, old, new): moved(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item, old, new) for item in value]
    if isinstance(value, str) and (value == old or value.startswith(old + os.sep)):
        return new + value[len(old) :]
    return value


def leave(folder: Path, instead: Path, *, log: bool) -> None:
    """Deletes the new run folder if it holds only the log file; where `log` is set, logging continues in `instead`."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        path = Path(handler.baseFilename) if isinstance(handler, logging.FileHandler) else None
        if path is None or path.parent.resolve() != folder.resolve():
            continue
        root.removeHandler(handler)
        handler.close()
        if log:
            other = logging.FileHandler(instead / path.name)
            other.setFormatter(handler.formatter)
            other.setLevel(handler.level)
            root.addHandler(other)
        if folder.resolve() != instead.resolve():
            path.unlink(missing_ok=True)
    if folder.resolve() != instead.resolve() and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
