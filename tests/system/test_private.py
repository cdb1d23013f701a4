"""Fails on the day that a library changes a private part which `atrous.system.private` uses."""

import copy

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from atrous.loggers.csv_logger import CSVLogger
from atrous.system import private


class Logs(BoringModel):
    def training_step(self, batch, batch_idx):
        self.log("loss", 1.0)
        return super().training_step(batch, batch_idx)


class Notes(Callback):
    """Lets the training validate after its last update, and notes where it did."""

    def __init__(self):
        self.validated, self.done = [], []

    def on_fit_start(self, trainer, pl_module):
        private.validate_at_end(trainer, trainer.max_steps, lambda: None)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.done.append(private.batches_done(trainer))

    def on_validation_start(self, trainer, pl_module):
        self.validated.append(trainer.global_step)

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        private.count_between_batches(checkpoint, batches=trainer.num_training_batches, validation_due=True)


def fit(folder, steps, *callbacks, **settings):
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_train_batches=4,
        limit_val_batches=1,
        val_check_interval=2,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)],
        logger=CSVLogger(folder=str(folder)),
    )
    trainer.fit(Logs(), **settings)
    return trainer


class Continues(Callback):
    def on_fit_start(self, trainer, pl_module):
        private.add_steps(trainer, 1)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        trainer.fit_loop.epoch_loop._batches_that_stepped = 77
        private.number_rows_by_updates(trainer)


@pytest.mark.filterwarnings("ignore")
def test_lightnings_loops(tmp_path):
    notes = Notes()
    fit(tmp_path / "first", 3, notes)
    assert notes.validated == [2, 3]
    assert notes.done == [0, 1, 2]
    checkpoint = torch.load(tmp_path / "first" / "last.ckpt", weights_only=True)
    loops = checkpoint["loops"]["fit_loop"]
    counted = {"ready": 3, "started": 3, "processed": 3, "completed": 3}
    assert loops["epoch_loop.batch_progress"] == {"total": counted, "current": counted, "is_last_batch": False}
    assert loops["epoch_loop.val_loop.batch_progress"]["total"] == {
        "ready": 1, "started": 1, "processed": 0, "completed": 0
    }  # fmt: skip
    trainer = fit(tmp_path / "second", 4, Continues(), ckpt_path=tmp_path / "first" / "last.ckpt", weights_only=True)
    assert trainer.global_step == 5
    assert [row.split(",")[-1] for row in (tmp_path / "second" / "metrics.csv").read_text().split()] == [
        "step",
        "3",
        "4",
    ]


class Twice:
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_class_that_is_mixed_in_computes_with_the_copys_weights():
    layer = nn.Linear(3, 2)
    x = torch.ones(1, 3)
    plain, state = layer(x), copy.deepcopy(layer.state_dict())
    private.mix_in(layer, Twice, "Twice")
    twin = copy.deepcopy(layer)
    nn.init.zeros_(layer.weight)
    assert type(twin).__name__ == "TwiceLinear"
    assert isinstance(twin, nn.Linear)
    assert torch.equal(twin(x), 2 * plain)
    assert twin.state_dict().keys() == state.keys()
    private.mix_out(twin)
    assert type(twin) is nn.Linear
    assert torch.equal(twin(x), plain)


def test_torchs_operators_tell_their_arguments():
    schema = private.schema(torch.ops.aten.softmax.int)
    assert [argument.name for argument in schema.arguments] == ["self", "dim", "dtype"]
    assert [argument.default_value for argument in schema.arguments if argument.has_default_value()] == [None]
    assert not schema.is_mutable
    assert private.schema(torch.ops.aten.add_.Tensor).is_mutable
    x = torch.zeros(4)
    assert private.viewed(x[1:]) is x
    assert private.viewed(x + 1) is None


def test_torchs_trees_and_dispatch():
    flat, _ = private.tree_flatten(([1, 2], {"a": (3,)}))
    assert flat == [1, 2, 3]
    assert private.tree_map(lambda value: value + 1, ([1], {"a": 2})) == ([2], {"a": 3})
    names = []

    class Notes(private.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with Notes():
        torch.zeros(2).relu()
    assert names[-1] == "relu"
