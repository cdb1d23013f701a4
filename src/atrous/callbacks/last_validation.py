"""Validates after the last update, whatever the interval."""

from __future__ import annotations

import lightning.pytorch as pl

from atrous.system.private import validate_after


class LastValidation(pl.Callback):
    """Validates after the training's last update, so that no run ends with weights that were never scored.

    Lightning validates only at multiples of an interval: 20 updates of an epoch of 46 would not be scored at all.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        validate_after(trainer, trainer.estimated_stepping_batches)
