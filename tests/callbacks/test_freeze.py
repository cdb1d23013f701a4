"""Frozen parts are bitwise what they were after steps of a real Trainer; the rest has moved."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import lightning.pytorch as pl
import pytest
import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from atrous.callbacks.freeze import Freeze
from atrous.config.compose import CONF_DIR
from atrous.encoders.encoder import Encoder
from atrous.encoders.vit import ViT
from atrous.errors import ConfigError
from atrous.optim.groups import build_optimizer
from atrous.tasks.sync_batchnorm import SyncBatchNorm


class Network(nn.Module):
    def __init__(self, encoder: nn.Module, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Conv2d(channels, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        vit = isinstance(self.encoder, ViT)
        maps = self.encoder(images, [self.encoder.depth]) if vit else self.encoder(images)
        return self.head(self.norm(maps[-1]))


class Task(pl.LightningModule):
    """With what could move frozen parts: weight decay, momentum, validations, `train()` in the middle."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.modes: list[dict[str, bool]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.modes.append({name: module.training for name, module in self.model.named_modules()})
        scores = self.model(batch).mean((2, 3))
        return F.cross_entropy(scores, torch.arange(len(batch), device=scores.device) % 3)

    def on_train_batch_end(self, outputs: object, batch: Tensor, batch_idx: int) -> None:
        self.model.train()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.model(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(
            self.model, algorithm="torch.optim.SGD", lr=0.1, weight_decay=0.1, momentum=0.9, head_multiplier=1.0
        )


def cnn() -> Network:
    torch.manual_seed(0)
    encoder = Encoder(name="test_resnet")
    return Network(encoder, encoder.channels[-1])


def vit() -> Network:
    torch.manual_seed(0)
    encoder = ViT(name="test_vit", drop_path=0.5)
    return Network(encoder, encoder.channels)


def fit(task: Task, freeze: Freeze, **options: object) -> pl.Trainer:
    trainer = pl.Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 2,
            "num_sanity_val_steps": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [freeze],
            **options,
        }
    )
    images = DataLoader(torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1)), batch_size=4)
    trainer.fit(task, images, images)
    return trainer


