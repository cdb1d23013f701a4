"""`tune_crf`: find the dense CRF's settings for a checkpoint on a split by trying them all."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from atrous.cli.app import run_command
from atrous.config.values import Accelerator, NotEmpty, PositiveInt, Split

Numbers = Annotated[list[float], NotEmpty()]


@dataclass(frozen=True)
class Settings:
    """See conf/tune_crf.yaml."""

    ckpt: Path
    split: Split
    images: PositiveInt | None
    bilateral_weight: Numbers
    bilateral_sxy: Numbers
    bilateral_srgb: Numbers
    gaussian_weight: Numbers
    gaussian_sxy: Numbers
    iterations: Annotated[list[PositiveInt], NotEmpty()]
    out: Path
    accelerator: Accelerator | None
    trusted: list[str]
    overrides: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous tune_crf ckpt=... [key=value ...]`; see conf/tune_crf.yaml."""
    run_command("tune_crf", Settings, run, argv)


def run(settings: Settings) -> None:
    """Shows the best settings, as `evaluate` and `predict` take them, and writes all to `out/tune_crf.csv`."""
    from rich.console import Console
    from rich.progress import track

    from atrous.crf.dense_crf import DenseCRF
    from atrous.engine.checkpoint import restore
    from atrous.engine.trainer import quiet_lightning
    from atrous.engine.tune_crf import base_mode, tune_crf
    from atrous.report.crf import KNOBS, crf_overrides, crf_table
    from atrous.system.files import write_text
    from atrous.system.text import csv_text

    *knobs, _ = KNOBS
    counts = sorted(settings.iterations)
    combinations = itertools.product(*(vars(settings)[knob] for knob in knobs))
    grid = [dict(zip(knobs, values, strict=True)) for values in combinations]
    crfs = [
        DenseCRF(**values, iterations=counts[-1]) for values in grid
    ]  # says what is impossible before anything runs
    quiet_lightning()
    restored = restore(settings.ckpt, settings.overrides, trusted=settings.trusted, accelerator=settings.accelerator)
    console = Console()
    alone, found, images = tune_crf(
        restored,
        crfs,
        iterations=counts,
        split=settings.split,
        images=settings.images,
        track=lambda steps, total: track(
            steps, "trying", total=total, console=console, disable=not sys.stdout.isatty()
        ),
    )
    rows = sorted(({**grid[int(row.pop("place"))], **row} for row in found), key=lambda row: -row["miou"])
    console.print(crf_table(rows, alone, f"{settings.split}: {images} images"))
    columns = [*KNOBS, *alone]
    path = settings.out / "tune_crf.csv"
    write_text(path, csv_text(columns, [[row.get(column, 0) for column in columns] for row in (alone, *rows)]))
    print(f"written to {path}, its first row is without the CRF")
    if rows[0]["miou"] <= alone["miou"]:
        print("no combination is better than the network alone; leave the CRF out, or try smaller weights")
    else:
        base = "" if str(base_mode(restored)) == "whole" else ", and the mode of this run as inference.base"
        print(f"use the best in evaluate and predict{base}:\n  {crf_overrides(rows[0])}")
