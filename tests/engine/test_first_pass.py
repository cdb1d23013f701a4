"""What does not fit the data is told before a training begins, and looking for it changes nothing."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from atrous.cli import train
from atrous.config.jobs import compose_run
from atrous.engine.build import build_datamodule, build_task
from atrous.engine.first_pass import check_parts
from atrous.errors import ConfigError
from atrous.types import SegOutput

HERE = __name__


class Loss(nn.CrossEntropyLoss):
    """Of torch, for whom scores are a tensor."""

    def __init__(self, **settings):
        super().__init__()


class Net(nn.Module):
    """A network that draws numbers and counts its passes in eval mode, too."""

    def __init__(self, num_classes=4, *, outputs=None, aux=0, channels=3, size=None, void=False):
        super().__init__()
        self.head = nn.Conv2d(channels, outputs or num_classes, 1)
        self.aux, self.size, self.void_output = aux, size, void
        self.norm = nn.BatchNorm2d(outputs or num_classes)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images):
        if self.size and images.shape[-2:] != (self.size, self.size):
            raise ValueError(f"wants {self.size} pixels")
        self.passes += 1
        random.random()
        np.random.rand()  # noqa: NPY002
        logits = self.norm(self.head(images)) + torch.rand(())
        return SegOutput(logits, (logits[:, : self.aux],) if self.aux else ())


@pytest.fixture
def task_of(tiny, tmp_path):
    """A task that is built, its data, and its config."""

    def build(*words):
        settings = [word for word in tiny if not word.startswith("model.")]
        words = [*settings, "model=custom", f"model._target_={HERE}.Net", f"paths.runs={tmp_path}", *words]
        config, _ = compose_run(words)
        datamodule = build_datamodule(config)
        return build_task(config, datamodule), datamodule, config

    return build


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["+model.outputs=13"], ["13 logits", "11 classes", "model.num_classes is 11"]),
        (["+model.outputs=9"], ["9 logits", "11 classes"]),
        (["model.num_classes=12"], ["12 logits", "11 classes", "model.num_classes=11", "void_output"]),
        (["+model.void=true"], ["11 logits", "11 classes and void"]),
        (["+model.aux=3"], ["3 aux[0]", "11 classes"]),
        (["+model.channels=1"], ["model._target_", "(1, 3, 64, 64)", "1 channels", "model.in_channels=3"]),
        (["+model.size=32"], ["a training crop", "(1, 3, 64, 64)", "wants 32 pixels", "crop_size"]),
        (["+model.size=64", "data.size=[96,96]"], ["a whole image", "(1, 3, 96, 96)", "wants 64 pixels"]),
        ([f"loss._target_={HERE}.Loss"], [f"loss._target_={HERE}.Loss", "loss=cross_entropy"]),
        (["scheduler=constant", "scheduler._target_=torch.optim.lr_scheduler.StepLR"], ["scheduler._target_=torch.optim.lr_scheduler.StepLR", "scheduler=poly"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_what_was_expected(task_of, words, parts):
    with pytest.raises(ConfigError) as told:
        check_parts(*task_of(*words))
    assert all(part in str(told.value) for part in parts), told.value


@pytest.mark.parametrize(
    "words",
    [
        ["+model.void=true", "+model.outputs=12"],
        ["+model.void=true", "+model.outputs=12", "+model.aux=11"],  # which may have no output for void
        ["+model.size=64", "data.size=[96,96]", "trainer.limit_val_batches=0"],
    ],
)
def test_what_fits_passes(task_of, words):
    check_parts(*task_of(*words))


def test_nothing_of_it_stays(task_of):
    task, *others = task_of()
    task.model.model.norm.eval()  # a part that is not to be trained
    before = {key: value.clone() for key, value in task.state_dict().items()}
    drawn = [torch.get_rng_state(), str(np.random.get_state()), random.getstate()]  # noqa: NPY002
    modes = [module.training for module in task.modules()]
    check_parts(task, *others)
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    assert torch.equal(drawn[0], torch.get_rng_state())
    assert drawn[1:] == [str(np.random.get_state()), random.getstate()]  # noqa: NPY002
    assert modes == [module.training for module in task.modules()]


def test_a_training_looks_before_it_begins(tiny, tmp_path, capsys):
    settings = [word for word in tiny if not word.startswith("model.")]
    with pytest.raises(SystemExit):
        train.main(
            [*settings, f"paths.runs={tmp_path}", "model=custom", f"model._target_={HERE}.Net", "+model.outputs=13"]
        )
    assert "13 logits" in capsys.readouterr().err
    assert not list(tmp_path.rglob("metrics.csv"))
