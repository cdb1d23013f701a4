"""Shards weights, gradients and optimizer state over the processes: PyTorch's FSDP2 (`fully_shard`).

Lightning's own FSDP is PyTorch's first, which needs GPUs. Zhao et al. (2023) "PyTorch FSDP: Experiences on Scaling Fully
Sharded Data Parallel", https://arxiv.org/abs/2304.11277.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard


class Sharded(ModelParallelStrategy):
    """Shards the task's `model` during training; a checkpoint is one file with whole weights.

    In validation every process holds the whole model, since shards of the data differ in length and no forward pass may wait
    for another process. Networks that are only scored are not sharded.

    Args:
        processes: On all machines together.
        layer_sync: Converts layers to ones that are computed over all processes; None: leaves them.
    """

    def __init__(self, *, processes: int, layer_sync: LayerSync | None = None) -> None:
        super().__init__(data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False)
        self.layer_sync = layer_sync

    def setup(self, trainer: pl.Trainer) -> None:
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        if self.layer_sync is not None:
            self.model = self.layer_sync.apply(self.model)
        self.model = self.precision_plugin.convert_module(self.model)
        self.model_to_device()
        if trainer.state.fn == TrainerFn.FITTING:
            shard(self._network(), self.device_mesh["data_parallel"])
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def on_validation_start(self) -> None:
        for part in _sharded(self._network()):
            part.set_reshard_after_forward(False)
            part.unshard()

    def on_validation_end(self) -> None:
        for part in _sharded(self._network()):
            part.reshard()
            part.set_reshard_after_forward(True)

    def _network(self) -> nn.Module:
        network: Any = self.lightning_module
        return network.model  # type: ignore[no-any-return]


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shards a network in place: each part of a row of parts, such as a stage's blocks, by itself, the rest together."""
    model.to(memory_format=torch.contiguous_format)  # fully_shard takes no other order
    for row in reversed([module for module in model.modules() if isinstance(module, nn.Sequential | nn.ModuleList)]):
        for part in row:
            if len([*part.parameters()]) > 2 and not isinstance(
                part, nn.ModuleList | nn.ModuleDict
            ):  # those have no forward
                fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Whether a network's weights are spread over processes."""
    return isinstance(model, FSDPModule)


def _sharded(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]
