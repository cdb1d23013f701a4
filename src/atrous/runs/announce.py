"""The main process of a run tells the others its folder. Each of them has made one named by the second it started in."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from atrous.errors import TrainingError
from atrous.runs.resume import leave, moved
from atrous.runs.run import Run, load_run
from atrous.system.files import write_text
from atrous.system.ranks import is_torchrun

PATIENCE = 600.0  # seconds that the others wait for the main process, whose imports may be from a slow file system


def announce(runs: Path, folder: Path, earlier: Run | None) -> Path | None:
    """Writes the folder that the main process has chosen where the others look for it.

    Args:
        runs: `paths.runs`, which all see.
        folder: The run folder.
        earlier: The run that is continued.

    Returns:
        The file to delete in the end; None where there is nobody to tell.
    """
    path = _note(runs)
    if path is None:
        return None
    runs.mkdir(parents=True, exist_ok=True)
    content = {"folder": str(folder.absolute()), "finished": earlier is not None and earlier.finished}
    write_text(path, json.dumps(content))
    return None if content["finished"] else path  # the others may be about to read it


def follow(config: dict[str, Any], folder: Path, runs: Path) -> tuple[dict[str, Any], Path, Run | None] | None:
    """The config and folder that the main process has announced, and its run if that is finished.

    None where all processes were given one folder, as by torchrun on several machines.

    Raises:
        TrainingError: If it announces nothing.
    """
    path = _note(runs)
    if path is None:
        return None
    until = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > until:
            raise TrainingError(
                f"the main process has not told its run folder in {PATIENCE:.0f} s. Its own output says why it failed, or "
                f"{runs} is not on a disk that all processes see; then give paths.runs=..."
            )
        time.sleep(0.1)
    content = json.loads(path.read_text(encoding="utf-8"))
    chosen = Path(content["folder"])
    leave(folder, chosen, log=False)  # only the main process writes
    return (
        moved(config, str(folder), str(chosen)),
        chosen,
        load_run(chosen) if content["finished"] else None,
    )


def _note(runs: Path) -> Path | None:
    variables = os.environ
    if not is_torchrun():
        step = f"{variables['SLURM_JOB_ID']}.{variables['SLURM_STEP_ID']}.{variables.get('SLURM_RESTART_COUNT', '0')}"
        return runs / f".srun-{step}.json"
    if variables.get("LOCAL_WORLD_SIZE") != variables.get("WORLD_SIZE"):
        return None
    return runs / f".torchrun-{os.getppid()}-{variables.get('TORCHELASTIC_RUN_ID')}.json"
