"""Stops a training whose loss is no longer a number."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from atrous.errors import TrainingError


class FiniteLoss(pl.Callback):
    """Raises where the loss became NaN or infinite, naming the step, before another checkpoint is written.

    The step is noted on the device and read every `every_n_steps` and before each validation, so that a GPU is not
    made to wait for every step; on the CPU it is read at once.

    Args:
        every_n_steps: Updates between two looks at a GPU's note.

    Raises:
        TrainingError: At the first look after the loss was not finite.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self._bad_step: Tensor | None = None  # -1 while all is well

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"].detach()
        if self._bad_step is None:
            self._bad_step = torch.full((), -1, device=loss.device)
        bad = ~torch.isfinite(loss) & (self._bad_step < 0)
        self._bad_step = torch.where(bad, trainer.global_step, self._bad_step)
        if loss.device.type == "cpu" or trainer.global_step % self.every_n_steps == 0:
            self._look(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._look(trainer)

    def _look(self, trainer: pl.Trainer) -> None:
        step = -1 if self._bad_step is None else int(self._bad_step)
        if step >= 0:
            coarse = trainer.precision != "32-true"
            raise TrainingError(
                f"the loss is not finite at step {step}. The checkpoints written before it are kept. Lower optimizer.lr or set "
                f"trainer.gradient_clip_val=1{', or use trainer.precision=32-true' * coarse}."
            )
