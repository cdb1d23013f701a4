"""`predict`: label images with a checkpoint, or segment them by a method."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atrous.cli.app import run_command
from atrous.config.values import Accelerator, PositiveInt, Split, Text
from atrous.errors import ConfigError, DataError
from atrous.system.text import setting

if TYPE_CHECKING:
    from atrous.inference.image import Rows


@dataclass(frozen=True)
class Settings:
    """See conf/predict.yaml."""

    ckpt: Path | list[Path] | None
    method: Text | None
    images: Text | None
    split: Split | None
    out: Path
    overlay: bool
    overlay_size: PositiveInt
    probabilities: bool
    iterates: bool
    scribbles: Path | None
    max_pixels: PositiveInt
    accelerator: Accelerator | None
    trusted: list[str]
    overrides: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous predict ckpt=... images=... [key=value ...]`; see conf/predict.yaml."""
    run_command("predict", Settings, run, argv)


def run(settings: Settings) -> None:
    """Writes the labels, and what else is asked for, of all images."""
    if settings.ckpt is not None and settings.method is not None:
        raise ConfigError(
            f"ckpt={setting(settings.ckpt)}, method={setting(settings.method)}: give one of them, ckpt=FILE of a network or a method, such as method=slic."
        )
    if settings.probabilities and settings.method is not None:
        raise ConfigError(f"probabilities=true: method={settings.method} has none; leave it out.")
    for key in ("iterates", "scribbles"):
        if (value := getattr(settings, key)) and settings.method is None:
            raise ConfigError(
                f"{key}={value} is for a method, such as method=graph_cut, not for a network; leave it out."
            )
    if (settings.images is None) == (settings.split is None):
        raise ConfigError(
            f"images={setting(settings.images)}, split={setting(settings.split)}: give one of them, images=FOLDER or the split of a data set, such "
            "as split=test."
        )
    from atrous.data.io.listing import find_images, refuse_overwriting, result_names

    out, kinds = settings.out, ["labels"]
    kinds += ["overlays"] * settings.overlay + ["probabilities"] * settings.probabilities
    kinds += ["iterates"] * settings.iterates
    names: dict[Path, str] = {}
    if settings.images is not None:
        names = result_names(find_images(settings.images))
        refuse_overwriting(names, out, kinds)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from atrous.engine.labellers import open_labeller
    from atrous.engine.predict import label_images, open_files

    labeller = open_labeller(
        settings.ckpt,
        settings.method,
        settings.overrides,
        split=settings.split,
        scribbles=settings.scribbles,
        trusted=settings.trusted,
        accelerator=settings.accelerator,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(), disable=not sys.stdout.isatty()) as progress:
        done = progress.add_task("images", total=None)
        rows = progress.add_task("rows of this image", total=None)

        def decoding(share: float) -> None:
            progress.update(rows, description="decoding, %", total=100, completed=int(100 * share))

        count, images = labeller.images or (
            len(names),
            open_files(names, max_pixels=settings.max_pixels, folder=out, progress=decoding),
        )
        progress.update(done, total=count)

        def write(image: Rows, name: str) -> None:
            progress.reset(rows, description="rows of this image", total=image.shape[0])
            options = {"overlay_size": settings.overlay_size, "advance": lambda done: progress.advance(rows, done)}
            labeller.write(image, out, name, kinds, **options)
            progress.advance(done)

        failed = label_images(images, write, out)
    if count == len(failed) == 1:
        raise DataError(*failed.values())
    count -= len(failed)
    print(f"{count} image{'s' * (count != 1)} labelled, written to {out}: {', '.join(kinds)}")
    print(labeller.legend)
    if failed:
        reasons = "".join(f"\n  {name}: {why}" for name, why in failed.items())
        raise DataError(f"{len(failed)} of {count + len(failed)} images could not be labelled:{reasons}")
