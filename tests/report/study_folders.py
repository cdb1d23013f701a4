"""Writers of run folders as trainings leave them, without a training; the same arguments write the same files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import yaml
from PIL import Image

from atrous.report.study import Study, study_of
from atrous.runs.run import find_runs

CLASSES = ("road", "car", "sky")
PALETTE = ((128, 64, 128), (0, 0, 142), (70, 130, 180))
IMAGES = 30


def write_run(
    folder: Path,
    *,
    accuracy: float = 0.8,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    command: str = "python train.py",
    status: str = "finished",
    classes: tuple[str, ...] = CLASSES,
    error: str = "",
    cost: dict[str, Any] | None = None,
    samples: tuple[str, ...] = (),
    curve: int = 6,
    **result: Any,
) -> Path:
    """A run whose share of right pixels is `accuracy`; the truth is the same for all, the errors go by the seed.

    `settings` are dotted keys of the config.
    """
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "name": f"scenes-{folder.name}",
        "seed": seed,
        "paths": {"runs": str(folder.parent)},
        "data": {"seed": seed, "batch_size": 8},
        "model": {"_target_": "atrous.models.unet.UNet", "output_stride": 16, "dilations": None},
        "callbacks": {"best": {"dirpath": str(folder / "checkpoints")}},
        "logger": {"csv": {"save_dir": str(folder)}},
    }
    for key, value in (settings or {}).items():
        part = config
        *path, last = key.split(".")
        for name in path:
            part = part.setdefault(name, {})
        part[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    content: dict[str, Any] = {"status": status, "command": command, "started": "2026-01-01T00:00:00+00:00"}
    content["provenance"] = {"git": {"commit": "0123456789abcdef", "dirty": False}, "seed": seed}
    if error:
        content["error"] = error
    if status == "finished":
        matrices = confusion(accuracy, seed, len(classes))
        np.savez_compressed(
            folder / "confusion.npz",
            names=[f"image {index}" for index in range(IMAGES)],
            matrices=matrices,
            classes=classes,
        )
        total = matrices.sum(0).astype(float)
        iou = np.diag(total) / (total.sum(0) + total.sum(1) - np.diag(total))
        content |= {
            "ended": "2026-01-01T01:00:00+00:00",
            "scores": {"miou": float(iou.mean()), "pixel_accuracy": float(np.trace(total) / total.sum())},
            "per_class": {"names": list(classes), "iou": iou.tolist()},
            "protocol": {"split": "val", "images": IMAGES, "data": "0123456789ab", "classes": len(classes)},
            "cost": cost or {"parameters": 5_000_000, "macs": 2_000_000_000, "train_seconds": 90.0},
        }
        rows = ["step,train/loss,val/miou"]
        for step in range(curve):
            rows.append(f"{step * 10},{2 / (1 + step) + 0.01 * seed:.4f},")
            rows.append(f"{step * 10 + 9},,{iou.mean() * (1 - 0.5 ** (step + 1)):.4f}")
        (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
        for name in samples:
            write_sample(folder / "samples" / f"{name}.png", accuracy, seed)
    (folder / "result.json").write_text(json.dumps({**content, **result}))
    return folder


def confusion(accuracy: float, seed: int, classes: int = 3) -> np.ndarray:
    """int32 (IMAGES, C, C)."""
    pixels = np.random.default_rng(0).integers(100, 400, (IMAGES, classes))
    right = np.random.default_rng([seed, int(1000 * accuracy)]).binomial(pixels, accuracy)
    matrices = np.zeros((IMAGES, classes, classes), np.int32)
    for label in range(classes):
        matrices[:, label, label] = right[:, label]
        matrices[:, label, label - 1] += pixels[:, label] - right[:, label]
    return matrices


def write_sample(path: Path, accuracy: float, seed: int, size: tuple[int, int] = (90, 120)) -> None:
    """image | truth | prediction, with gaps of 4 white pixels."""
    height, width = size
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:height, :width]
    truth = np.where(down < height // 3, 2, np.where((across // 20) % 3 == 0, 1, 0))
    wrong = rng.random((-(-height // 6), -(-width // 6))).repeat(6, 0).repeat(6, 1)[:height, :width] > accuracy
    prediction = np.where(wrong, (truth + 1) % 3, truth)
    palette = np.array(PALETTE, np.uint8)
    image = np.clip(palette[truth].astype(int) + rng.integers(-30, 30, (height, width, 3)), 0, 255).astype(np.uint8)
    gap = np.full((height, 4, 3), 255, np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate([image, gap, palette[truth], gap, palette[prediction]], 1)).save(path)


def folded(folder: Path, compare: Callable[[Any, Any], Any], baseline: str | None = None) -> Study:
    """The runs below a folder as a report folds them, with differences by `compare` of two sides' folders."""
    runs, unread = find_runs([folder])
    options: dict[str, Any] = {"ignored": [("name",), ("paths",), ("logger",)], "baseline": baseline, "resamples": 10}
    made = lambda others, **_: SimpleNamespace(difference=lambda own: compare(own, others))  # noqa: E731
    with mock.patch("atrous.report.study.Baseline", made):
        return study_of(runs, unread, **options)
