"""Stops a training whose loss is NaN or infinite."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from atrous.errors import TrainingError


class NaNGuard(pl.Callback):
    """Raises when the loss is NaN or infinite, naming the step, before another checkpoint is saved.

    The first bad step is kept on the device and read every `every_n_steps` updates and before each validation, so that a
    GPU is not synchronised at every step; on the CPU it is read at every step.

    Args:
        every_n_steps: Updates between two reads from a GPU.

    Raises:
        TrainingError: At the first read after a bad step.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self._bad_step: Tensor | None = None  # -1: none yet

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"].detach()
        if self._bad_step is None:
            self._bad_step = torch.full((), -1, device=loss.device)
        bad = ~torch.isfinite(loss) & (self._bad_step < 0)
        self._bad_step = torch.where(bad, trainer.global_step, self._bad_step)
        if loss.device.type == "cpu" or trainer.global_step % self.every_n_steps == 0:
            self._check(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        step = -1 if self._bad_step is None else int(self._bad_step)
        if step >= 0:
            coarse = trainer.precision != "32-true"
            raise TrainingError(
                f"the loss is not finite at step {step}. The checkpoints written before it are kept. Lower optimizer.lr or set "
                f"trainer.gradient_clip_val=1{', or use trainer.precision=32-true' * coarse}."
            )
