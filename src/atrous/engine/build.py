"""From a resolved config to objects. Importing this module imports torch and Lightning."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray
from torch import nn

from atrous.analysis.valid_weights import wide_rates
from atrous.config.compose import build, instantiate
from atrous.data.class_counts import count_classes
from atrous.data.datamodule import SegmentationDataModule
from atrous.inference.mode import InferenceMode
from atrous.loggers.wandb import wandb_mode
from atrous.losses.class_weights import with_named_weights
from atrous.models.adapter import adapt
from atrous.models.pretrained import load_pretrained
from atrous.tasks.semantic import SemanticScorer, SemanticTask
from atrous.tasks.sharded import is_sharded
from atrous.types import ClassInfo, has_void_output


def build_datamodule(config: dict[str, Any]) -> SegmentationDataModule:
    datamodule: SegmentationDataModule = build(config["data"], "data")
    return datamodule


def build_model(config: dict[str, Any]) -> nn.Module:
    """The network under our model contract, whoever wrote it."""
    return adapt(build(config["model"], "model"))


def build_inference(config: dict[str, Any]) -> InferenceMode:
    """How images that are scored or predicted go through the network."""
    mode: InferenceMode = build(config["inference"], "inference")
    return mode


def build_task(config: dict[str, Any], datamodule: SegmentationDataModule) -> SemanticTask:
    """The LightningModule with its model, loss, optimizer and scheduler; class weights may come from the train split."""

    def count() -> NDArray[np.int64]:
        return count_classes(datamodule.raw_dataset("train"), folder=datamodule.cache_folder)

    model = build_model(config)
    settings = {**config, "loss": with_named_weights(config["loss"], count, void_output=has_void_output(model))}
    parts = {name: build(settings[name], name) for name in ("loss", "optimizer", "scheduler")}
    if config["weights"] is not None:
        load_pretrained(model, config["weights"], reset_head=config["reset_head"])
    crop = config["data"].get("train_transform", {}).get("crop_size")
    warning = wide_rates(model, crop) if crop else None
    if warning:
        logging.getLogger(__name__).warning("%s", warning)
    task: SemanticTask = build(
        config["task"],
        "task",
        model=model,
        **parts,
        class_info=datamodule.class_info,
        config=config,
        inference=build_inference(config),
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


def network_name(model: dict[str, Any]) -> str:
    """A network's name for people, from the config's `model`."""
    name: str = model["_target_"].rpartition(".")[2]
    encoder = model.get("encoder") or {}
    return f"{name} ({encoder['name']}, {encoder.get('weights') or 'from scratch'})" if "name" in encoder else name


def unsharded(task: SemanticTask, config: dict[str, Any]) -> SemanticScorer:
    """The task, or, where its weights are spread over processes, a network to load a checkpoint's into."""
    return build_scorer(config, task.class_info) if is_sharded(task.model) else task


def build_loggers(config: dict[str, Any], *, wandb_id: str | None = None) -> list[Logger]:
    """The loggers of the config; W&B goes offline where nobody is logged in, and on with the run of `wandb_id`."""
    loggers: list[Logger] = []
    for options in config["logger"].values():
        if options["_target_"].endswith("WandbLogger"):
            # Lightning's own `offline` sets WANDB_MODE for the whole process, the next jobs of a multirun included.
            mode = wandb_mode(options["offline"], folder=Path(options["save_dir"]), run_id=wandb_id)
            options = {"id": wandb_id, "resume": "allow", **options, "offline": False, "mode": mode}
            loggers.append(instantiate(options, config=config))
        else:
            loggers.append(instantiate(options))
    return loggers
