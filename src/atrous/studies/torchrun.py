"""Several processes for one run: each job is its own `torchrun` on its saved config.

Lightning's own launcher starts its children with the parent's whole command line, `-m` included, so a multirun's job
would start the multirun again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from atrous.config.command_line import COMMAND, command_line
from atrous.errors import ConfigError, TrainingError
from atrous.runs.failures import failure_from_outside, first_failure
from atrous.runs.record import tell_failure, write_config
from atrous.runs.run import Run, Status
from atrous.system.devices import device_count
from atrous.system.ranks import is_launched, srun_tasks
from atrous.system.signals import Interrupted, Signals, kill_tree


def needs_launch(trainer: dict[str, Any]) -> bool:
    """Whether this process has to start others and wait for them, instead of training.

    Raises:
        ConfigError: If there are to be several machines, whose processes only a launcher can start, or srun has started
            another number of them.
    """
    nodes = trainer["num_nodes"]
    if srun_tasks() > 1:
        _check_tasks(trainer, device_count(trainer), nodes)
    if is_launched():
        return False
    if nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={nodes}, but nothing has started this command on {nodes} machines, and by itself it would wait "
            f"for the others for ever. Start it on each by `torchrun --nnodes={nodes} --nproc-per-node={device_count(trainer)} "
            "--rdzv-backend=c10d --rdzv-endpoint=HOST:PORT train.py ... hydra.run.dir=FOLDER` with a folder that all see, or by "
            "`srun` with one task per device; or set trainer.num_nodes=1."
        )
    return device_count(trainer) > 1


def launch(config: dict[str, Any], folder: Path) -> float:
    """Runs `config` in one process per device and waits. Returns the run's score.

    The processes are in a session of their own, so that a Ctrl-C reaches them once, passed on from here.

    Raises:
        Interrupted: If the run was told to stop.
        TrainingError: With the failed run's own message where it left one, else the end of `launch.log`.
    """
    write_config(folder, config)
    first_failure(folder)  # of an earlier start
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={device_count(config['trainer'])}", "-m", "atrous.worker", str(folder)]
    with (folder / "launch.log").open("w") as log, Signals() as signals:  # torchrun's report; the bar goes to stdout
        told = {**os.environ, COMMAND: command_line()}
        code = _wait(subprocess.Popen(command, stderr=log, start_new_session=True, env=told), signals)
    run = Run.at(folder)
    report = (folder / "launch.log").read_text(errors="replace")
    if code != 0 and not signals.number and (failure := failure_from_outside(folder, report)):
        tell_failure(run, failure)
        raise TrainingError(failure)
    if run.status == Status.INTERRUPTED:
        raise Interrupted(signals.number or signal.Signals[run.result["signal"]])
    if code != 0:
        tail = "\n".join(report.splitlines()[-20:])
        error = run.result.get("error")
        raise TrainingError(error or f"a process ended with status {code}; {folder / 'launch.log'} ends:\n{tail}")
    return run.objective


def _check_tasks(trainer: dict[str, Any], devices: int, nodes: int) -> None:
    """Holds the tasks that srun has started against the devices, and tells Lightning how they are spread."""
    tasks, there = srun_tasks(), int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
    if tasks != devices * nodes or there != nodes:
        raise ConfigError(
            f"srun has started {tasks} tasks on {there} nodes, but trainer.devices={trainer['devices']} and "
            f"trainer.num_nodes={nodes} ask for one task per device. Start it by `srun --nodes={nodes} "
            f"--ntasks-per-node={devices} python train.py ...`, or change the settings."
        )
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(devices))  # which `srun --ntasks` leaves unset


def _wait(process: subprocess.Popen[bytes], signals: Signals) -> int:
    """Waits for torchrun, passes on the first signal, and kills everything at a second Ctrl-C."""
    signals.deferred = True
    passed = False
    try:
        while True:
            if signals.number and not passed:
                # torchrun passes these two on, and ends at others
                process.send_signal(signal.SIGINT if signals.number == signal.SIGINT else signal.SIGTERM)
                passed = True
            try:
                return process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            kill_tree(process.pid)
