"""`tune_crf`: find the dense CRF's settings for a checkpoint on a split by trying them all."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.cli.app import errors_as_messages
from atrous.cli.settings import own_settings
from atrous.config.compose import prepare
from atrous.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

KNOBS = ("bilateral_weight", "bilateral_sxy", "bilateral_srgb", "gaussian_weight", "gaussian_sxy")
SHOWN = 10  # rows of the table
Row = dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous tune_crf ckpt=... [key=value ...]`; see conf/tune_crf.yaml."""
    prepare()
    with errors_as_messages():
        settings, overrides = own_settings("tune_crf", sys.argv[1:] if argv is None else argv)
        run(settings, overrides)


def run(settings: dict[str, Any], overrides: list[str]) -> list[Row]:
    """Returns the rows it writes to `out/tune_crf.csv`, the best first: settings, `miou`, `pixel_accuracy`."""
    grid = combinations(settings)

    import numpy as np
    import torch
    from rich.console import Console
    from rich.progress import track

    from atrous.crf.dense_crf import DenseCRF
    from atrous.engine.build import build_datamodule
    from atrous.engine.checkpoint import check_classes, restore
    from atrous.engine.trainer import build_trainer, quiet_lightning
    from atrous.inference.image import Decoded
    from atrous.inference.refined import Refined
    from atrous.metrics.confusion import confusion_matrix
    from atrous.metrics.scores import summary
    from atrous.system.files import write_text
    from atrous.system.text import csv_text

    counts = sorted(settings["iterations"])
    crfs = [
        DenseCRF(**knobs, iterations=counts[-1]) for knobs in grid
    ]  # says what is impossible before the network runs
    quiet_lightning()
    restored = restore(Path(settings["ckpt"]), settings, overrides)
    datamodule = build_datamodule(restored.config)
    check_classes(restored, datamodule.class_info)
    trainer = build_trainer(restored.config, callbacks=[], loggers=[], folder=Path(settings["out"]))
    device = trainer.strategy.root_device
    scorer = restored.scorer.to(device).eval()
    base_mode = scorer.inference.base if isinstance(scorer.inference, Refined) else scorer.inference
    dataset = datamodule.dataset(settings["split"])
    classes, ignored = dataset.class_info.num_classes, dataset.class_info.ignore_index
    number = len(dataset) if settings["images"] is None else min(settings["images"], len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist()
    confusions = torch.zeros(len(grid), len(counts), classes, classes, dtype=torch.int64)
    plain = torch.zeros(classes, classes, dtype=torch.int64)
    steps = itertools.product(chosen, range(len(grid)))
    console = Console()
    total = len(chosen) * len(grid)
    for index, place in track(steps, "trying", total=total, console=console, disable=not sys.stdout.isatty()):
        if place == 0:
            raw = dataset[index]
            image, mask = np.ascontiguousarray(raw.image), torch.from_numpy(np.asarray(raw.mask, np.int64))
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                pixels = Decoded(image, restored.normalise, device=device, memory_format=scorer.memory_format)
                scores = torch.cat(list(base_mode(scorer.model, pixels)), dim=2)[0].softmax(0)
            plain += confusion_matrix(scores.argmax(0).cpu(), mask, classes, ignored)
        for iteration, marginals in enumerate(crfs[place].iterates(scores, image)):
            if iteration in counts:
                found = confusion_matrix(marginals.argmax(0).cpu(), mask, classes, ignored)
                confusions[place, counts.index(iteration)] += found

    rows = [
        {**knobs, "iterations": iterations, **_scores(summary(confusion.numpy()))}
        for knobs, per_count in zip(grid, confusions, strict=True)
        for iterations, confusion in zip(counts, per_count, strict=True)
    ]
    rows.sort(key=lambda row: -row["miou"])
    before = _scores(summary(plain.numpy()))
    show(console, rows, before, f"{settings['split']}: {len(chosen)} of {len(dataset)} images")
    out = Path(settings["out"])
    table = [{**dict.fromkeys((*KNOBS, "iterations"), 0), **before}, *rows]
    write_text(out / "tune_crf.csv", csv_text(list(table[0]), [list(row.values()) for row in table]))
    print(f"written to {out / 'tune_crf.csv'}, its first row is without the CRF")
    if rows[0]["miou"] <= before["miou"]:
        print("no combination is better than the network alone; leave the CRF out, or try smaller weights")
    else:
        base = "" if str(base_mode) == "whole" else ", and the mode of this run as inference.base"
        print(f"use the best in evaluate and predict{base}:\n  {as_overrides(rows[0])}")
    return rows


def combinations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """All combinations of the lists.

    Raises:
        ConfigError: If one is not a list, is empty, or `images` or `iterations` hold no whole number from 1 on.
    """
    for key in (*KNOBS, "iterations"):
        values = settings[key]
        numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
        if not numbers or not values:
            raise ConfigError(f"{key}={values} is no list of numbers; give one, such as '{key}=[3,5]' or '{key}=[3]'.")
    if not all(type(value) is int and value >= 1 for value in settings["iterations"]):
        raise ConfigError(
            f"iterations={settings['iterations']} is impossible; give whole numbers from 1 on, such as 'iterations=[5,10]'."
        )
    images = settings["images"]
    if images is not None and (type(images) is not int or images < 1):
        raise ConfigError(
            f"images={images} is impossible; give a whole number from 1 on, or null for all of the split."
        )
    return [dict(zip(KNOBS, values, strict=True)) for values in itertools.product(*(settings[key] for key in KNOBS))]


def show(console: Console, rows: list[Row], before: Row, title: str) -> None:
    """The best rows and the network alone."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for knob in (*KNOBS, "iterations", "mIoU", "accuracy"):
        table.add_column(knob.replace("_", "\n"), justify="right")
    for row in rows[:SHOWN]:
        values = [f"{row[key]:g}" for key in (*KNOBS, "iterations")]
        table.add_row(*values, f"{row['miou']:.4f}", f"{row['pixel_accuracy']:.4f}")
    table.add_section()
    blank = [""] * len(KNOBS)
    table.add_row(*blank, "no CRF", f"{before['miou']:.4f}", f"{before['pixel_accuracy']:.4f}")
    console.print(table)


def as_overrides(row: Row) -> str:
    """The settings as `evaluate` and `predict` take them."""
    return " ".join(["inference=crf", *(f"inference.crf.{key}={row[key]:g}" for key in (*KNOBS, "iterations"))])


def _scores(summary: dict[str, float]) -> Row:
    return {key: summary[key] for key in ("miou", "pixel_accuracy")}