def trained(model: Network, **settings: object) -> tuple[set[str], Task, pl.Trainer]:
    """Trains four steps and returns which entries of the state are no longer bitwise what they were."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task = Task(model)
    trainer = fit(task, Freeze(**settings))
    assert trainer.global_step == len(task.modes) == 4
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}, task, trainer


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("where", ["none", "encoder", "all"])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm(where: str, affine: bool) -> None:
    if where == "none" and affine:
        return
    model = cnn()
    changed, task, trainer = trained(model, batch_norm=where, batch_norm_affine=affine)
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    still = {name for name in norms if where == "all" or (where == "encoder" and name.startswith("encoder."))}
    kept = {f"{name}.{part}" for name in still for part in (*STATISTICS, *(("weight", "bias") if affine else ()))}
    assert len(norms) > 5
    assert "norm" in norms
    assert changed == model.state_dict().keys() - kept
    grouped = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert grouped == {id(p) for name, p in model.named_parameters() if name not in kept}
    assert all(name not in still or not training for modes in task.modes for name, training in modes.items())
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if name in kept)


@pytest.mark.parametrize("layers", [1, 3, 5, "all"])
def test_the_first_layers_of_a_cnn(layers: int | str) -> None:
    model = cnn()
    changed, task, trainer = trained(model, encoder=layers)
    parts = ["conv1.", "layer1.", "layer2.", "layer3.", "layer4."]
    count = 5 if layers == "all" else int(layers)
    starts = [f"encoder.net.{part}" for part in ("bn1.", *parts[:count])]
    kept = {name for name in model.state_dict() if name.startswith(tuple(starts))}
    assert len(kept) >= 6 * count
    assert changed == model.state_dict().keys() - kept
    frozen = [parameter for name, parameter in model.named_parameters() if name in kept]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in frozen)
    grouped = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert not grouped & {id(parameter) for parameter in frozen}
    under = tuple(start[:-1] for start in starts)
    assert not any(training for modes in task.modes for name, training in modes.items() if name.startswith(under))
    assert all(modes["head"] and modes["norm"] for modes in task.modes)


def test_the_first_layers_of_a_vit() -> None:
    model = vit()
    changed, task, _ = trained(model, encoder=3)
    starts = tuple(
        f"encoder.net.{part}" for part in ("cls_token", "pos_embed", "patch_embed", "blocks.0.", "blocks.1.")
    )
    kept = {name for name in model.state_dict() if name.startswith(starts)}
    assert changed == model.state_dict().keys() - kept
    for modes in task.modes:
        assert not modes["encoder.net.blocks.1.drop_path1"]  # stochastic depth inside a frozen block is off
        assert modes["encoder.net.blocks.2.drop_path1"]


def test_a_whole_encoder_of_any_library() -> None:
    model = Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()), 4)
    model.encoder.forward = lambda images: [nn.Sequential.forward(model.encoder, images)]  # a list of one map
    changed, task, _ = trained(model, encoder="all")
    assert not any(name.startswith("encoder.") for name in changed)
    assert not any(modes["encoder.2"] for modes in task.modes)
    assert "head.weight" in changed


def test_nothing_is_frozen_by_default() -> None:
    options = yaml.safe_load((CONF_DIR / "callbacks" / "freeze.yaml").read_text())["freeze"]
    model = cnn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(Task(model), instantiate(options))
    assert not any(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_averaged_weights_leave_frozen_ones_alone() -> None:
    model = cnn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average = pl.callbacks.EMAWeightAveraging(decay=0.5)
    freeze = Freeze(encoder=2, batch_norm="all")
    fit(Task(model), freeze, callbacks=[freeze, average])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert "head.weight" in changed
    assert not any("layer1" in name or name.endswith(STATISTICS) for name in changed)


def test_ddp_does_not_wait_for_frozen_gradients(tmp_path: Path) -> None:
    """A parameter that is frozen only after DDP has wrapped the model makes the second step fail."""
    with mock.patch.dict(os.environ):  # Lightning leaves LOCAL_RANK there, which says that a launcher has been at work
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
        try:
            model = cnn()
            before = {name: value.clone() for name, value in model.state_dict().items()}
            strategy = pl.strategies.DDPStrategy(broadcast_buffers=False, find_unused_parameters=False)
            freeze = Freeze(encoder=2, batch_norm="encoder", batch_norm_affine=True)
            fit(Task(model), freeze, strategy=strategy, plugins=[SyncBatchNorm(cpu=True)])
        finally:
            torch.distributed.destroy_process_group()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert "encoder.net.layer2.0.conv1.weight" in changed
    assert not any("layer1" in name or ("encoder" in name and name.endswith(STATISTICS)) for name in changed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_norm": "true"}, r"callbacks\.freeze\.batch_norm=true is unknown; give none, encoder or all"),
        ({"batch_norm_affine": True}, r"batch_norm_affine=true freezes nothing while batch_norm is none; give"),
        ({"encoder": -1}, r"callbacks\.freeze\.encoder=-1 is impossible; give a number of layers or all"),
        ({"encoder": True}, r"callbacks\.freeze\.encoder=True is impossible"),
        ({"encoder": "stem"}, r"callbacks\.freeze\.encoder=stem is impossible"),
    ],
)
def test_impossible_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Freeze(**settings)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (cnn, {"encoder": 6}, r"callbacks\.freeze\.encoder=6: the encoder has 5 layers; give 0 to 5, or all"),
        (vit, {"batch_norm": "encoder"}, r"batch_norm=encoder: Network has no batch norm in its encoder; give none"),
        (
            lambda: nn.Conv2d(3, 3, 1),
            {"encoder": "all"},
            r"encoder=all: Conv2d has no child called encoder or backbone",
        ),
        (lambda: nn.Conv2d(3, 3, 1), {"batch_norm": "all"}, r"batch_norm=all: Conv2d has no batch norm; give none"),
    ],
)
def test_nothing_there_to_freeze(model: object, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(Task(model()), Freeze(**settings))
