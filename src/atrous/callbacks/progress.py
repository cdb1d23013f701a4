"""A progress bar for the whole training, with the time left and the scores."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from atrous.metrics.main_score import MainScore

REFRESH_SECONDS = 0.5


class Progress(pl.Callback):
    """Shows the progress of training and evaluation, on process 0.

    On a terminal it is a live bar; elsewhere, such as in a log file, one line per validation. The loss is read from the
    device every half second at most, so that a GPU is not synchronised at every step.
    """

    def __init__(self) -> None:
        self.console = Console()
        self._bars: RichProgress | None = None
        self._train: Any = None
        self._eval: Any = None
        self._scores = ""
        self._best = float("nan")
        self._last_refresh = 0.0
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.monotonic()
        monitor = pl_module.main_score.monitor  # type: ignore[union-attr]
        keepers = [keeper for keeper in trainer.checkpoint_callbacks if getattr(keeper, "monitor", None) == monitor]
        best = getattr(keepers[0], "best_model_score", None) if keepers else None  # of a run that goes on
        self._best = self._best if best is None else float(best)
        if not trainer.is_global_zero:
            return
        self._open()
        if self._bars is not None:
            total = int(trainer.estimated_stepping_batches) * trainer.accumulate_grad_batches
            done = trainer.global_step * trainer.accumulate_grad_batches
            self._train = self._bars.add_task("training", total=total, completed=done, text="")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bars is None or self._train is None:
            return
        now = time.monotonic()
        if now - self._last_refresh < REFRESH_SECONDS:
            self._bars.advance(self._train)
            return
        self._last_refresh = now
        text = f"{_place(trainer)}  loss {float(outputs['loss']):.3f}{self._scores}"
        self._bars.update(self._train, advance=1, text=text)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._start_evaluation("validating", trainer.num_val_batches)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._advance_evaluation()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_evaluation()
        main: MainScore = pl_module.main_score  # type: ignore[assignment]
        score = float(trainer.callback_metrics.get(main.monitor, float("nan")))
        self._best = main.best([self._best, score])
        self._scores = f"  val {main.name} {score:.3f} (best {self._best:.3f})"
        if trainer.is_global_zero and not self.console.is_terminal:
            loss = trainer.callback_metrics.get("train/loss")  # none before a resumed training's first update
            loss_text = "" if loss is None else f"  loss {float(loss):.3f}"
            minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
            self.console.print(f"{_place(trainer)}{loss_text}{self._scores}  after {minutes}:{seconds:02d}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._open()
            self._start_evaluation("scoring", trainer.num_test_batches)

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._advance_evaluation()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def _open(self) -> None:
        if self.console.is_terminal:
            self._bars = RichProgress(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                console=self.console,
                refresh_per_second=4,
            )
            self._bars.start()

    def _close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._train = self._eval = None

    def _start_evaluation(self, what: str, batches: list[int | float]) -> None:
        if self._bars is not None:
            self._eval = self._bars.add_task(what, total=sum(batches), text="")

    def _advance_evaluation(self) -> None:
        if self._bars is not None and self._eval is not None:
            self._bars.advance(self._eval)

    def _end_evaluation(self) -> None:
        if self._bars is not None and self._eval is not None:
            self._bars.remove_task(self._eval)
        self._eval = None


def _place(trainer: pl.Trainer) -> str:
    """The progress in the unit of the run's length: steps or epochs."""
    if trainer.max_epochs == -1:
        return f"step {trainer.global_step}/{trainer.max_steps}"
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
