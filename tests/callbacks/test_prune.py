"""The rule by which a search gives trials up, and where it is asked."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch.trainer.states import TrainerFn
from studies.test_search import write_result, write_scores

from atrous.callbacks.prune import Prune, Pruned, below_median

optuna = pytest.importorskip("optuna", reason="it is the reference")


def test_a_trial_below_the_median_is_given_up():
    others = ([0.1, 0.5], [0.2, 0.3], [0.3, 0.8])
    gives_up = partial(below_median, after_trials=0, after_validations=0)
    assert gives_up([0.19], others)
    assert not gives_up([0.2], others)
    assert not gives_up([0.1, 0.51], others)  # medians of 0.2 and 0.5
    assert not gives_up([0.6, 0.1], others)  # its best counts
    assert not gives_up([0.1, 0.1, 0.1], others)  # nothing to compare with
    assert not gives_up([], others)
    assert not gives_up([0.1, 0.1], [])


def test_the_median_is_optunas():
    rng = np.random.default_rng(0)
    for _ in range(100):
        *others, own = [rng.random(rng.integers(1, 5)).tolist() for _ in range(rng.integers(1, 7))]
        after = {"after_trials": int(rng.integers(4)), "after_validations": int(rng.integers(3))}
        pruner = optuna.pruners.MedianPruner(after["after_trials"], after["after_validations"])
        asked = optuna.create_study(direction="maximize", pruner=pruner)
        for scores in others:
            values = dict(enumerate(scores))
            asked.add_trial(optuna.trial.create_trial(value=max(scores), intermediate_values=values))
        trial = asked.ask()
        for step, score in enumerate(own):
            trial.report(score, step)
        assert below_median(own, others, **after) == trial.should_prune()


def validated(folder, step, *, decides=None, fn=TrainerFn.FITTING):
    """The callback at the end of a validation after `step` of 4 updates; `decides` is another process's word."""
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=fn),
        sanity_checking=False,
        global_step=step,
        estimated_stepping_batches=4,
        is_global_zero=decides is None,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda own, all: own if decides is None else decides),
    )
    Prune(folder=str(folder), after_trials=1, after_validations=0).on_validation_end(trainer, None)


def test_where_a_trial_is_given_up(tmp_path):
    for name, status, scores in (
        ("own", "running", [0.1, 0.05]),
        ("better", "finished", [0.3, 0.4]),
        ("best", "running", [9]),
    ):
        (tmp_path / name).mkdir()
        write_scores(tmp_path / name, scores)
        write_result(tmp_path / name, status)
    (tmp_path / "trials.csv").write_text("folder\nown\nbetter\nbest\n")
    with pytest.raises(Pruned, match=r"after 3 updates, at a best val/miou of 0\.1000"):
        validated(tmp_path / "own", 3)
    validated(tmp_path / "own", 4)  # the last one
    validated(tmp_path / "own", 3, fn=TrainerFn.TESTING)
    validated(tmp_path / "own", 3, decides=False)
    with pytest.raises(Pruned):
        validated(tmp_path / "own", 3, decides=True)
