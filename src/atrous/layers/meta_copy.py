"""A copy of a network without weights: running it gives shapes and costs no time or memory."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn


def to_meta_copy(model: nn.Module) -> nn.Module:
    """Copies a network to the meta device in evaluation, without copying a weight."""
    memo = {id(tensor): _on_meta(tensor) for tensor in itertools.chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, memo).to("meta").eval()  # tensors that are neither go there by `to`, or not at all


def _on_meta(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
