"""Reads checkpoints and published weights, and rebuilds their networks."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from atrous.config.checks import check_config
from atrous.config.compose import compose, instantiate
from atrous.config.jobs import JobConfig
from atrous.config.output_stride import follow_output_stride
from atrous.config.overrides import with_overrides
from atrous.config.trust import check_targets, read_class_info
from atrous.config.upgrade import upgraded
from atrous.encoders.weights_file import read_weights
from atrous.engine.build import build_datamodule, build_scorer
from atrous.errors import CheckpointError, ConfigError
from atrous.models.pretrained import load_pretrained, split_spec
from atrous.runs.protocol import weights_of
from atrous.runs.run import RESULT, Run, load_run
from atrous.system import devices
from atrous.tasks.semantic import SemanticScorer
from atrous.types import ClassInfo


@dataclass(frozen=True)
class Restored:
    """A checkpoint's network, rebuilt to score or to predict.

    Args:
        config: The run's, with overrides applied, for one device.
        class_info: The classes that it was trained for.
        scorer: The network with its inference mode.
        source: The checkpoint, or the file of published weights.
        weights: Which weights those are, for the protocol.
        members: Of an ensemble, each network's own; the config and source are then the first one's.
    """

    config: dict[str, Any]
    class_info: ClassInfo
    scorer: SemanticScorer
    source: Path
    weights: str
    members: tuple[Restored, ...] = ()

    @property
    def sources(self) -> str:
        """The checkpoint, or those of an ensemble."""
        return ", ".join(str(member.source) for member in self.members or (self,))

    @functools.cached_property
    def transform(self) -> Any:
        """The transform of its evaluation."""
        return instantiate(self.config["data"]["eval_transform"])

    def normalise(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 (H, W, 3) -> float32 (3, H, W), as the images of its evaluation."""
        normalised: torch.Tensor = self.transform.normalise(image)
        return normalised


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


def restore(
    path: Path, overrides: Sequence[str] = (), *, trusted: Sequence[str] = (), accelerator: str | None = None
) -> Restored:
    """Rebuilds the network of a checkpoint from the config inside it and loads its weights.

    Args:
        path: A checkpoint that `train` wrote, or its run folder, whose best one is taken.
        overrides: Changes to the checkpoint's config, as on `train`'s command line.
        trusted: Prefixes of import paths that the config may name beside ours.
        accelerator: None: the one of the run, or the CPU where that is not there.

    Raises:
        CheckpointError: If the file, its config or its weights won't do.
        ConfigError: If an override is impossible.
    """
    if path.is_dir():
        run = load_run(path)
        if run is not None and "method" in run.config:
            raise CheckpointError(
                f"{path} is the run of a method, which has no weights. Its scores are in {path / RESULT}; to score another split, "
                "train.py method=... eval_split=...; to segment images, predict method=... images=..."
            )
        path = Run.at(path).checkpoint
    checkpoint = load_checkpoint(path)
    for key in ("config", "class_info"):
        if key not in checkpoint:
            raise CheckpointError(f"{path} holds no `{key}`; expected a checkpoint that `atrous train` wrote.")
    config = with_overrides(checkpoint["config"], list(overrides))
    config = follow_output_stride(config, upgraded(checkpoint["config"]), overrides)
    for part in ("model", "data", "inference"):
        check_targets(config.get(part), list(trusted), f"the checkpoint {path}")
    check_config(config)
    _use_one_device(config, accelerator)
    class_info = read_class_info(checkpoint["class_info"], f"the checkpoint {path}")
    scorer = build_scorer(config, class_info)
    prefix = "model."
    weights = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)}
    load_weights(scorer, weights, path)
    return Restored(config, class_info, scorer, path, weights_of(config))


def restore_published(words: Sequence[str], *, split: str = "val", accelerator: str | None = None) -> Restored:
    """Builds a network that no run of ours trained and loads its weights.

    Args:
        words: As on `train`'s command line: the model, the file of its weights, and data whose classes are its.
        split: Of the data that must be here; its class names and palette are the network's.
        accelerator: As for `restore`.

    Raises:
        CheckpointError: If the file won't do, or leaves layers of the network at random.
        ConfigError: If no weights are named, or a setting is impossible.
        DataError: If the data can't be read.
    """
    config = JobConfig(compose("train", words, return_hydra_config=True)).resolved()
    spec = config["weights"]
    if spec is None:
        raise ConfigError(
            "ckpt=null: no network is given; give ckpt=FILE of a run, or weights=FILE with model=NAME and data=NAME of a published one. "
            "predict needs none with a method, such as method=slic."
        )
    check_config(config)
    _use_one_device(config, accelerator)
    class_info = build_datamodule(config).raw_dataset(split).class_info
    scorer = build_scorer(config, class_info)
    if left := load_pretrained(scorer.model, spec, reset_head=config["reset_head"]):
        raise CheckpointError(
            f"weights={spec} leaves {len(left)} tensors of the network at random, such as {left[0]}; give weights of the whole net, or train it "
            "first: train.py weights=..."
        )
    library, source = split_spec(spec)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    weights = f"{f'{library}:' if library else ''}{source.name}, sha256 {digest[:12]}"
    return Restored(config, class_info, scorer, source, weights)


def _use_one_device(config: dict[str, Any], accelerator: str | None) -> None:
    one_device = {"devices": 1, "num_nodes": 1, "strategy": "auto", "sync_batchnorm": False, "_target_": TRAINER}
    found = devices.accelerator(accelerator, config["trainer"]["accelerator"])
    config["trainer"] |= {"accelerator": found, **one_device}


TRAINER = "lightning.pytorch.Trainer"


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
        found = {"missing in the file": missing, "unknown to the model": unexpected, "of another shape": shapes}
        faults = [f"{len(keys)} {what}, such as {keys[0]}" for what, keys in found.items() if keys]
        raise CheckpointError(
            f"{path} is of another model or number of classes: {'; '.join(faults)}. "
            "Use the model and data settings of its run, which are in the config.yaml of its run folder."
        )
    task.load_state_dict(state)
