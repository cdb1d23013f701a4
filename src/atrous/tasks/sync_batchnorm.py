"""Batch norm over the batches of all processes, on GPUs and on CPUs."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.plugins import LayerSync
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn

from atrous.layers.norms import BATCH_NORMS
from atrous.system.distributed import sum_over_processes
from atrous.system.private import mix_in, mix_out


class SyncBatchNorm(LayerSync):
    """Converts batch norms; `Trainer(sync_batchnorm=True)` loses the activation in timm's `BatchNormAct2d`.

    GPUs use torch's synchronised batch norm, which exists only there; CPUs the same sums over gloo, so that a run of several
    processes can be checked on any machine.

    Args:
        cpu: Whether the processes compute on CPUs.
    """

    def __init__(self, *, cpu: bool) -> None:
        self.cpu = cpu

    def apply(self, model: nn.Module) -> nn.Module:
        if not self.cpu:
            converted: nn.Module = convert_sync_batchnorm(model)
            return converted
        for module in model.modules():
            if isinstance(module, BATCH_NORMS):
                mix_in(module, _Synced, "Synced")
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Restores the layers on CPUs; on GPUs a synchronised layer outside a process group is a plain one."""
        for module in model.modules():
            if isinstance(module, _Synced):
                mix_out(module)
        return model


class _Synced:
    """Mixed in before a batch norm class."""

    def forward(self: Any, x: Tensor) -> Tensor:
        if not self.training:
            output: Tensor = super().forward(x)  # type: ignore[misc]
            return output
        dims = [d for d in range(x.ndim) if d != 1]
        wide = x.float()
        count = torch.tensor([x.numel() / x.shape[1]], device=x.device)
        sums = sum_over_processes(torch.cat([wide.sum(dims), count]))
        count = sums[-1].detach()
        shape = [1, -1, *([1] * (x.ndim - 2))]
        mean = sums[:-1] / count  # (C,)
        centred = wide - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(dims)) / count  # (C,)
        output = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        if self.track_running_stats:
            self.num_batches_tracked.add_(1)
            rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), rate)
            self.running_var.lerp_(variance.detach() * count / (count - 1), rate)
        output = output.to(x.dtype)
        if isinstance(self, BatchNormAct2d):
            output = self.act(self.drop(output))
        return output
