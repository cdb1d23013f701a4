"""`hydra/launcher=slurm`: submits the jobs of a multirun to SLURM, from a login node, and waits for them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrous.errors import ConfigError
from atrous.studies.slurm_queue import SlurmJob, queue, wait
from atrous.studies.slurm_script import Resources, check_settings, resources, script
from atrous.studies.study import Job
from atrous.system.files import write_text
from atrous.system.locks import is_held
from atrous.system.text import short

ARRAY = 1000  # jobs; SLURM's MaxArraySize is 1001 unless a site has changed it


def launch(jobs: Sequence[Job], settings: dict[str, Any]) -> None:
    """Submits the jobs that are neither queued nor running yet, and waits for all.

    Args:
        jobs: Their folders hold their configs; `error` is set where one was not submitted.
        settings: Of the launcher.

    Raises:
        ConfigError: If there is no SLURM here, or it refuses what is asked for.
        Interrupted: By Ctrl-C; the jobs go on.
    """
    check_settings(settings)
    asked: dict[Path, Resources] = {}
    for job in jobs:
        config = job.resolved()
        asked[job.folder] = resources(config["trainer"], config["data"], settings)
    if settings["dry_run"]:
        for needs, array in _arrays(jobs, asked):
            print(f"# {len(array)} job{'s' * (len(array) > 1)}: {', '.join(job.folder.name for job in array)}")
            print(script(array, needs, settings), flush=True)
        print(f"dry_run: of {len(jobs)} jobs none was submitted.")
        return
    _check_commands()
    ids_file = jobs[0].folder.parent / "slurm" / "jobs.json"
    ids_file.parent.mkdir(parents=True, exist_ok=True)
    ids: dict[str, str] = json.loads(ids_file.read_text(encoding="utf-8")) if ids_file.exists() else {}
    queued = queue()
    if queued is None:
        raise ConfigError(
            "squeue finds no SLURM controller. Start this on a login node, and see that `sinfo` works there."
        )
    there = [job for job in jobs if ids.get(job.folder.name) in queued]
    if there:
        print(f"queued or running already: {len(there)} job{'s' * (len(there) != 1)}; waits for them, too.")
    held = [job for job in jobs if job not in there and is_held(job.folder)]
    for job in held:
        job.error = f"{short(job.folder)} is being written by another process."
    for needs, array in _arrays([job for job in jobs if job not in there + held], asked):
        number = _submit(script(array, needs, settings), ids_file.parent)
        ids |= {job.folder.name: f"{number}_{place}" if len(array) > 1 else number for place, job in enumerate(array)}
        write_text(ids_file, json.dumps(ids, indent=2) + "\n")
    logs = {job.folder: ids_file.with_name(f"{ids[job.folder.name]}_0_log.out") for job in jobs if job not in held}
    wait([SlurmJob(ids[folder.name], folder, log) for folder, log in logs.items()])


def _arrays(jobs: Sequence[Job], asked: dict[Path, Resources]) -> list[tuple[Resources, list[Job]]]:
    """The jobs that ask for the same, as many together as an array may hold."""
    alike: dict[Resources, list[Job]] = {}
    for job in jobs:
        alike.setdefault(asked[job.folder], []).append(job)
    return [
        (needs, group[begin : begin + ARRAY]) for needs, group in alike.items() for begin in range(0, len(group), ARRAY)
    ]


def _check_commands() -> None:
    missing = [program for program in ("sbatch", "srun", "squeue", "scontrol") if shutil.which(program) is None]
    if missing:
        raise ConfigError(
            f"hydra/launcher=slurm needs {', '.join(missing)}, which is not on the PATH. Start this on a login node of the "
            "cluster; hydra.launcher.dry_run=true shows the scripts anywhere."
        )


def _submit(text: str, folder: Path) -> str:
    """Submits a script and keeps it in the folder. Returns SLURM's number."""
    submitted = subprocess.run(["sbatch", "--parsable"], input=text, capture_output=True, text=True)
    if submitted.returncode:
        raise ConfigError(
            f"SLURM refuses the job: {submitted.stderr.strip()}\nChange trainer.devices, trainer.num_nodes or the settings in "
            "hydra.launcher; hydra.launcher.dry_run=true shows the script."
        )
    number = submitted.stdout.strip().partition(";")[0]  # a cluster's name may follow
    write_text(folder / f"{number}.sh", text)
    return number
