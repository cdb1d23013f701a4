"""Submits the jobs of a multirun to SLURM: what each asks for, the scripts, the arrays. Runs on a login node.

`slurm_task` is what runs in the jobs, `slurm_watch` what waits for them. Options are those of
https://slurm.schedmd.com/sbatch.html.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from atrous.errors import ConfigError, TrainingError
from atrous.studies.slurm_task import run_task
from atrous.studies.slurm_watch import SlurmJob, queue, wait
from atrous.system.files import write_text
from atrous.system.locks import is_held
from atrous.system.text import short

GB_PER_CORE = 4
CORES = 8  # of a task whose number of workers is not given; the loaders take what cores there are
ARRAY = 1000  # jobs; SLURM's MaxArraySize is 1001 unless a site has changed it
SIGNAL = "USR2"  # asks a job to save and end; its status is then 128 + 12


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


def launch(
    job_overrides: list[list[str]],
    *,
    first: int,
    settings: dict[str, Any],
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
) -> list[JobReturn]:
    """Submits the jobs that are neither queued nor running yet, and waits for all.

    Args:
        job_overrides: The overrides of each, its folder included.
        first: The number of the first.
        settings: Of the launcher.
        context: Hydra's; composes the configs.
        task: What a job does with its config.
        config: The multirun's own config.

    Returns:
        In the order of the overrides; FAILED with its error where a job was not submitted. What came of the others is in
        their folders.

    Raises:
        ConfigError: If there is no SLURM here, or it refuses what is asked for.
        Interrupted: By Ctrl-C; the jobs go on.
    """
    check_settings(settings)
    folders, groups = _planned(job_overrides, first, settings, context, config)
    study = folders[0].parent
    if settings["dry_run"]:
        for asked, numbers in groups.items():
            _show(numbers, folders, study, parameters(asked, settings, study))
        print(f"dry_run: of {len(job_overrides)} jobs none was submitted.")
        return [JobReturn() for _ in job_overrides]
    _check_commands()
    study.mkdir(parents=True, exist_ok=True)
    known, there = _known(study), queue()
    if there is None:
        raise ConfigError(
            "squeue finds no SLURM controller. Start this on a login node, and see that `sinfo` works there."
        )
    ids = {number: known[folder.name] for number, folder in enumerate(folders) if known.get(folder.name) in there}
    if ids:
        print(f"queued or running already: {len(ids)} job{'s' * (len(ids) != 1)}; waits for them, too.")
    returns = [JobReturn() for _ in job_overrides]
    for number, folder in enumerate(folders):
        if number not in ids and is_held(folder):
            returns[number].status = JobStatus.FAILED
            returns[number].return_value = TrainingError(f"{short(folder)} is being written by another process.")
    state = Singleton.get_state()
    for asked, numbers in groups.items():
        new = [number for number in numbers if number not in ids and returns[number].status == JobStatus.UNKNOWN]
        for part in _arrays(new):
            calls = [(context, config, job_overrides[number], first + number, task, state) for number in part]
            ids |= zip(part, _submit(calls, parameters(asked, settings, study), study), strict=True)
            known |= {folders[number].name: ids[number] for number in part}
            write_text(_ids_file(study), json.dumps(known, indent=2) + "\n")
    logs = {number: study / "slurm" / f"{name}_0_log.out" for number, name in ids.items()}
    wait([SlurmJob(name, folders[number], logs[number]) for number, name in sorted(ids.items())])
    return returns


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


def parameters(asked: Resources, settings: dict[str, Any], study: Path) -> dict[str, Any]:
    """The script's contents in submitit's words."""
    chosen = {key: settings[key] for key in ("partition", "account", "qos", "constraint") if settings[key] is not None}
    pairs = (option.removeprefix("--").partition("=") for option in settings["additional"])
    more = {name: value if equals else True for name, equals, value in pairs}
    if asked.gpus:
        chosen["gpus_per_node"] = asked.gpus
    return {
        **chosen,
        "job_name": study.name,
        "nodes": asked.nodes,
        "ntasks_per_node": asked.tasks,
        "cpus_per_task": asked.cores,
        "mem": f"{asked.megabytes}MB",
        "time": settings["minutes"],
        "signal_delay_s": settings["save_seconds"],
        "wckey": None,  # submitit's default is refused where wckeys are checked
        "array_parallelism": settings["array_parallelism"],
        "stderr_to_stdout": True,
        # submitit's own handler would start the job from zero; of this signal it hears nothing
        "setup": [*settings["setup"], "export SUBMITIT_PREEMPT_SIGNAL=URG"],
        # since 22.05 srun takes no cores per task from sbatch; and a job whose one process has died is not to wait for it
        "srun_args": [f"--cpus-per-task={asked.cores}", "--kill-on-bad-exit=1"],
        "teardown": _teardown(settings["max_requeues"]),
        "additional_parameters": {"requeue": True, **more},
    }


def check_settings(settings: dict[str, Any]) -> None:
    """Refuses settings of the launcher that can't work."""
    for key in ("minutes", "max_requeues", "array_parallelism", "save_seconds"):
        value, least = settings[key], 0 if key == "max_requeues" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"hydra.launcher.{key}={value} is impossible; give a whole number from {least} on.")
    for key, least in (("cpus_per_task", 1), ("gpus_per_node", 0)):
        value = settings[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ConfigError(
                f"hydra.launcher.{key}={value} is impossible; give a whole number from {least} on, or null."
            )
    memory = settings["mem_gb"]
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int | float) or memory <= 0):
        raise ConfigError(f"hydra.launcher.mem_gb={memory} is impossible; give a number above 0, or null.")
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


