"""Several processes for one run: each job is its own `torchrun` on its saved config.

Lightning's own launcher starts its children with the parent's whole command line, `-m` included, so a multirun's job
would start the multirun again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from atrous.cli.build import device_count
from atrous.cli.record import write_text
from atrous.errors import TrainingError


def process_count(trainer: dict[str, Any]) -> int:
    """How many processes this machine takes part with."""
    return device_count(trainer)


def is_launched() -> bool:
    """Whether a launcher (torchrun, srun) has already started one process per device."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def is_main_process() -> bool:
    """Whether this process writes the run folder."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def launch(config: dict[str, Any], folder: Path) -> float:
    """Runs `config` in one process per device and waits. Returns the run's mIoU.

    Raises:
        TrainingError: With the failed run's own message where it left one, else the end of `launch.log`.
    """
    write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={process_count(config['trainer'])}", "-m", "atrous.cli.worker", str(folder)]
    result_path = folder / "result.json"
    with (folder / "launch.log").open("w") as log:  # torchrun's own report; the bar goes to the terminal by stdout
        code = subprocess.run(command, stderr=log, check=False).returncode
    result = json.loads(result_path.read_text()) if result_path.exists() else {}
    if code != 0:
        tail = "\n".join((folder / "launch.log").read_text().splitlines()[-20:])
        raise TrainingError(
            result.get("error") or f"a process ended with status {code}; {folder / 'launch.log'} ends:\n{tail}"
        )
    return float(result["scores"]["miou"])
