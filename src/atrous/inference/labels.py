"""Labels and probabilities at the size of the mask or the image."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from atrous.layers import upsample
from atrous.layers.strips import resized_strips


def labels(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The most likely class of each pixel at `size`.

    The same labels as `F.interpolate` in float32 and `argmax` give, without scores of that size: strips of rows are
    resized, labelled and forgotten, one image after the other. `experiments/fused_labels` measures it.

    Args:
        logits: (N, C, h, w).
        size: (H, W) of the result.

    Returns:
        (N, H, W), uint8 up to 256 classes and int64 above: an eighth of the memory, and counted in half the time.
    """
    source = (logits.shape[-2], logits.shape[-1])
    return torch.cat([strip_labels(resized_strips([image], source, size), size[0]) for image in torch.split(logits, 1)])


def strip_labels(strips: Iterable[Tensor], height: int) -> Tensor:
    """(N, height, W) labels of scores (N, C, any, W) that come from top to bottom; types as `labels`."""
    # Allocated whole: small results between large ones would keep the allocator from reusing memory.
    whole: Tensor | None = None
    top = 0
    for strip in strips:
        part = most_likely(strip)
        if whole is None:
            whole = part.new_empty(len(part), height, part.shape[2])
        whole[:, top : top + part.shape[1]] = part
        top += part.shape[1]
    if whole is None:
        raise ValueError("no strips of scores, expected at least one")
    return whole


def most_likely(scores: Tensor) -> Tensor:
    """Of scores (N, C, H, W), (N, H, W): uint8 up to 256 classes and int64 above. The first of equals wins."""
    # `max` in place of `argmax`, which takes more time on CPUs; experiments/fused_labels
    return scores.max(1).indices.to(torch.uint8 if scores.shape[1] <= 256 else torch.int64)


def probabilities(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Softmax over classes at `size`: float32 (N, C, H, W), from logits (N, C, h, w)."""
    return resize(logits, size).softmax(1)


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, float32, `align_corners=False`: the one resize between a model's logits and the mask."""
    return upsample.resize(logits.float(), size)
