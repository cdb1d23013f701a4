"""What the losses share that weigh the cross-entropy of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.errors import ConfigError
from atrous.losses.base import LossSettings, SegmentationLoss
from atrous.losses.strips import map_strips


class PixelSettings(LossSettings, total=False):
    """The settings of `PixelLoss`, which its subclasses pass on."""

    class_weights: Sequence[float] | str | None


class PixelLoss(SegmentationLoss):
    """A loss on the map of the pixels' cross-entropies, which is computed without the upsampled logits in memory.

    Args:
        class_weights: One weight per class, 0 or more; means are weighted by them. None: all 1. In a config also the name
            of a rule of `class_weights.py`, which training replaces by the weights that it gives for the train split.
        settings: As for `SegmentationLoss`.

    Raises:
        ValueError: If a setting is out of its range.
    """

    class_weights: Tensor | None

    def __init__(self, *, class_weights: Sequence[float] | str | None = None, **settings: Unpack[LossSettings]) -> None:
        super().__init__(**settings)
        if isinstance(class_weights, str):
            raise ValueError(
                f"class_weights {class_weights!r} is the name of a rule, and a loss takes its numbers; make them with "
                "atrous.losses.class_weights.named_weights from the train split's class counts"
            )
        if class_weights is not None and min(class_weights, default=-1) < 0:
            raise ValueError(f"class_weights {list(class_weights)}: give one weight per class, each 0 or more")
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)  # the config holds them

    def cross_entropies(self, logits: Tensor, mask: Tensor) -> Tensor:
        """-log of the probability of each pixel's class, without class weights; 0 where ignored: (N, H, W)."""
        return map_strips(
            logits,
            mask,
            lambda strip, labels: F.cross_entropy(strip, labels, ignore_index=self.ignore_index, reduction="none"),
        )

    def weights_of(self, logits: Tensor, mask: Tensor) -> Tensor:
        """The weight of each pixel's class, 0 where ignored: (N, H, W), float32 at least."""
        counted = self.counted(mask)
        weights = self.weights_for(logits)
        if weights is None:
            return counted.to(torch.promote_types(logits.dtype, torch.float32))
        return weights[self.labels(mask)] * counted

    def weights_for(self, logits: Tensor) -> Tensor | None:
        """The class weights (C,), checked against the logits, float32 at least.

        Raises:
            ConfigError: If their number is not C.
        """
        if self.class_weights is None:
            return None
        if len(self.class_weights) != logits.shape[1]:
            raise ConfigError(
                f"loss.class_weights has {len(self.class_weights)} weights but the model {logits.shape[1]} classes; "
                "give one weight per class, or null."
            )
        return self.class_weights.to(torch.promote_types(logits.dtype, torch.float32))
