"""Which run a command continues, and from which of its checkpoints. Imports no torch."""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

from atrous.config.fingerprint import fingerprint
from atrous.errors import TrainingError
from atrous.runs.run import RESULT, Run, load_run, run_folders
from atrous.system.locks import is_held
from atrous.system.text import short


def newest_run(runs: Path, config: dict[str, Any]) -> Run | None:
    """The run of an equal fingerprint that was started last, anywhere below `runs`."""
    wanted = fingerprint(config)
    found = (run for folder in run_folders(runs) if (run := load_run(folder)) is not None)
    equal = [run for run in found if _may_equal(run, config) and run.fingerprint == wanted]
    return max(equal, key=lambda run: (str(run.result.get("started")), str(run.folder)), default=None)


def renamed_folders(study: Path) -> dict[str, Path]:
    """The folders of a study by their runs' fingerprints, where an earlier version of atrous named them by another one."""
    folders = [path.parent for path in sorted(study.glob(f"*-*/{RESULT}"))]
    runs = [run for folder in folders if (run := load_run(folder)) is not None]
    return {run.fingerprint: run.folder for run in reversed(runs) if not run.folder.name.endswith(run.fingerprint[:8])}


def _may_equal(run: Run, config: dict[str, Any]) -> bool:
    """False where no fingerprint need be made again, which takes milliseconds: the seeds differ."""
    return bool(run.part("provenance").get("seed", config["seed"]) == config["seed"])


def choose_folder(
    config: dict[str, Any], folder: Path, *, runs: Path | None = None, leads: bool = True
) -> tuple[dict[str, Any], Path, Run | None]:
    """Decides by `config["resume"]` which folder this command trains in.

    `auto` continues the newest run of an equal fingerprint in its folder and deletes the one that Hydra has made.
    Otherwise, if that run is unfinished, a message says how to continue it.

    Args:
        config: The resolved config.
        folder: The run folder that Hydra has made.
        runs: Where to look for that run; None: in `paths.runs`.
        leads: Whether this process, of those that a launcher has started, is the one that prints and writes.

    Returns:
        The config and folder to train with, and the run that is continued, if any; it may be finished already.

    Raises:
        TrainingError: If the run is going on in another process.
    """
    run = newest_run(runs or Path(config["paths"]["runs"]), config)
    here = run is not None and run.folder.resolve() == folder.resolve()
    if run is None or (here and config["resume"] != "auto"):
        return config, folder, None
    if config["resume"] != "auto":
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
    else:
        print(f"Going on with {run}.")
    if not here:
        leave(folder, run.folder, log=True)
    for part in (run.folder / "checkpoints").glob(".*.part"):  # of a process that was killed as it wrote
        part.unlink()
    return moved(config, str(folder), str(run.folder.resolve())), run.folder.resolve(), run


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
    for options in config.get("callbacks", {}).values():
        place = Path(str(options.get("dirpath") or ""))
        if place.is_absolute() and place.name == "checkpoints" and place.parent.resolve() != folder.resolve():
            return moved(config, str(place.parent), str(folder))  # type: ignore[no-any-return]
    return config


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
