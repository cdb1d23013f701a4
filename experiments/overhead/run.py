"""Seconds per training step: atrous's whole training (Lightning, callbacks, logger) against a bare PyTorch loop.

    python experiments/overhead/run.py

Both run the same network, loss, optimizer and schedule on the same batches in memory. Blocks of steps alternate within
one process, so that a change in the machine's speed meets both; the figure is the ratio of the medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger

from atrous.callbacks.nan_guard import NaNGuard
from atrous.callbacks.progress import Progress
from atrous.config.compose import CONF_DIR, prepare
from atrous.engine.trainer import build_trainer, quiet_lightning
from atrous.tasks.semantic import SemanticTask
from atrous.types import ClassInfo

CLASSES, SIZE, BATCH = 11, 128, 8
BLOCKS, STEPS, WARM_UP = 10, 25, 5


class Clock(pl.Callback):
    """Notes when each step starts."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.times.append(time.perf_counter())


def parts(seed: int) -> tuple[dict[str, Any], SemanticTask]:
    overrides = ["trainer=cpu", "trainer.max_epochs=1", f"data.num_classes={CLASSES}", "logger=csv"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    torch.manual_seed(seed)
    info = ClassInfo(tuple(map(str, range(CLASSES))), tuple((i, i, i) for i in range(CLASSES)))
    made = {name: instantiate(cfg[name], _convert_="all") for name in ("model", "loss", "optimizer", "scheduler")}
    trainer = instantiate(cfg.trainer, _convert_="all", _partial_=True).keywords
    return {**trainer, "_target_": "lightning.pytorch.Trainer"}, SemanticTask(**made, class_info=info, config={})


def with_atrous(batches: list[dict[str, Any]]) -> list[float]:
    options, task = parts(seed=0)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        trainer = build_trainer(
            options,
            callbacks=[Progress(), NaNGuard(), clock],
            loggers=[CSVLogger(folder, name="", version="")],
            folder=Path(folder),
        )
        trainer.fit(task, torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return [b - a for a, b in zip(clock.times[WARM_UP:], clock.times[WARM_UP + 1 :], strict=False)]


def bare(batches: list[dict[str, Any]]) -> list[float]:
    _, task = parts(seed=0)
    model, loss_function = task.model.train(), task.loss
    optimizer = task.make_optimizer(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: task.schedule(step, len(batches)))
    times = []
    for batch in batches:
        times.append(time.perf_counter())
        optimizer.zero_grad()
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        loss = loss_function(model(images), batch["mask"])
        loss.backward()
        optimizer.step()
        scheduler.step()
    return [b - a for a, b in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)]


def main() -> None:
    prepare()
    quiet_lightning()
    torch.manual_seed(0)
    batches = [
        {
            "image": torch.randn(BATCH, 3, SIZE, SIZE),
            "mask": torch.randint(0, CLASSES, (BATCH, SIZE, SIZE)),
            "name": [str(i) for i in range(BATCH)],
            "index": torch.arange(BATCH),
        }
        for _ in range(4)
    ]
    batches = [batches[i % len(batches)] for i in range(STEPS)]
    seconds: dict[str, list[float]] = {"bare PyTorch": [], "atrous": []}
    ratios = []
    for block in range(BLOCKS):
        order = [("bare PyTorch", bare), ("atrous", with_atrous)]
        medians = {}
        for name, function in order if block % 2 == 0 else order[::-1]:
            times = function(batches)
            seconds[name] += times
            medians[name] = statistics.median(times)
        ratios.append(medians["atrous"] / medians["bare PyTorch"])
    print(f"| loop | median ms per step, {BATCH} x {SIZE} x {SIZE} |\n|---|---|")
    for name, times in seconds.items():
        print(f"| {name} | {1000 * statistics.median(times):.1f} |")
    print(
        f"\nratio of medians {statistics.median(seconds['atrous']) / statistics.median(seconds['bare PyTorch']):.3f}; ",
        end="",
    )
    print(
        f"median over {BLOCKS} pairs of blocks {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
