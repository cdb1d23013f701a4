"""The Trainer of a run."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from atrous.callbacks.checkpoint import AtomicCheckpointIO
from atrous.callbacks.last_validation import LastValidation
from atrous.config.checks import needs_gpu
from atrous.config.compose import instantiate
from atrous.errors import ConfigError
from atrous.system.devices import device_count
from atrous.system.ranks import is_torchrun, srun_tasks
from atrous.tasks.sharded import Sharded
from atrous.tasks.sync_batchnorm import SyncBatchNorm


def quiet_lightning() -> None:
    """Leaves the terminal to our own messages: silences Lightning's tips and the warnings that don't apply to us."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings(
        "ignore", message=".*isinstance\\(treespec, LeafSpec\\).*"
    )  # Lightning's own, on torch 2.15
    for message in (
        ".*does not have many workers.*",  # our default is chosen from the cores
        ".*exists and is not empty.*",  # the run folder is the logger's folder
        ".*The number of training batches.*smaller than the logging interval.*",
        ".*`srun` command is available on your system.*",  # a machine of the cluster, but no job of it
        ".*ended before the epoch ended and your dataloader is.*",  # ours is told where to begin
        ".*sync_dist=True.*",  # scores are of counts that are summed over the processes already
        ".*Please add the following callbacks: \\['Timer'\\].*",  # whose run goes on without trainer.max_time
        ".*`broadcast_buffers` is deprecated.*",  # what it says to keep using it for is what we use it for
    ):
        warnings.filterwarnings("ignore", message=message, module="lightning.*")


def build_trainer(
    options: dict[str, Any], *, callbacks: list[pl.Callback], loggers: list[Logger], folder: Path
) -> pl.Trainer:
    """The Trainer on the devices asked for; several processes average their gradients (DDP), and with `strategy: fsdp` share
    weights.

    Args:
        options: The part `trainer` of the config.
        callbacks, loggers: The run's.
        folder: The run folder.

    Raises:
        ConfigError: If a GPU is asked for, by itself or by the precision, and there is none.
    """
    _check_gpu(options)
    options = {**in_updates(options), "devices": device_count(options)}
    plugins: list[Any] = [AtomicCheckpointIO()]
    several = options["devices"] * options["num_nodes"] > 1
    on_cpu = options["accelerator"] == "cpu" or not torch.cuda.is_available()
    sync = SyncBatchNorm(cpu=on_cpu) if options.pop("sync_batchnorm") and several else None
    if options["strategy"] == "fsdp":
        processes = options["devices"] * options["num_nodes"]
        options["strategy"] = Sharded(processes=processes, layer_sync=sync) if several else "auto"
    elif sync is not None:
        plugins.append(sync)
    if options["strategy"] in ("auto", "ddp") and several:
        options["strategy"] = DDPStrategy(broadcast_buffers=False)  # evaluation shards differ in length
    if not is_torchrun():  # which Lightning finds by itself; in a shell of SLURM it would take the shell for a task
        plugins.append(SLURMEnvironment(auto_requeue=False) if srun_tasks() > 1 else LightningEnvironment())
    strategy = options.pop("strategy")
    trainer: pl.Trainer = instantiate(
        options,
        strategy=instantiate(strategy) if isinstance(strategy, dict) else strategy,
        callbacks=[*callbacks, LastValidation()],
        logger=loggers,
        plugins=plugins,
        default_root_dir=str(folder),
    )
    if trainer.precision != options.get("precision", trainer.precision):  # Lightning has taken another
        raise ConfigError(needs_gpu(options["precision"]))
    return trainer


def out_of_time(trainer: pl.Trainer) -> bool:
    """Whether `trainer.max_time` has ended a training before its last update."""
    left = [callback.time_remaining() for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    over = any(seconds is not None and seconds <= 0 for seconds in left)
    return over and trainer.global_step < trainer.estimated_stepping_batches


def build_fabric(options: dict[str, Any]) -> Fabric:
    """The device and the precision of a network that labels images in this process.

    Args:
        options: The part `trainer` of the config; `accelerator` and `precision` are read.

    Raises:
        ConfigError: If a GPU is asked for, by itself or by the precision, and there is none.
    """
    _check_gpu(options)
    accelerator, precision = options["accelerator"], options["precision"]
    fabric = Fabric(accelerator=accelerator, devices=1, plugins=[LightningEnvironment()])
    if precision == "16-mixed" and fabric.device.type == "cpu":
        raise ConfigError(needs_gpu(precision))
    return Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=[LightningEnvironment()])


def _check_gpu(options: dict[str, Any]) -> None:
    if options["accelerator"] in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={options['accelerator']}, but PyTorch {torch.__version__} finds no GPU here. "
            "Use trainer=cpu, or install a driver and a torch build that fit each other (see `nvidia-smi`)."
        )


def warn_of_slow_precision(trainer: pl.Trainer) -> None:
    """Says so where bfloat16 is asked of a CPU that only emulates it, in 2.4 to 2.6 times the time of float32.

    Older versions of torch don't tell what a CPU can; then nothing is said.
    """
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    lacks = can.get("architecture") == "x86_64" and not (can.get("avx512_bf16") or can.get("amx_bf16"))
    if lacks and trainer.precision == "bf16-mixed" and trainer.strategy.root_device.type == "cpu":
        logging.getLogger(__name__).warning(
            "trainer.precision=bf16-mixed on a CPU without AVX-512 BF16 or AMX, which takes more than twice the time of "
            "trainer.precision=32-true"
        )


def in_updates(trainer: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's settings for a run whose length or validations are given in updates.

    `max_steps` takes the place of `max_epochs`, which Lightning would end at if that comes first. A whole
    `val_check_interval` counts across epochs, and updates, which Lightning counts in batches within an epoch.
    """
    trainer = dict(trainer)
    if trainer.get("max_steps", -1) > 0:
        trainer["max_epochs"] = -1
    if isinstance(trainer.get("val_check_interval"), int):
        trainer["check_val_every_n_epoch"] = None
        trainer["val_check_interval"] *= trainer["accumulate_grad_batches"]
    return trainer
