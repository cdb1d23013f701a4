"""A validation after the last update, whatever the interval."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl


class LastValidation(pl.Callback):
    """Has the training's last update followed by a validation, so that no run ends with weights that were never scored.

    Lightning validates at multiples of an interval only: 20 updates of an epoch of 46 would leave nothing to score.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loop, last = trainer.fit_loop.epoch_loop, trainer.estimated_stepping_batches
        due = loop._should_check_val_fx

        def due_or_last(data_fetcher: Any) -> bool:
            return due(data_fetcher) or (trainer.enable_validation and trainer.global_step >= last)

        loop._should_check_val_fx = due_or_last  # type: ignore[method-assign]
