"""Validates after the last update, whatever the interval and whatever ends the training."""

from __future__ import annotations

import lightning.pytorch as pl

from atrous.callbacks.checkpoint import LastCheckpoint
from atrous.system.private import validate_at_end


class LastValidation(pl.Callback):
    """Validates after the training's last update, so that no run ends with weights that were never scored.

    Lightning validates only at multiples of an interval: 20 updates of an epoch of 46 would not be scored at all, nor what
    `trainer.max_time` ends before the first. Where there are no validations last.ckpt is saved instead.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        keepers = [callback for callback in trainer.callbacks if isinstance(callback, LastCheckpoint)]  # type: ignore[attr-defined]

        def save() -> None:
            for keeper in keepers:
                keeper.save(trainer)

        validate_at_end(trainer, trainer.estimated_stepping_batches, save)
