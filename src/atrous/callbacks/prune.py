"""Ends a search's trial that does worse than the others did after as many validations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.trainer.states import TrainerFn

from atrous.runs.run import Run
from atrous.runs.trials import finished_trials


class Pruned(Exception):  # noqa: N818 - it is no error
    """The run was given up.

    Args:
        monitor: What the score is logged as.
        score: Its best main score on val so far; NaN in other processes than the first.
        steps: The updates it made.
    """

    def __init__(self, monitor: str, score: float, steps: int) -> None:
        super().__init__(f"given up after {steps} updates, at a best {monitor} of {score:.4f}")
        self.score = score
        self.steps = steps


class Prune(pl.Callback):
    """Looks at the end of each validation but the last one. Process 0 decides; all end together.

    The scores are those in metrics.csv, so a run that was interrupted counts its earlier validations.

    Args:
        folder: The run folder, one of a search.
        after_trials: No trial is given up before so many have finished.
        after_validations: Nor in so many of its first validations.

    Raises:
        Pruned: In all processes, where it is given up.
    """

    def __init__(self, *, folder: str, after_trials: int, after_validations: int) -> None:
        self.folder = Path(folder)
        self.after_trials = after_trials
        self.after_validations = after_validations

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if trainer.global_step >= trainer.estimated_stepping_batches:
            return  # all the training is paid for
        leads = trainer.is_global_zero
        run = Run.at(self.folder)
        worse = leads and self._is_worse(run)
        if trainer.strategy.reduce_boolean_decision(worse, all=False):
            score = run.main_score.best(run.validation_scores()) if leads else math.nan
            raise Pruned(run.main_score.monitor, score, trainer.global_step)

    def _is_worse(self, run: Run) -> bool:
        others = [trial for trial in finished_trials(self.folder.parent) if trial.folder != self.folder]
        own, *scores = [list(map(run.main_score.rank, each.validation_scores())) for each in (run, *others)]
        return below_median(
            own,
            [each for each in scores if each],
            after_trials=self.after_trials,
            after_validations=self.after_validations,
        )


def below_median(
    own: Sequence[float], others: Sequence[Sequence[float]], *, after_trials: int, after_validations: int
) -> bool:
    """Whether a trial's best score is below the median of what the others had after as many validations.

    The rule is that of Optuna's `MedianPruner`.

    Args:
        own: The trial's scores so far, one for each validation.
        others: Those of each finished trial.
        after_trials: Never before so many have finished.
        after_validations: Nor in so many first validations.
    """
    then = [scores[len(own) - 1] for scores in others if len(scores) >= len(own)]
    if not own or not then or len(others) < after_trials or len(own) <= after_validations:
        return False
    return bool(max(own) < np.median(then))
