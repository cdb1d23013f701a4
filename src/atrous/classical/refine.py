"""Scores of a network moved to the edges of the image: pooled over superpixels, or by a graph cut.

Each is called as the dense CRF is: (probabilities (N, C, H, W), image uint8 (N, H, W, 3)) -> probabilities (N, C, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atrous.classical.cuts import alpha_expansion, grid
from atrous.classical.method import described, library


@dataclass(frozen=True, kw_only=True)
class SuperpixelPooling:
    """Each pixel has the mean probabilities of its SLIC superpixel.

    Args:
        superpixels: About so many an image.
        compactness: As for `SLIC`.
    """

    superpixels: int
    compactness: float

    def __call__(self, probabilities: Tensor, image: Tensor) -> Tensor:
        slic = library("skimage.segmentation").slic
        pooled = torch.empty_like(probabilities)
        for number, (scores, pixels) in enumerate(zip(probabilities, image.cpu().numpy(), strict=True)):
            owner = slic(pixels, n_segments=self.superpixels, compactness=self.compactness, start_label=0)
            index = torch.from_numpy(owner.astype(np.int64)).to(scores.device).flatten()
            sums = scores.new_zeros(len(scores), int(index.max()) + 1).index_add_(1, index, scores.flatten(1))
            means = sums / index.bincount().clamp(min=1)
            pooled[number] = means[:, index].view_as(scores)
        return pooled

    def __str__(self) -> str:
        return described(self)


@dataclass(frozen=True, kw_only=True)
class GridCRF:
    """The labels of least energy on a grid, with -log p as unaries, by alpha-expansion; they have probability 1.

    Args:
        smoothness: What it costs to part two neighbours of equal colour; see `cuts.grid`.
        neighbours: 4 or 8.
        cycles: Of alpha-expansion, at most.
    """

    smoothness: float
    neighbours: int
    cycles: int

    def __call__(self, probabilities: Tensor, image: Tensor) -> Tensor:
        cut = torch.zeros_like(probabilities)
        for number, (scores, pixels) in enumerate(zip(probabilities, image.cpu().numpy(), strict=True)):
            unary = -scores.flatten(1).double().clamp(min=1e-9).log().T.cpu().numpy()
            edges = grid(pixels / 255, neighbours=self.neighbours, weight=self.smoothness)
            *_, (labels, _) = alpha_expansion(np.ascontiguousarray(unary), edges, cycles=self.cycles)
            index = torch.from_numpy(labels.reshape(1, *scores.shape[1:])).to(scores.device)
            cut[number].scatter_(0, index, 1.0)
        return cut

    def __str__(self) -> str:
        return described(self)
