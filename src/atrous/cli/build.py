"""From a resolved config to objects. Importing this module imports torch and Lightning."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch import nn

from atrous.analysis.valid_taps import wide_rates
from atrous.callbacks.checkpoint import WholeFiles
from atrous.callbacks.last_validation import LastValidation
from atrous.cli.checkpoint import with_overrides
from atrous.cli.checks import check_config, needs_gpu
from atrous.cli.output_stride import follow_output_stride
from atrous.cli.ranks import is_torchrun, srun_tasks
from atrous.cli.trust import check_targets, read_class_info
from atrous.cli.wandb_report import wandb_login
from atrous.data.class_counts import count_classes
from atrous.data.datamodule import SegmentationDataModule
from atrous.encoders.weights_file import read_weights
from atrous.errors import CheckpointError, ConfigError
from atrous.inference.mode import Mode
from atrous.inference.whole import Whole
from atrous.losses.class_weights import with_named_weights
from atrous.models.adapter import adapt
from atrous.models.pretrained import load_pretrained
from atrous.tasks.semantic import SemanticScorer, SemanticTask
from atrous.tasks.sharded import Sharded, is_sharded
from atrous.tasks.sync_batchnorm import SyncBatchNorm
from atrous.types import ClassInfo


@dataclass(frozen=True)
class Restored:
    """A checkpoint brought back to life for scoring or predicting."""

    config: dict[str, Any]
    class_info: ClassInfo
    scorer: SemanticScorer
    source: Path

    def normalise(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 (H, W, 3) -> float32 (3, H, W), as the images of its evaluation."""
        transform = instantiate(self.config["data"]["eval_transform"], _convert_="all")
        normalised: torch.Tensor = transform.normalise(image)
        return normalised


def quiet_lightning() -> None:
    """Leaves the terminal to our own messages: silences Lightning's tips and the warnings that don't apply to us."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings(
        "ignore", message=".*isinstance\\(treespec, LeafSpec\\).*"
    )  # Lightning's own, on torch 2.15
    for message in (
        ".*does not have many workers.*",  # our default is chosen from the cores
        ".*exists and is not empty.*",  # the run folder is the logger's folder
        ".*The dirpath has changed from.*",  # a resumed run has a folder of its own
        ".*The number of training batches.*smaller than the logging interval.*",
        ".*`srun` command is available on your system.*",  # a machine of the cluster, but no job of it
        ".*ended before the epoch ended and your dataloader is.*",  # ours is told where to begin
        ".*sync_dist=True.*",  # scores are of counts that are summed over the processes already
        ".*`broadcast_buffers` is deprecated.*",  # what it says to keep using it for is what we use it for
    ):
        warnings.filterwarnings("ignore", message=message, module="lightning.*")


def build_datamodule(config: dict[str, Any]) -> SegmentationDataModule:
    datamodule: SegmentationDataModule = instantiate(config["data"], _convert_="all")
    return datamodule


def build_model(config: dict[str, Any]) -> nn.Module:
    """The network under our model contract, whoever wrote it."""
    return adapt(instantiate(config["model"], _convert_="all"))


def build_inference(config: dict[str, Any]) -> Mode:
    """How images that are scored or predicted go through the network; whole in checkpoints of before there was a choice."""
    if "inference" not in config:
        return Whole()
    mode: Mode = instantiate(config["inference"], _convert_="all")
    return mode


def build_task(config: dict[str, Any], datamodule: SegmentationDataModule) -> SemanticTask:
    """The LightningModule with its model, loss, optimizer and scheduler; class weights may come from the train split."""

    def count() -> NDArray[np.int64]:
        return count_classes(datamodule.raw_dataset("train"), folder=datamodule.cache_folder)

    settings = {**config, "loss": with_named_weights(config["loss"], count)}
    parts = {name: instantiate(settings[name], _convert_="all") for name in ("loss", "optimizer", "scheduler")}
    model = build_model(config)
    if config["weights"] is not None:
        load_pretrained(model, config["weights"], reset_head=config["reset_head"])
    crop = config["data"].get("train_transform", {}).get("crop_size")
    warning = wide_rates(model, crop) if crop else None
    if warning:
        logging.getLogger(__name__).warning("%s", warning)
    make_task = instantiate(config["task"], _partial_=True, _convert_="all")
    task: SemanticTask = make_task(
        model=model, **parts, class_info=datamodule.class_info, config=config, inference=build_inference(config)
    )
    return task


def build_scorer(config: dict[str, Any], class_info: ClassInfo) -> SemanticScorer:
    """The network without what trains it."""
    return SemanticScorer(
        model=build_model(config),
        class_info=class_info,
        channels_last=config["task"]["channels_last"],
        inference=build_inference(config),
    )


def unsharded(task: SemanticTask, config: dict[str, Any]) -> SemanticScorer:
    """The task, or, where its weights are spread over processes, a network to load a checkpoint's into."""
    return build_scorer(config, task.class_info) if is_sharded(task.model) else task


