import pytest
import torch

from atrous.callbacks.nan_guard import NaNGuard
from atrous.errors import TrainingError


class Trainer:
    global_step = 0
    precision = "32-true"


def feed(guard, losses, device="cpu", precision="32-true"):
    trainer = Trainer()
    trainer.precision = precision
    for loss in losses:
        trainer.global_step += 1
        guard.on_train_batch_end(trainer, None, {"loss": torch.tensor(loss, device=device)}, None, 0)
    return trainer


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_first_bad_step_is_named(bad):
    with pytest.raises(TrainingError, match=r"not finite at step 3.*optimizer\.lr.*gradient_clip_val"):
        feed(NaNGuard(), [1.0, 2.0, bad, 1.0])


@pytest.mark.parametrize(("precision", "told"), [("bf16-mixed", True), ("32-true", False)])
def test_a_finer_precision_is_a_remedy_where_there_is_one(precision, told):
    with pytest.raises(TrainingError) as raised:
        feed(NaNGuard(), [float("nan")], precision=precision)
    assert ("trainer.precision=32-true" in str(raised.value)) == told


def test_finite_losses_pass():
    guard = NaNGuard()
    trainer = feed(guard, [1.0, 0.0, 1e30])
    guard.on_validation_start(trainer, None)
