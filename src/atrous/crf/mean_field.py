"""Mean-field inference in a fully connected CRF, in torch on any device: the form that is read, and runs on GPUs.

`fast` does the same on a CPU by compiled loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from atrous.crf.lattice import Lattice


class Kernel(NamedTuple):
    """One Gaussian kernel between pixels and what it makes of their labels."""

    features: Tensor  # (N, P, d), in standard deviations
    coupling: float | Tensor  # what a label's share of the neighbours adds to its score; (C, C): to every label's


def mean_field(log_probabilities: Tensor, kernels: Sequence[Kernel], iterations: int) -> Iterator[Tensor]:
    """The marginals after 0, 1, ... `iterations` updates of all pixels at once (algorithm 1 of the paper).

    Args:
        log_probabilities: float32 (N, C, P), the negative unary energies.
        kernels: The pairwise terms.
        iterations: How many updates.

    Yields:
        float32 (N, C, P), summing to 1 over C.
    """
    images, classes, points = log_probabilities.shape
    unary = log_probabilities.transpose(1, 2).reshape(images * points, classes)
    lattices = [(Lattice(kernel.features), kernel.coupling) for kernel in kernels]
    marginals = unary.softmax(1)
    for iteration in range(iterations + 1):
        if iteration:
            scores = unary.clone()
            for lattice, coupling in lattices:
                scores += lattice.slice(couple(lattice.blur(lattice.splat(marginals)), coupling, lattice.alpha))
            marginals = scores.softmax(1)
        yield marginals.view(images, points, classes).transpose(1, 2).contiguous()


def couple(values: Tensor, coupling: float | Tensor, alpha: float) -> Tensor:
    """Label compatibility on the vertices, (M, C): it is linear, and they are fewer than the pixels."""
    return values * (alpha * coupling) if isinstance(coupling, float) else values @ (alpha * coupling).T
