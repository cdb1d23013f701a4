"""What a job asks SLURM for, and the script of it. Options are those of https://slurm.schedmd.com/sbatch.html."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from atrous.config.command_line import COMMAND
from atrous.config.values import NonNegativeInt, PositiveInt, Range, checked
from atrous.errors import ConfigError
from atrous.studies.study import Job

GB_PER_CORE = 4
CORES = 8  # of a task whose number of workers is not given; the loaders take what cores there are
SIGNAL = "USR2"  # asks a job to save and end; its status is then 128 + 12
_KINDS: dict[str, Any] = {
    "minutes": PositiveInt,
    "save_seconds": PositiveInt,
    "max_requeues": NonNegativeInt,
    "array_parallelism": PositiveInt,
    "cpus_per_task": PositiveInt | None,
    "gpus_per_node": NonNegativeInt | None,
    "mem_gb": Annotated[float, Range(0.001)] | None,
}


@dataclass(frozen=True)
class Resources:
    """What a job asks for.

    Args:
        nodes: Machines.
        tasks: On each; one per device.
        gpus: On each.
        cores: Of each task.
        megabytes: Memory of each machine.
    """

    nodes: int
    tasks: int
    gpus: int
    cores: int
    megabytes: int


def resources(trainer: dict[str, Any], data: dict[str, Any], settings: dict[str, Any]) -> Resources:
    """What a job needs, from its resolved `trainer` and `data` and the launcher's settings.

    Raises:
        ConfigError: If `trainer.devices` says nothing of another machine.
    """
    devices, accelerator = trainer["devices"], trainer["accelerator"]
    if isinstance(devices, list):
        devices = len(devices)
    elif devices in ("auto", -1, "-1") and accelerator == "cpu":
        devices = 1
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise ConfigError(
            f"trainer.devices={devices} does not say how many of a node's devices a job takes, and the login node can't "
            "know. Give a number, such as trainer.devices=8."
        )
    gpus = settings["gpus_per_node"]
    if gpus is None:
        asks = accelerator in ("gpu", "cuda") or (accelerator == "auto" and _has_gpus(settings["partition"]))
        gpus = devices if asks else 0
    workers = data.get("num_workers")
    cores = settings["cpus_per_task"] or (CORES if workers is None else workers + 1)
    gigabytes = settings["mem_gb"] or GB_PER_CORE * cores * devices
    return Resources(int(trainer["num_nodes"]), devices, int(gpus), int(cores), round(gigabytes * 1024))


def script(jobs: Sequence[Job], asked: Resources, settings: dict[str, Any]) -> str:
    """The sbatch script of a job, or of several as an array, by the template slurm_job.sh."""
    study = jobs[0].folder.parent
    configs = [job.composed() for job in jobs]
    name = "%A_%a" if len(jobs) > 1 else "%j"
    logs = study / "slurm" / f"{name}_%t_log.out"
    options: dict[str, Any] = {
        "job-name": study.name,
        **{key: settings[key] for key in ("partition", "account", "qos", "constraint")},
        "nodes": asked.nodes,
        "ntasks-per-node": asked.tasks,
        "cpus-per-task": asked.cores,
        "gpus-per-node": asked.gpus or None,
        "mem": f"{asked.megabytes}MB",
        "time": settings["minutes"],
        "signal": f"{SIGNAL}@{settings['save_seconds']}",
        "requeue": True,
        "open-mode": "append",
        "output": str(logs).replace("%t", "0"),
        "array": f"0-{len(jobs) - 1}%{min(len(jobs), settings['array_parallelism'])}" if len(jobs) > 1 else None,
    }
    for option in settings["additional"]:
        key, equals, value = option.removeprefix("--").partition("=")
        options[key] = value if equals else True
    exports = {key: value for key, value in configs[0].environment.items() if key != COMMAND}
    parts = {
        "OPTIONS": [_option(key, value) for key, value in options.items() if value is not None],
        "FOLDERS": [shlex.quote(str(job.folder)) for job in jobs],
        "COMMANDS": [shlex.quote(config.command) for config in configs],
        "SETUP": [*(f"export {key}={shlex.quote(value)}" for key, value in exports.items()), *settings["setup"]],
        "LOG": [shlex.quote(str(logs))],
        "CORES": [str(asked.cores)],
        "PYTHON": [shlex.quote(sys.executable)],
        "SIGNAL": [SIGNAL],
        "MAX_REQUEUES": [str(settings["max_requeues"])],
    }
    text = Path(__file__).with_name("slurm_job.sh").read_text(encoding="utf-8")
    for key, lines in parts.items():
        text = text.replace(f"@{key}@", "\n".join(lines))
    return text


def check_settings(settings: dict[str, Any]) -> None:
    """Refuses settings of the launcher that can't work."""
    for key, kind in _KINDS.items():
        checked(f"hydra.launcher.{key}", settings[key], kind)
    for option in settings["additional"]:
        if not str(option).startswith("--"):
            raise ConfigError(
                f"hydra.launcher.additional: {option} is no option of sbatch; give such as "
                """'hydra.launcher.additional=["--mail-type=FAIL","--exclusive"]'."""
            )
    if settings["minutes"] * 60 <= settings["save_seconds"]:
        raise ConfigError(
            f"hydra.launcher.save_seconds={settings['save_seconds']} is no less than hydra.launcher.minutes="
            f"{settings['minutes']}, so a job would be told to end as it starts, again and again. Give it more minutes."
        )


def _option(key: str, value: Any) -> str:
    return f"#SBATCH --{key}" if value is True else f"#SBATCH --{key}={shlex.quote(str(value))}"


def _has_gpus(partition: str | None) -> bool:
    """Whether the partition, or any, has nodes with GPUs."""
    if shutil.which("sinfo") is None:
        return False
    command = ["sinfo", "--noheader", "--format=%G"] + ([f"--partition={partition}"] if partition else [])
    return "gpu" in subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
