"""What runs in SLURM's tasks: one job of a multirun, in one process per device."""

from __future__ import annotations

import signal
import sys
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from atrous.config.compose import prepare
from atrous.system.ranks import is_main_process


def run_task(
    context: HydraContext,
    config: DictConfig,
    overrides: list[str],
    number: int,
    task: TaskFunction,
    state: Any,
    program: str,
) -> float:
    """Runs the job as Hydra's own launcher does. Leaves with status 1 where it fails, which SLURM shows as FAILED.

    Until training takes them over, signals end the process: nothing is lost then, and the script reads the status.

    Args:
        context: Hydra's; composes the config.
        config: The multirun's own config.
        overrides: The job's.
        number: The job's.
        task: What it does with its config.
        state: Of Hydra's singletons.
        program: The command that the user has typed.
    """
    for number_of_signal in (signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT, signal.SIGURG):  # submitit's handlers
        signal.signal(number_of_signal, signal.SIG_DFL)
    Singleton.set_state(state)
    setup_globals()
    prepare()
    sys.argv = [program]
    job = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
    try:
        returned = run_job(
            hydra_context=context,
            task_function=task,
            config=job,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            configure_logging=is_main_process(),
        )
    except SystemExit:  # asked to end; srun, seeing one process end so, tells the others to, and theirs is the status
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    if returned.status == JobStatus.FAILED:
        sys.exit(1)  # the reason is told and recorded
    return float(returned.return_value)
