"""Cross-entropy of every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atrous.errors import ConfigError
from atrous.types import IGNORE_INDEX, SegOutput


class CrossEntropy(nn.Module):
    """Mean cross-entropy of the pixels that are not ignored, plus that of auxiliary heads.

    Logits are resized to the mask (bilinear, `align_corners=False`) and the loss is computed in float32 at least, also
    under autocast. A batch without a pixel that counts costs 0 and has zero gradients, where `F.cross_entropy` is NaN.

    Args:
        ignore_index: Mask value of the pixels that do not count.
        class_weights: One weight per class, 0 or more; the mean is weighted by them. None: all 1.
        label_smoothing: Share of the target that is spread evenly over all classes, 0 to 1.
        aux_weight: Weight of each auxiliary head's loss; 0.4 is from Zhao et al., "Pyramid Scene Parsing Network",
            CVPR 2017, section 3.3.

    Raises:
        ValueError: If a setting is out of its range.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        ignore_index: int = IGNORE_INDEX,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        aux_weight: float = 0.4,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"label_smoothing {label_smoothing} is out of range; give a share from 0 to 1, such as 0.1"
            )
        if aux_weight < 0:
            raise ValueError(f"aux_weight {aux_weight} is negative; give 0 or more, such as 0.4")
        if class_weights is not None and min(class_weights, default=-1) < 0:
            raise ValueError(f"class_weights {list(class_weights)}: give one weight per class, each 0 or more")
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.aux_weight = aux_weight
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)  # the config holds them

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            output: Logits (N, C, h, w) and auxiliary heads' logits, each (N, C, h', w').
            mask: int64 (N, H, W), class indices or `ignore_index`.

        Returns:
            Scalar, 0 or more.

        Raises:
            ConfigError: If the number of class weights is not C.
        """
        loss = self._head_loss(output.logits, mask)
        for logits in output.aux:
            loss = loss + self.aux_weight * self._head_loss(logits, mask)
        return loss

    def _head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            if logits.shape[-2:] != mask.shape[-2:]:
                logits = F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)
            weights = self._weights_for(logits)
            total = F.cross_entropy(
                logits,
                mask,
                weight=weights,
                ignore_index=self.ignore_index,
                reduction="sum",
                label_smoothing=self.label_smoothing,
            )
            counts = mask != self.ignore_index  # (N, H, W)
            whole = counts.sum() if weights is None else (weights[torch.where(counts, mask, 0)] * counts).sum()
            return total / torch.where(whole > 0, whole, 1)

    def _weights_for(self, logits: Tensor) -> Tensor | None:
        if self.class_weights is None:
            return None
        if len(self.class_weights) != logits.shape[1]:
            raise ConfigError(
                f"loss.class_weights has {len(self.class_weights)} weights but the model {logits.shape[1]} classes; "
                "give one weight per class, or null."
            )
        return self.class_weights.to(logits.dtype)
