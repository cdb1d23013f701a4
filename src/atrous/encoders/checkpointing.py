"""Gradient checkpointing: a block's intermediate results are forgotten in the forward pass and computed again in the backward.

Chen, Xu, Zhang and Guestrin (2016) "Training Deep Nets with Sublinear Memory Cost", https://arxiv.org/abs/1604.06174.

timm's own switch for feature pyramids treats a whole stage as one block, leaves the last stage out, and lets the second
forward pass update batch norm's running statistics once more.

What autograd keeps of one image in float32, weights left out, by saved-tensor hooks on the meta device:

    encoder                   image        without     with
    resnet50, stride 8        512 x 512    947 MiB     287 MiB
    resnet101s, stride 8      769 x 769   4289 MiB    1381 MiB
    xception65, stride 16     512 x 512   1233 MiB     351 MiB
    convnext_tiny             512 x 512    643 MiB      73 MiB
    vit_base_patch16_384      512 x 512   1556 MiB      42 MiB
    vit_large_patch16_384     640 x 640   7620 MiB     161 MiB

During the backward pass the results of one block come on top. A step of resnet26 at stride 8 took 1.37 times the processor time
(median of six pairs of steps in turn, one image of 128 x 128, one core of a shared machine).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from atrous.layers.norms import BATCH_NORMS
from atrous.system.private import mix_in

LAYERS = (nn.Conv2d, nn.Linear)


def checkpoint_blocks(net: nn.Module) -> int:
    """Makes every block of a network, in place, compute its intermediate results again in the backward pass.

    A block is the largest part with several layers that is no row of alike parts: a residual block, not a stage of them.
    Outputs, gradients, random numbers and running statistics stay what they were. Keys of the state dict stay, too.

    Returns:
        The number of blocks, which is 0 where a network is one long row of layers, such as VGG.
    """
    found = list(_blocks(net))
    for block in found:
        mix_in(block, _Checkpointed, "Checkpointed")
    return len(found)


class _Checkpointed:
    """Mixed in before a block's class: the copy of a block then computes with its own weights, which a hook would not."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        plain = super().forward  # type: ignore[misc]
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        args = tuple([*part] if isinstance(part, list) else part for part in args)  # DenseNet's list grows afterwards
        return checkpoint(plain, *args, use_reentrant=False, context_fn=self._contexts, **kwargs)

    def _contexts(self: Any) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Around the first and around the second forward pass."""
        return nullcontext(), _without_statistics(self)


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Leaves running statistics as they are: a momentum of 0 adds nothing."""
    norms = [module for module in block.modules() if isinstance(module, BATCH_NORMS) and module.track_running_stats]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, count in kept:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _is_row(child):
            yield from _blocks(child)
        elif _is_part(child):
            yield child


def _is_part(module: nn.Module) -> bool:
    """Whether several of the modules in it have weights."""
    return sum(bool(dict(layer.named_parameters(recurse=False))) for layer in module.modules()) > 1


def _is_row(module: nn.Module) -> bool:
    """Whether parts follow each other in it, such as a stage's blocks, not single layers, as in a stem."""
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return any(_is_part(child) for child in module.children())
    parts = [*module.children()]
    parts += [part for child in parts if isinstance(child, nn.Sequential | nn.ModuleList) for part in child]
    classes = [type(part) for part in parts if sum(isinstance(layer, LAYERS) for layer in part.modules()) > 1]
    return len(classes) > len(set(classes))
