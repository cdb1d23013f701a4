"""Random batches, and the plain NumPy that the losses are compared with."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

N, C, H, W = 2, 4, 5, 7
IGNORED = 255
SIZES = [(H, W), (2, 3), (3, 4), (1, 1), (9, 13), (5, 3)]


def batch(seed: int = 0, size: tuple[int, int] = (H, W), absent: int | None = None) -> tuple[Tensor, Tensor]:
    """Float32 logits (N, C, *size) and a mask (N, H, W) with 30 % of its pixels ignored, without the class `absent`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(N, C, *size, generator=generator)
    mask = torch.randint(0, C, (N, H, W), generator=generator)
    if absent is not None:
        mask[mask == absent] = (absent + 1) % C
    mask[torch.rand(N, H, W, generator=generator) < 0.3] = IGNORED
    return logits, mask


def probabilities(logits: Tensor) -> NDArray[np.float64]:
    """Softmax at the mask's size, (N, H, W, C)."""
    scores = F.interpolate(logits.double(), (H, W), mode="bilinear", align_corners=False).movedim(1, -1).numpy()
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def surprises(logits: Tensor, mask: Tensor) -> list[tuple[int, int, float]]:
    """(image, label, -log p) of each pixel that counts, in reading order."""
    p = probabilities(logits)
    return [
        (image, label, -float(np.log(p[image, y, x, label])))
        for (image, y, x), label in np.ndenumerate(mask.numpy())
        if label != IGNORED
    ]


def areas(logits: Tensor, mask: Tensor, image: int | None = None) -> NDArray[np.float64]:
    """hit, predicted and actual pixels of each class, (3, C), in the batch or in one image; pixel by pixel."""
    p = probabilities(logits)
    sums = np.zeros((3, C))
    for (i, y, x), label in np.ndenumerate(mask.numpy()):
        if label != IGNORED and image in (None, i):
            sums[0, label] += p[i, y, x, label]
            sums[1] += p[i, y, x]
            sums[2, label] += 1
    return sums
