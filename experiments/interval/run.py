"""How often an interval of 95 % holds the true difference between two networks, by the number of runs a side.

    python experiments/interval/run.py

Studies are simulated: 60 images that differ in how hard they are, for both networks alike; runs whose accuracy varies by
their seed, part of it the same for both networks. What is compared: atrous's interval, with the runs paired by their seeds
and not, and the bootstrap that draws images and runs with replacement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from atrous.metrics import scores
from atrous.metrics.bootstrap import paired_difference

STUDIES, RESAMPLES, IMAGES, PIXELS, CLASSES = 1000, 1000, 60, 400, 3
GAP = 0.02  # in accuracy, of A over B
SEED_SPREAD = 0.02  # standard deviation of a run's accuracy
Matrices = NDArray[np.float64]


def matrices(accuracy: NDArray[np.float64], rng: np.random.Generator) -> Matrices:
    """A run's confusion matrices (N, C, C) where each image's accuracy is (N,); a wrong pixel takes the next class."""
    right = rng.binomial(PIXELS, np.clip(accuracy, 0, 1)[:, None], (len(accuracy), CLASSES))
    found = np.zeros((len(accuracy), CLASSES, CLASSES))
    labels = np.arange(CLASSES)
    found[:, labels, labels] = right
    found[:, labels, labels - 1] = PIXELS - right
    return found


def study(runs: int, shared: float, rng: np.random.Generator) -> tuple[list[Matrices], list[Matrices]]:
    """The runs of A and of B; `shared` is the share of the seeds' variance that moves both alike."""
    hard = rng.normal(0, 0.1, IMAGES)
    common = rng.normal(0, SEED_SPREAD * shared**0.5, runs)
    sides = []
    for gap in (GAP, 0.0):
        own = rng.normal(0, SEED_SPREAD * (1 - shared) ** 0.5, runs)
        sides.append([matrices(0.7 + gap + hard + seed, rng) for seed in common + own])
    return sides[0], sides[1]


def drawn_runs(a: list[Matrices], b: list[Matrices], rng: np.random.Generator) -> tuple[float, float]:
    """The interval of a bootstrap that draws images, and each side's runs, with replacement."""
    picks = rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), RESAMPLES).astype(float)
    sides = []
    for side in (a, b):
        miou = np.stack(
            [scores.mean(scores.iou(np.tensordot(picks, run, 1))) for run in side], axis=1
        )  # (RESAMPLES, runs)
        chosen = rng.integers(len(side), size=miou.shape)
        sides.append(np.take_along_axis(miou, chosen, 1).mean(1))
    low, high = np.quantile(sides[0] - sides[1], (0.025, 0.975))
    return float(low), float(high)


def true_difference() -> float:
    """Of the expected mIoU of a population: every image's accuracy 0.7 and 0.72 on average, its pixels summed."""

    def miou(accuracy: float) -> float:  # each class has as many pixels, and as many wrong ones
        return accuracy / (2 - accuracy)

    return miou(0.7 + GAP) - miou(0.7)


def main() -> None:
    true = true_difference()
    print(
        "| runs a side | share of the seeds' variance that both sides have | drawn runs | not paired | paired by seed |"
    )
    print("|---|---|---|---|---|")
    for shared in (0.0, 0.8):
        for runs in (3, 5, 10):
            rng = np.random.default_rng([runs, round(10 * shared)])
            found = []
            for number in track(range(STUDIES), f"{runs} runs", transient=True):
                a, b = study(runs, shared, rng)
                intervals = [drawn_runs(a, b, rng)]
                for paired in (False, True):
                    ours = paired_difference(a, b, paired_runs=paired, resamples=RESAMPLES, seed=number)
                    intervals.append((ours.low, ours.high))
                found.append(intervals)
            low, high = np.moveaxis(np.array(found), 2, 0)  # (STUDIES, 3) each
            held, width = ((low <= true) & (true <= high)).mean(0), np.median(high - low, axis=0)
            cells = " | ".join(f"{h:.1%}, {w:.3f} wide" for h, w in zip(held, width, strict=True))
            print(f"| {runs} | {shared:.0%} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
