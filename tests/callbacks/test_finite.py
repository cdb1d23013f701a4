import pytest
import torch

from atrous.callbacks.finite import FiniteLoss
from atrous.errors import TrainingError


class Trainer:
    global_step = 0


def feed(guard, losses, device="cpu"):
    trainer = Trainer()
    for loss in losses:
        trainer.global_step += 1
        guard.on_train_batch_end(trainer, None, {"loss": torch.tensor(loss, device=device)}, None, 0)
    return trainer


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_first_bad_step_is_named(bad):
    with pytest.raises(TrainingError, match=r"not finite at step 3.*optimizer\.lr.*gradient_clip_val"):
        feed(FiniteLoss(), [1.0, 2.0, bad, 1.0])


def test_finite_losses_pass():
    guard = FiniteLoss()
    trainer = feed(guard, [1.0, 0.0, 1e30])
    guard.on_validation_start(trainer, None)