def _planned(
    job_overrides: list[list[str]], first: int, settings: dict[str, Any], context: HydraContext, config: DictConfig
) -> tuple[list[Path], dict[Resources, list[int]]]:
    """The jobs' folders, and which jobs ask for the same."""
    folders: list[Path] = []
    groups: dict[Resources, list[int]] = {}
    for number, overrides in enumerate(job_overrides):
        job = context.config_loader.load_sweep_config(config, overrides)
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = first + number
        folders.append(Path(job.hydra.sweep.dir).absolute() / job.hydra.sweep.subdir)
        groups.setdefault(resources(_plain(job.trainer), _plain(job.data), settings), []).append(number)
    return folders, groups


def _arrays(numbers: list[int]) -> list[list[int]]:
    """As many as an array may hold."""
    return [numbers[begin : begin + ARRAY] for begin in range(0, len(numbers), ARRAY)]


def _plain(part: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(part, resolve=True)  # type: ignore[return-value]


def _teardown(max_requeues: int) -> list[str]:
    """What the script does as the job has ended. `scancel` by a user ends the script itself, so it never gets here then."""
    return [
        "status=$?",
        "# not SLURM_JOB_ID alone: of an array's last job it is the number of the whole array, which would be queued again",
        'job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"',
        f"# 140: {SIGNAL} came, ahead of the time limit or a preemption; 143: TERM, a preemption's where a time is given",
        'preempted() { scontrol show job "$job" | grep -q "PreemptTime=[0-9]"; }',
        "if [ $status -eq 140 ] || { [ $status -eq 143 ] && preempted; }; then",
        f'  [ "${{SLURM_RESTART_COUNT:-0}}" -lt {max_requeues} ] && scontrol requeue "$job"',
        "fi",
        "exit $status",
    ]


def _has_gpus(partition: str | None) -> bool:
    """Whether the partition, or any, has nodes with GPUs."""
    if shutil.which("sinfo") is None:
        return False
    command = ["sinfo", "--noheader", "--format=%G"] + ([f"--partition={partition}"] if partition else [])
    return "gpu" in subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def _check_commands() -> None:
    missing = [program for program in ("sbatch", "srun", "squeue", "scontrol") if shutil.which(program) is None]
    if missing:
        raise ConfigError(
            f"hydra/launcher=slurm needs {', '.join(missing)}, which is not on the PATH. Start this on a login node of the "
            "cluster; hydra.launcher.dry_run=true shows the scripts anywhere."
        )


def _executor(study: Path, chosen: dict[str, Any]) -> Any:
    try:
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as error:
        raise ConfigError("hydra/launcher=slurm needs submitit: pip install 'atrous[slurm]'") from error

    class Executor(SlurmExecutor):  # type: ignore[misc, unused-ignore]
        @classmethod
        def affinity(cls) -> int:
            return 2  # scripts can be shown where there is no SLURM

    executor = Executor(folder=study / "slurm")
    executor.update_parameters(**chosen)
    return executor


def _submit(calls: list[tuple[Any, ...]], chosen: dict[str, Any], study: Path) -> list[str]:
    """Submits one job, or several as an array; their ids, such as 12_0."""
    executor = _executor(study, chosen)
    from submitit.core.utils import FailedJobError

    try:
        with executor.batch():
            jobs = [executor.submit(run_task, *call, sys.argv[0]) for call in calls]
    except FailedJobError as error:
        raise ConfigError(
            f"SLURM refuses the job: {str(error).strip()}\nChange trainer.devices, trainer.num_nodes or the settings in "
            "hydra.launcher; hydra.launcher.dry_run=true shows the script."
        ) from error
    return [str(job.job_id) for job in jobs]


def _show(numbers: list[int], folders: list[Path], study: Path, chosen: dict[str, Any]) -> None:
    """Prints the script that would be submitted."""
    executor = _executor(study, chosen)
    for part in _arrays(numbers):
        executor.parameters |= {"map_count": len(part)} if len(part) > 1 else {}
        names = ", ".join(folders[number].name for number in part)
        print(f"# {len(part)} {'jobs' if len(part) > 1 else 'job'}: {names}")
        print(executor._make_submission_file_text(executor._submitit_command_str, ""), flush=True)


def _ids_file(study: Path) -> Path:
    return study / "slurm" / "jobs.json"


def _known(study: Path) -> dict[str, str]:
    """SLURM's ids of the jobs that were submitted before, by folder."""
    path = _ids_file(study)
    path.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known
