"""The checkpoint that an interrupted training goes on from, bit for bit, and how checkpoints get to the disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn

from atrous.config.upgrade import RENAMED_CALLBACKS
from atrous.errors import ConfigError
from atrous.loggers.csv_logger import CSVLogger
from atrous.runs.resume import moved
from atrous.system.files import whole_file
from atrous.system.signals import Interrupted, Signals

_DUE = 1  # a save for its time; larger numbers are signals


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt as each validation begins, every few minutes, and when a signal asks the training to stop.

    It is written between two updates only, when all that belongs to the first is done: its metrics are logged, its
    gradients used, its averages taken. The other moment is the start of a validation, which a training that goes on
    from there does again. So a signal during a validation loses nothing and need not wait for its end.

    Every checkpoint of the training, such as best.ckpt, says with it how far in the epoch it is and how many rows
    metrics.csv has.

    Args:
        dirpath: The folder of last.ckpt.
        every_minutes: At the latest so long after the last one, at the next update. null: as validations begin only.

    Raises:
        ConfigError: If `every_minutes` is not above 0.
        Interrupted: Between two updates or in an evaluation, once `signals` has noted one and last.ckpt is written.
    """

    def __init__(self, *, dirpath: str, every_minutes: float | None = 10) -> None:
        good = isinstance(every_minutes, int | float) and not isinstance(every_minutes, bool) and every_minutes > 0
        if every_minutes is not None and not good:
            raise ConfigError(
                f"callbacks.last.every_minutes={every_minutes} is impossible; give a number above 0, such as 10, or null "
                "to save when a validation begins only."
            )
        self.signals = Signals()  # another one, that is entered, may take its place
        self._path = Path(dirpath) / "last.ckpt"
        self._every_seconds = float("inf") if every_minutes is None else every_minutes * 60
        self._saved_at = self._started_at = 0.0
        self._earlier_seconds = 0.0  # of trainings before this one
        self._training = False
        self._resumed_rows: int | None = None  # None: the training began in this process
        self._validation_due = False  # what the checkpoint at hand says
        self._one_step_more = False
        self._may_leave_validation = False

    @property
    def seconds(self) -> float:
        """How long the training has taken, the parts before it was interrupted included."""
        return self._earlier_seconds + (time.monotonic() - self._started_at if self._training else 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "validation_due": self._validation_due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._earlier_seconds = state_dict["seconds"]
        self._one_step_more = state_dict["validation_due"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Writes Lightning's counters as they are between two batches.

        As it writes them, a batch that is just being fetched counts as begun, and a validation about to begin counts
        as done.
        """
        loops = checkpoint["loops"]["fit_loop"]
        batches = loops["epoch_loop.batch_progress"]
        for counts in (batches["total"], batches["current"]):
            counts.update(dict.fromkeys(counts, counts["processed"]))
        batches["is_last_batch"] = batches["current"]["processed"] == trainer.num_training_batches
        validated = loops["epoch_loop.val_loop.batch_progress"]
        for counts in (validated["total"], validated["current"]):
            counts.update(dict.fromkeys(counts, 0))
        if self._validation_due:  # one that was broken off in its first batch is begun again
            validated["total"].update(ready=1, started=1)
        checkpoint["history_rows"] = sum(logger.rows for logger in _histories(trainer))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._resumed_rows = checkpoint.get("history_rows", 0)
        states = checkpoint["callbacks"]
        for old, new in RENAMED_CALLBACKS.items():
            if old in states:
                states[new] = states.pop(old)
        folder = self._path.parent.resolve()
        if Path(str(trainer.ckpt_path)).parent.resolve() == folder:  # not another run's
            checkpoint["callbacks"] = {
                key: moved(state, str(state["dirpath"]), str(folder)) if "dirpath" in state else state
                for key, state in states.items()
            }

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.signals.deferred = True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._resumed_rows is not None:
            for logger in _histories(trainer):
                logger.keep(self._resumed_rows)
        if self._one_step_more and trainer.max_steps > 0:
            trainer.fit_loop.epoch_loop.max_steps += 1  # else Lightning ends before a last validation that is due

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.install()
        self._saved_at = self._started_at = time.monotonic()
        self._training = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._resumed_rows is not None:  # how often Lightning counts the last update depends on where it goes on
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            self._resumed_rows = None
            self._right_length(trainer)
        if batch_idx % trainer.accumulate_grad_batches == 0:
            wish = self._wish(trainer)
            if wish:
                self._save(trainer)
            if wish > _DUE:
                raise Interrupted(wish)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._right_length(trainer)
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if done % trainer.accumulate_grad_batches and done != trainer.num_training_batches:
            return  # gradients wait to be used, and a checkpoint does not hold them
        wish = self._wish(trainer)
        self._validation_due = True
        self._save(trainer)
        self._validation_due = False
        if wish > _DUE:
            raise Interrupted(wish)
        self._may_leave_validation = True

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        if self._may_leave_validation:
            self._leave()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._may_leave_validation = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._earlier_seconds, self._training = self.seconds, False

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.install()

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._leave()

    def _right_length(self, trainer: pl.Trainer) -> None:
        if self._one_step_more and trainer.max_steps > 0:
            trainer.fit_loop.epoch_loop.max_steps -= 1
        self._one_step_more = False

    def _leave(self) -> None:
        """Alone, if it must be: processes evaluate different numbers of batches, and last.ckpt is written."""
        if self.signals.number:
            raise Interrupted(self.signals.number)

    def _wish(self, trainer: pl.Trainer) -> int:
        """What any process wants: 0, nothing; `_DUE`, a checkpoint; or a signal's number. The same in all of them."""
        late = time.monotonic() - self._saved_at >= self._every_seconds
        wish = self.signals.number or (_DUE if late and trainer.is_global_zero else 0)
        if trainer.world_size > 1:
            wanted = torch.tensor(wish, device=trainer.strategy.root_device)
            wish = int(trainer.strategy.reduce(wanted, reduce_op="max"))
        return wish

    def _save(self, trainer: pl.Trainer) -> None:
        for logger in _histories(trainer):
            logger.sync()
        trainer.save_checkpoint(self._path, weights_only=False)
        self._saved_at = time.monotonic()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints that are whole after a power cut too; Lightning's writer may cross disks and waits for none."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with whole_file(path, sync=True) as file:
            torch.save(checkpoint, file)


def _histories(trainer: pl.Trainer) -> list[CSVLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
