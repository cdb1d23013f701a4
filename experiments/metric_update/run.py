"""Times one metric update of ours beside torchmetrics', interleaved: python experiments/metric_update/run.py"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from atrous.metrics.confusion import ConfusionMatrix, confusion_matrix, confusion_per_image

CLASSES, IGNORE, SHAPE = 19, 255, (8, 512, 1024)
ROUNDS, WARM_UP = 15, 2


def regions(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Street-like labels: blocks of 32 x 32 pixels, every tenth one ignored; one predicted pixel in ten is wrong."""
    n, height, width = SHAPE
    blocks = torch.randint(0, CLASSES, (n, height // 32, width // 32), generator=generator)
    blocks[torch.rand(blocks.shape, generator=generator) < 0.1] = IGNORE
    target = blocks.repeat_interleave(32, dim=1).repeat_interleave(32, dim=2)
    other = torch.randint(0, CLASSES, SHAPE, generator=generator)
    wrong = (torch.rand(SHAPE, generator=generator) < 0.1) | (target == IGNORE)
    return torch.where(wrong, other, target), target


def noise(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Every pixel by itself, every tenth one ignored."""
    target = torch.randint(0, CLASSES, SHAPE, generator=generator)
    target[torch.rand(SHAPE, generator=generator) < 0.1] = IGNORE
    return torch.randint(0, CLASSES, SHAPE, generator=generator), target


def medians(contenders: dict[str, Callable[[Tensor, Tensor], object]], data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Milliseconds of one call; the contenders take turns, in a new order each round."""
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(WARM_UP + ROUNDS):
        for name in order.sample(list(contenders), len(contenders)):
            start = time.perf_counter()
            contenders[name](*data)
            seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values[WARM_UP:]) for name, values in seconds.items()}


def main() -> None:
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(0)
    theirs = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE, validate_args=False)
    ours = ConfusionMatrix(num_classes=CLASSES, ignore_index=IGNORE)
    contenders: dict[str, Callable[[Tensor, Tensor], object]] = {
        "`MulticlassConfusionMatrix.update`": theirs.update,
        "`ConfusionMatrix.update`": ours.update,
        "`confusion_matrix`": lambda prediction, target: confusion_matrix(prediction, target, CLASSES, IGNORE),
        "`confusion_per_image`": lambda prediction, target: confusion_per_image(prediction, target, CLASSES, IGNORE),
    }
    inputs = {
        "regions, int64": regions(generator),
        "noise, int64": noise(generator),
    }
    inputs["regions, uint8"] = tuple(labels.byte() for labels in inputs["regions, int64"])
    inputs["one pixel, int64"] = (torch.zeros(1, 1, 1, dtype=torch.int64), torch.zeros(1, 1, 1, dtype=torch.int64))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before\n")
    print("| input | call | median ms | of torchmetrics |\n|---|---|---|---|")
    for case, data in inputs.items():
        times = medians(contenders, data)
        reference = next(iter(times.values()))
        for name, value in times.items():
            print(f"| {case} | {name} | {value:.3f} | {value / reference:.3f} |", flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
