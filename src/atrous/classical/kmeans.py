"""k-means: Lloyd, Least Squares Quantization in PCM, IEEE Transactions on Information Theory 1982.

https://doi.org/10.1109/TIT.1982.1056489. Initialised by k-means++ (Arthur, Vassilvitskii, SODA 2007; scikit-learn's form,
which tries several candidates for each centre) or by pixels drawn at random. The loop is ours, since no library shows its
iterates; it makes those of scikit-learn's `algorithm="lloyd"`. A centre without pixels is put on the pixel farthest from
its own centre, as scikit-learn does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from atrous.classical.features import FeatureMap
from atrous.classical.method import Iterate, Method, Pixels, Segments, library
from atrous.errors import ConfigError

_TOLERANCE = 1e-4  # of the centres' movement, times the features' variance; scikit-learn's
_SAMPLE = 2000  # pixels of each image that centres common to all are fitted on


class Step(NamedTuple):
    """Centres (k, D), each point's nearest one (N,), and the sum of squared distances to it."""

    centres: NDArray[np.float64]
    labels: NDArray[np.intp]
    energy: float


@dataclass(kw_only=True)
class KMeans(Method):
    """k centres in a space of pixel features; a pixel's segment is its nearest centre.

    Args:
        side: See `Method`.
        clusters: k.
        init: kmeans++ or random.
        restarts: Initialisations; the one with the least sum of squared distances is kept.
        iterations: At most.
        seed: Of the initialisations.
        train_images: Fit the centres once on so many images of the train split; 0: each image has its own.
        features: (H, W, 3) -> (H, W, D).
    """

    clusters: int
    init: str
    restarts: int
    iterations: int
    seed: int
    train_images: int
    features: FeatureMap
    _centres: NDArray[np.float64] | None = field(default=None, init=False, repr=False)

    def segment(self, image: Pixels) -> Segments:
        return self._best(image)[-1].segments

    def iterates(self, image: Pixels) -> Iterator[Iterate]:
        """The assignment of each iteration, of the initialisation that is kept."""
        yield from self._best(image)

    def fitted_on(self) -> int:
        return self.train_images

    def fit(self, images: Iterable[Pixels]) -> None:
        """Fits the centres on 2000 pixels of each image, drawn at random."""
        rng = np.random.default_rng(self.seed)
        parts = []
        for image in images:
            points = self.features(self.reduced(image))
            points = points.reshape(-1, points.shape[2])
            parts.append(points[rng.choice(len(points), min(len(points), _SAMPLE), replace=False)])
        self._centres = self._runs(np.concatenate(parts))[-1].centres

    def _best(self, image: Pixels) -> list[Iterate]:
        points = self.features(image)
        size, points = points.shape[:2], points.reshape(-1, points.shape[2])
        if self.train_images:
            if self._centres is None:
                raise ConfigError(
                    f"method.train_images={self.train_images} needs images to fit the centres on; use method.train_images=0, or "
                    "images of a data set."
                )
            steps = [assigned(points, self._centres)]
        else:
            steps = self._runs(points)
        return [
            Iterate(f"iteration {number}", step.labels.reshape(size).astype(np.int32), step.energy)
            for number, step in enumerate(steps)
        ]

    def _runs(self, points: NDArray[np.float32]) -> list[Step]:
        return clustered(
            points,
            self.clusters,
            init=self.init,
            restarts=self.restarts,
            iterations=self.iterations,
            seed=self.seed,
        )


def clustered(
    points: NDArray[np.floating[Any]], clusters: int, *, init: str, restarts: int, iterations: int, seed: int
) -> list[Step]:
    """The steps of k-means on points (N, D) from the best of several initialisations, by the last step's energy.

    Raises:
        ConfigError: If there are more clusters than points.
    """
    if clusters > len(points):
        raise ConfigError(
            f"method.clusters={clusters} is more than the {len(points)} pixels there are; set method.clusters={len(points)} or less."
        )
    rng = np.random.default_rng(seed)
    runs = (list(lloyd(points, _start(points, clusters, init, rng), iterations)) for _ in range(restarts))
    return min(runs, key=lambda steps: steps[-1].energy)


def _start(
    points: NDArray[np.floating[Any]], clusters: int, init: str, rng: np.random.Generator
) -> NDArray[np.float64]:
    if init == "random":
        return points[rng.choice(len(points), clusters, replace=False)].astype(np.float64)
    state = int(rng.integers(2**31))
    centres, _ = library("sklearn.cluster").kmeans_plusplus(points, clusters, random_state=state)
    start: NDArray[np.float64] = centres.astype(np.float64)
    return start


def lloyd(points: NDArray[np.floating[Any]], centres: NDArray[np.float64], iterations: int) -> Iterator[Step]:
    """Yields the start and each iteration until nothing moves.

    Args:
        points: (N, D).
        centres: (k, D), to start from.
        iterations: At most.
    """
    still = _TOLERANCE * float(points.var(axis=0).mean())
    step = assigned(points, centres)
    yield step
    for _ in range(iterations):
        moved = _means(points, step)
        shift = float(((moved - step.centres) ** 2).sum())
        before, step = step, assigned(points, moved)
        yield step
        if shift <= still or np.array_equal(before.labels, step.labels):
            return


def assigned(points: NDArray[np.floating[Any]], centres: NDArray[np.float64]) -> Step:
    """Each point with its nearest centre."""
    metrics = library("sklearn.metrics")
    labels, distances = metrics.pairwise_distances_argmin_min(points, centres.astype(points.dtype))
    return Step(centres, labels, float((distances.astype(np.float64) ** 2).sum()))


def _means(points: NDArray[np.floating[Any]], step: Step) -> NDArray[np.float64]:
    count = len(step.centres)
    sizes = np.bincount(step.labels, minlength=count)
    sums = np.stack([np.bincount(step.labels, weights=column, minlength=count) for column in points.T], axis=1)
    if (empty := np.flatnonzero(sizes == 0)).size:
        distances = ((points - step.centres[step.labels]) ** 2).sum(1)
        for centre, point in zip(empty, np.argsort(distances)[::-1], strict=False):
            old = step.labels[point]
            sums[old] -= points[point]
            sizes[old] -= 1
            sums[centre], sizes[centre] = points[point], 1
    return np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], step.centres)
