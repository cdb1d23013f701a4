"""The rank of this process, if torchrun or srun has started several. Imports no torch."""

from __future__ import annotations

import os


def srun_tasks() -> int:
    """How many tasks srun has started in this step; 1 outside a step, as in a batch script or a shell."""
    return 1 if is_torchrun() else int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def is_torchrun() -> bool:
    """Whether torchrun has started this process, perhaps inside a task of srun."""
    return "LOCAL_RANK" in os.environ


def is_launched() -> bool:
    """Whether a launcher (torchrun, srun) has already started one process per device."""
    return is_torchrun() or srun_tasks() > 1


def rank() -> int:
    """The number of this process among those that were started; 0 where it is the only one."""
    if is_torchrun():
        return int(os.environ.get("RANK", "0"))
    return 0 if srun_tasks() == 1 else int(os.environ["SLURM_PROCID"])


def is_main_process() -> bool:
    """Whether this process writes the run folder."""
    return rank() == 0
