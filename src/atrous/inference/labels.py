"""Labels and probabilities at the size of the mask or the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def labels(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The most likely class of each pixel at `size`.

    Resizes in float32, whatever the precision of the logits, one image at a time so that the full-size scores of a
    batch are never held at once.

    Args:
        logits: (N, C, h, w).
        size: (H, W) of the result.

    Returns:
        (N, H, W), uint8 up to 256 classes and int64 above: an eighth of the memory, and counted in half the time.
    """
    dtype = torch.uint8 if logits.shape[1] <= 256 else torch.int64
    return torch.cat([resize(image[None], size).argmax(1).to(dtype) for image in logits])


def probabilities(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Softmax over classes at `size`: float32 (N, C, H, W), from logits (N, C, h, w)."""
    return resize(logits, size).softmax(1)


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, float32, `align_corners=False`: the one resize between a model's logits and the mask."""
    logits = logits.float()
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
