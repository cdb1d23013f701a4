"""What a network costs: parameters, multiply-accumulates, peak memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from atrous.layers.meta_copy import to_meta_copy
from atrous.system.devices import peak_memory

if TYPE_CHECKING:
    from atrous.data.datamodule import SegmentationDataModule
    from atrous.tasks.semantic import SemanticScorer


def cost(scorer: SemanticScorer, datamodule: SegmentationDataModule, split: str) -> dict[str, Any]:
    """Parameters, MACs of one image of the split at its size, and the peak memory of this process so far."""
    height, width = datamodule.dataset(split)[0].mask.shape
    return {
        "parameters": sum(p.numel() for p in scorer.model.parameters()),
        "macs": macs(scorer.model, height, width),
        "macs_image_size": [height, width],
        "peak_memory_bytes": peak_memory(),
    }


def macs(model: torch.nn.Module, height: int, width: int) -> int | None:
    """Multiply-accumulates of one image; None for a third-party network that doesn't run without data ("meta")."""
    copy = to_meta_copy(model)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            copy(torch.empty(1, 3, height, width, device="meta"))
    except (NotImplementedError, RuntimeError):
        return None
    return int(counter.get_total_flops()) // 2
