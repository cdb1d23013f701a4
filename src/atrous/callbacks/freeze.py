"""Freezes parts of a network: batch norm statistics, or the first layers of the encoder."""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as pl
from torch import nn

from atrous.errors import ConfigError
from atrous.layers.norms import BATCH_NORMS
from atrous.optim.layers import encoder_layers, encoder_prefixes


class Freeze(pl.Callback):
    """Holds modules in eval mode during training, and their parameters out of gradients and optimizer groups.

    It looks at the task's `model`. Parameters are frozen before the optimizer is built and before DDP wraps the model,
    so that neither waits for their gradients. Modules are put into eval mode before every batch, whatever has called
    `train()` in between: dropout and stochastic depth inside frozen layers are off, too.

    Args:
        batch_norm: Which running statistics are frozen: "none", "encoder" (for small batches) or "all" (for a network that
            is fully trained).
        batch_norm_affine: Whether to freeze the scales and shifts of those batch norms, too.
        encoder: How many of the encoder's first layers are frozen, counted as in `atrous.optim.layers.encoder_layers`, or
            "all". In a ResNet 1 is the stem, 2 also the first stage.

    Raises:
        ConfigError: If a setting is impossible, or matches nothing to freeze.
    """

    def __init__(self, *, batch_norm: str = "none", batch_norm_affine: bool = False, encoder: int | str = 0) -> None:
        if batch_norm not in ("none", "encoder", "all"):
            raise ConfigError(f"callbacks.freeze.batch_norm={batch_norm} is unknown; give none, encoder or all.")
        if batch_norm_affine and batch_norm == "none":
            raise ConfigError(
                "callbacks.freeze.batch_norm_affine=true freezes nothing while batch_norm is none; give "
                "callbacks.freeze.batch_norm=encoder or all."
            )
        if encoder != "all" and (isinstance(encoder, bool) or not isinstance(encoder, int) or encoder < 0):
            raise ConfigError(f"callbacks.freeze.encoder={encoder} is impossible; give a number of layers or all.")
        self.batch_norm, self.batch_norm_affine, self.encoder = batch_norm, batch_norm_affine, encoder

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        model = cast(nn.Module, pl_module.model)
        frozen = self._frozen_layers(model)
        for name, parameter in model.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        norms = self._frozen_norms(model)
        if self.batch_norm != "none" and not norms:
            where = "" if self.batch_norm == "all" else " in its encoder"
            raise ConfigError(
                f"callbacks.freeze.batch_norm={self.batch_norm}: {type(model).__name__} has no batch norm{where}; give none."
            )
        if self.batch_norm_affine:
            for norm in norms:
                norm.requires_grad_(False)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        model = cast(nn.Module, pl_module.model)
        for norm in self._frozen_norms(model):
            norm.eval()
        if self.encoder:
            for child in _whole_frozen(model):
                child.eval()

    def _frozen_layers(self, model: nn.Module) -> set[str]:
        """Names of the parameters in the frozen layers."""
        prefixes = encoder_prefixes(model)
        if self.encoder == "all":
            if not prefixes:
                raise ConfigError(
                    f"callbacks.freeze.encoder=all: {type(model).__name__} has no child called encoder or backbone; give 0."
                )
            return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}
        if not self.encoder:
            return set()
        layers = encoder_layers(model)
        count = max(layers.values()) + 1
        if int(self.encoder) > count:
            raise ConfigError(
                f"callbacks.freeze.encoder={self.encoder}: the encoder has {count} layers; give 0 to {count}, or all."
            )
        return {name for name, layer in layers.items() if layer < int(self.encoder)}

    def _frozen_norms(self, model: nn.Module) -> list[nn.Module]:
        """Looked up each time, since a conversion to synchronised batch norm replaces the modules."""
        if self.batch_norm == "none":
            return []
        inside = ("",) if self.batch_norm == "all" else encoder_prefixes(model)
        named = model.named_modules()
        return [module for path, module in named if isinstance(module, BATCH_NORMS) and path.startswith(inside)]


def _whole_frozen(module: nn.Module) -> list[nn.Module]:
    """The outermost modules that have parameters and none to train."""
    parameters = list(module.parameters())
    if not parameters:
        return []
    if not any(parameter.requires_grad for parameter in parameters):
        return [module]
    return [found for child in module.children() for found in _whole_frozen(child)]
