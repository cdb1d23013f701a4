"""The checkpoint from which an interrupted training resumes bit for bit, and how checkpoints are written."""

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
from atrous.loggers.wandb import keep_one_history
from atrous.runs.resume import moved
from atrous.system.files import whole_file
from atrous.system.private import add_steps, batches_done, count_between_batches, number_rows_by_updates
from atrous.system.signals import Interrupted, Signals

_DUE = 1  # a save for its time; larger numbers are signals


class LastCheckpoint(Checkpoint):
    """Saves last.ckpt when a validation begins, every few minutes, when a signal asks the training to stop, and at its end.

    It is saved between two updates, when the first has logged its metrics and applied its gradients, or at the start of a
    validation, which a resumed training then repeats. A signal during a validation therefore stops the run at once.

    Every checkpoint, best.ckpt too, stores how far the epoch is and how many rows metrics.csv has.

    Args:
        dirpath: The folder of last.ckpt.
        every_minutes: Longest time between two saves. null: save only when a validation begins.

    Raises:
        ConfigError: If `every_minutes` is not above 0.
        Interrupted: Between two updates or in an evaluation, after a signal, once last.ckpt is saved.
    """

    def __init__(self, *, dirpath: str, every_minutes: float | None = 10) -> None:
        good = isinstance(every_minutes, int | float) and not isinstance(every_minutes, bool) and every_minutes > 0
        if every_minutes is not None and not good:
            raise ConfigError(
                f"callbacks.last.every_minutes={every_minutes} is impossible; give a number above 0, such as 10, or null "
                "to save when a validation begins only."
            )
        self.signals = Signals()  # the run replaces it by one that is entered
        self._path = Path(dirpath) / "last.ckpt"
        self._every_seconds = float("inf") if every_minutes is None else every_minutes * 60
        self._saved_at = self._started_at = 0.0
        self._earlier_seconds = 0.0  # of trainings before this one
        self._training = False
        self._resumed_rows: int | None = None  # None: the training began in this process
        self._validation_due = False  # as the checkpoint that is being saved says
        self._one_step_more = False
        self._may_leave_validation = False

    @property
    def _folder(self) -> Path:
        """The run folder."""
        return self._path.parent.resolve().parent

    @property
    def path(self) -> Path:
        """Of last.ckpt."""
        return self._path

    @property
    def seconds(self) -> float:
        """How long the training has taken, including the parts before interruptions."""
        return self._earlier_seconds + (time.monotonic() - self._started_at if self._training else 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "validation_due": self._validation_due, "folder": str(self._folder)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._earlier_seconds = state_dict["seconds"]
        self._one_step_more = state_dict["validation_due"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        count_between_batches(checkpoint, batches=trainer.num_training_batches, validation_due=self._validation_due)
        checkpoint["history_rows"] = sum(logger.rows for logger in _histories(trainer))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._resumed_rows = checkpoint.get("history_rows", 0)
        states = checkpoint["callbacks"]
        for old, new in RENAMED_CALLBACKS.items():
            if old in states:
                states[new] = states.pop(old)
        if Path(str(trainer.ckpt_path)).parent.resolve() != self._path.parent.resolve():  # another run
            checkpoint["callbacks"] = {key: state for key, state in states.items() if "dirpath" not in state}
        elif earlier := _folder_of(states, self):
            checkpoint["callbacks"] = moved(states, earlier, str(self._folder))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.signals.deferred = True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._resumed_rows is not None:
            for logger in _histories(trainer):
                logger.keep(self._resumed_rows)
        for logger in _histories(trainer):
            keep_one_history(trainer.loggers, logger.kept())
        if self._one_step_more:
            add_steps(trainer, 1)  # else Lightning ends before a last validation that is due

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.install()
        self._saved_at = self._started_at = time.monotonic()
        self._training = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._resumed_rows is not None:
            number_rows_by_updates(trainer)
            self._resumed_rows = None
            self._right_length(trainer)
        if batch_idx % trainer.accumulate_grad_batches == 0:
            wish = self._wish(trainer)
            if wish:
                self.save(trainer)
            if wish > _DUE:
                raise Interrupted(wish)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        if done % trainer.accumulate_grad_batches and done != trainer.num_training_batches:
            trainer.should_stop = False  # gradients wait to be used; what asks for it, such as a Timer, asks again

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._right_length(trainer)
        done = batches_done(trainer)
        if done % trainer.accumulate_grad_batches and done != trainer.num_training_batches:
            return  # gradients wait to be used, and a checkpoint does not hold them
        wish = self._wish(trainer)
        self._validation_due = True
        self.save(trainer)
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
        if self._one_step_more:
            add_steps(trainer, -1)
        self._one_step_more = False

    def _leave(self) -> None:
        """Stops this process without asking the others, which evaluate other numbers of batches; last.ckpt is saved."""
        if self.signals.number:
            raise Interrupted(self.signals.number)

    def _wish(self, trainer: pl.Trainer) -> int:
        """What any process wants: 0, nothing; `_DUE`, a checkpoint; or a signal's number. All processes get the same."""
        late = time.monotonic() - self._saved_at >= self._every_seconds
        wish = self.signals.number or (_DUE if late and trainer.is_global_zero else 0)
        if trainer.world_size > 1:
            wanted = torch.tensor(wish, device=trainer.strategy.root_device)
            wish = int(trainer.strategy.reduce(wanted, reduce_op="max"))
        return wish

    def save(self, trainer: pl.Trainer) -> None:
        """Saves last.ckpt; between two updates, or as a validation begins."""
        for logger in _histories(trainer):
            logger.sync()
        trainer.save_checkpoint(self._path, weights_only=False)
        self._saved_at = time.monotonic()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints that are whole after a power cut too; Lightning's writer may cross disks and waits for none."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with whole_file(path, sync=True) as file:
            torch.save(checkpoint, file)


def _folder_of(states: dict[str, dict[str, Any]], keeper: LastCheckpoint) -> str | None:
    """The run folder that a checkpoint was written in; earlier versions stored it with the best one's alone."""
    if folder := states.get(keeper.state_key, {}).get("folder"):
        return str(folder)
    places = (Path(str(state["dirpath"])) for state in states.values() if "dirpath" in state)
    return next((str(place.parent) for place in places if place.name == "checkpoints"), None)


def _histories(trainer: pl.Trainer) -> list[CSVLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