def build_trainer(
    config: dict[str, Any], *, callbacks: list[pl.Callback], loggers: list[Logger], folder: Path
) -> pl.Trainer:
    """The Trainer on the devices that `config["trainer"]` asks for; several processes average their gradients (DDP), and with
    `strategy: fsdp` share weights.

    Raises:
        ConfigError: If a GPU is asked for, by itself or by the precision, and there is none.
    """
    options = config["trainer"]
    if options["accelerator"] in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={options['accelerator']}, but PyTorch {torch.__version__} finds no GPU here. "
            "Use trainer=cpu, or install a driver and a torch build that fit each other (see `nvidia-smi`)."
        )
    options = {**in_updates(options), "devices": device_count(options)}
    plugins: list[Any] = [WholeFiles()]
    several = options["devices"] * options["num_nodes"] > 1
    if options.pop("sync_batchnorm") and several:
        plugins.append(SyncBatchNorm(cpu=options["accelerator"] == "cpu" or not torch.cuda.is_available()))
    if options["strategy"] == "fsdp":
        options["strategy"] = Sharded(processes=options["devices"] * options["num_nodes"]) if several else "auto"
    elif options["strategy"] in ("auto", "ddp") and several:
        options["strategy"] = DDPStrategy(broadcast_buffers=False)  # evaluation shards differ in length
    if not is_torchrun():  # which Lightning finds by itself; in a shell of SLURM it would take the shell for a task
        plugins.append(SLURMEnvironment(auto_requeue=False) if srun_tasks() > 1 else LightningEnvironment())
    strategy = options.pop("strategy")
    make_trainer = instantiate(options, _partial_=True, _convert_="all")
    trainer: pl.Trainer = make_trainer(
        strategy=instantiate(strategy) if isinstance(strategy, dict) else strategy,
        callbacks=[*callbacks, LastValidation()],
        logger=loggers,
        plugins=plugins,
        default_root_dir=str(folder),
    )
    if trainer.precision != options.get("precision", trainer.precision):  # Lightning has taken another
        raise ConfigError(needs_gpu(options["precision"]))
    return trainer


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


def device_count(trainer: dict[str, Any]) -> int:
    """How many devices of this machine `trainer.devices` means."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        return max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    if not isinstance(devices, int) or devices < 1:
        raise ConfigError(f"trainer.devices={devices} is impossible; give a number from 1 on, or auto.")
    return devices


def build_loggers(config: dict[str, Any], *, wandb_id: str | None = None) -> list[Logger]:
    """The loggers of the config; W&B goes offline where nobody is logged in, and on with the run of `wandb_id`."""
    loggers: list[Logger] = []
    for options in config["logger"].values():
        if options["_target_"].endswith("WandbLogger"):
            offline = options["offline"]
            offline = not wandb_login() if offline is None else offline
            options = {"id": wandb_id, "resume": "allow", **options, "offline": offline}
            loggers.append(instantiate(options, _partial_=True, _convert_="all")(config=config))
        else:
            loggers.append(instantiate(options, _convert_="all"))
    return loggers


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint as plain tensors and containers; nothing in it can run code.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds more than data.
    """
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}. A run keeps them in its folder as checkpoints/best.ckpt and last.ckpt."
        )
    checkpoint = read_weights(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} holds no `state_dict`; expected a checkpoint that `atrous train` wrote.")
    return checkpoint


def restore(path: Path, settings: dict[str, Any], overrides: list[str]) -> Restored:
    """Rebuilds the network of a checkpoint from the config inside it and loads its weights.

    Args:
        path: A checkpoint that `train` wrote.
        settings: The command's own settings; `trusted` and `accelerator` are read.
        overrides: Changes to the checkpoint's config, as on `train`'s command line.

    Raises:
        CheckpointError: If the file, its config or its weights won't do.
        ConfigError: If an override is impossible.
    """
    checkpoint = load_checkpoint(path)
    for key in ("config", "class_info"):
        if key not in checkpoint:
            raise CheckpointError(f"{path} holds no `{key}`; expected a checkpoint that `atrous train` wrote.")
    config = with_overrides(checkpoint["config"], overrides)
    config = follow_output_stride(config, checkpoint["config"], overrides)
    for part in ("model", "data", "inference"):
        check_targets(config.get(part), settings["trusted"], f"the checkpoint {path}")
    check_config(config)
    one_device = {"devices": 1, "num_nodes": 1, "strategy": "auto", "sync_batchnorm": False, "_target_": TRAINER}
    config["trainer"] |= {
        "accelerator": accelerator(settings["accelerator"], config["trainer"]["accelerator"]),
        **one_device,
    }
    class_info = read_class_info(checkpoint["class_info"], f"the checkpoint {path}")
    scorer = build_scorer(config, class_info)
    prefix = "model."
    weights = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)}
    load_weights(scorer, weights, path)
    return Restored(config, class_info, scorer, path)


TRAINER = "lightning.pytorch.Trainer"


def accelerator(asked: str | None, trained_on: str) -> str:
    """The accelerator to use: the one asked for, else the one of the run, else whatever there is."""
    if asked is not None:
        return asked
    return "auto" if trained_on in ("gpu", "cuda") and not torch.cuda.is_available() else trained_on


def check_classes(restored: Restored, data: ClassInfo) -> None:
    """Raises CheckpointError where the data's classes are not those that the checkpoint was trained for."""
    if restored.class_info.names != data.names:
        raise CheckpointError(
            f"{restored.source} was trained for {restored.class_info.num_classes} classes "
            f"({', '.join(restored.class_info.names[:5])}, ...), the data has {data.num_classes} "
            f"({', '.join(data.names[:5])}, ...). Evaluate on data with the same classes in the same order."
        )


def load_weights(task: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Loads `state` into `task`, every key and shape equal.

    Raises:
        CheckpointError: Naming the first keys that don't fit.
    """
    own = task.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or unexpected or shapes:
        told = [
            f"{len(keys)} {what}, such as {keys[0]}"
            for what, keys in (
                ("missing in the file", missing),
                ("unknown to the model", unexpected),
                ("of another shape", shapes),
            )
            if keys
        ]
        raise CheckpointError(
            f"{path} is of another model or number of classes: {'; '.join(told)}. "
            "Use the model and data settings of its run, which are in the config.yaml of its run folder."
        )
    task.load_state_dict(state)
