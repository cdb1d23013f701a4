"""Labels from seeds by graph cuts: Boykov, Jolly, ICCV 2001 (https://doi.org/10.1109/ICCV.2001.937505), and GrabCut: Rother,
Kolmogorov, Blake, SIGGRAPH 2004 (https://doi.org/10.1145/1015706.1015720).

Each label has a Gaussian mixture of its pixels' colours, whose negative log likelihood is its unary energy; neighbours of
like colour cost more to part. GrabCut learns the mixtures again from what the cut has labelled. Deviations: any number of
labels, by alpha-expansion above two; Boykov's and Jolly's histograms are mixtures here, too; GrabCut starts from seeds of
each label, not from a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from atrous.classical.cuts import Floats, alpha_expansion, grid
from atrous.classical.method import Iterate, Pixels, Segments, library
from atrous.classical.seeds import UNMARKED, SeededMethod

_COMPONENTS = 5  # of a mixture, as in GrabCut
_SAMPLE = 1000  # pixels that a mixture is learned from
_LEAST_VARIANCE = 1e-3  # of colours from 0 to 1


@dataclass(kw_only=True)
class GraphCut(SeededMethod):
    """Labels the image by its seeds; a segment's number is its seeds' label.

    Args:
        side, scribbles, scribble_radius: See `SeededMethod`.
        seed: Of the scribbles and the mixtures.
        colour_weight: Of the unaries; 0: only the seeds speak.
        smoothness: What it costs to part two neighbours of equal colour.
        neighbours: 4 or 8.
        fixed: Seeds keep their label.
        rounds: How often colours are learned and labels cut: 1 as Boykov and Jolly, more as GrabCut.
        cycles: Of alpha-expansion in each round, at most.
    """

    most_pixels: ClassVar[int] = 2**20

    colour_weight: float
    smoothness: float
    neighbours: int
    fixed: bool
    rounds: int
    cycles: int

    def from_seeds(self, image: Pixels, seeds: Segments) -> Iterator[Iterate]:
        """The labels of each round: the least unaries', then after each cycle of cuts, with their energy."""
        marked = seeds != UNMARKED
        labels, numbers = np.unique(seeds[marked], return_inverse=True)
        learned = np.full(seeds.shape, UNMARKED, np.intp)
        learned[marked] = numbers
        colours = image.astype(np.float64) / 255
        edges = grid(colours, neighbours=self.neighbours, weight=self.smoothness)
        incident = np.bincount(np.concatenate([edges.i, edges.j]), np.concatenate([edges.weights] * 2))
        for number in range(1, self.rounds + 1):
            unary = self.colour_weight * unaries(colours, learned, len(labels), self.seed)
            if self.fixed:
                unary[marked.ravel()] = 1 + incident.max(initial=0)  # more than its neighbours can pay
                unary[np.flatnonzero(marked), numbers] = 0
            for cycle, (cut, energy) in enumerate(alpha_expansion(unary, edges, cycles=self.cycles)):
                learned = cut.reshape(seeds.shape)
                yield Iterate(f"round {number}, cycle {cycle}", labels[learned].astype(np.int32), energy)


def unaries(colours: Floats, labels: NDArray[np.intp], count: int, seed: int) -> Floats:
    """-log p(colour | label) of each pixel, (n, count), by a mixture of the colours of the pixels with each label (h, w)."""
    mixture = library("sklearn.mixture").GaussianMixture
    flat, rng = colours.reshape(-1, colours.shape[2]), np.random.default_rng(seed)
    found = np.full((len(flat), count), np.inf)
    for label in range(count):
        points = flat[labels.ravel() == label]
        if not len(points):
            continue  # a cut has left none of it
        points = points[rng.choice(len(points), min(len(points), _SAMPLE), replace=False)]
        parts = min(_COMPONENTS, len(np.unique(points, axis=0)))
        points = points if len(points) > 1 else np.repeat(points, 2, axis=0)
        model = mixture(
            parts, reg_covar=_LEAST_VARIANCE, random_state=seed, max_iter=30, tol=1e-2, init_params="k-means++"
        )
        found[:, label] = -model.fit(points).score_samples(flat)
    return np.where(np.isinf(found), np.nanmax(found[np.isfinite(found)]) + 1, found)
