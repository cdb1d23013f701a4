"""`predict`: label images with a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atrous.cli.app import run_command
from atrous.config.values import PositiveInt, Split
from atrous.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """See conf/predict.yaml."""

    ckpt: Path
    images: str | None
    split: Split | None
    out: Path
    overlay: bool
    overlay_size: PositiveInt
    probabilities: bool
    max_pixels: PositiveInt
    accelerator: str | None
    trusted: list[str]
    overrides: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous predict ckpt=... images=... [key=value ...]`; see conf/predict.yaml."""
    run_command("predict", Settings, run, argv)


def run(settings: Settings) -> None:
    """Writes the labels, and where they are asked for overlays and probabilities, of all images."""
    if (settings.images is None) == (settings.split is None):
        raise ConfigError(
            f"images={settings.images}, split={settings.split}: give one of them, images=FOLDER or the split of a data set, such "
            "as split=test."
        )
    from atrous.data.io.listing import find_images, refuse_overwriting, result_names

    out, kinds = settings.out, ["labels"]
    kinds += ["overlays"] * settings.overlay + ["probabilities"] * settings.probabilities
    names: dict[Path, str] = {}
    if settings.images is not None:
        names = result_names(find_images(settings.images))
        refuse_overwriting(names, out, kinds)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from atrous.engine.checkpoint import restore
    from atrous.engine.predict import Predictor, open_files, open_split, write_prediction
    from atrous.engine.trainer import quiet_lightning

    quiet_lightning()
    restored = restore(settings.ckpt, settings.overrides, trusted=settings.trusted, accelerator=settings.accelerator)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(), disable=not sys.stdout.isatty()) as progress:
        done = progress.add_task("images", total=None)
        rows = progress.add_task("rows of this image", total=None)

        def decoding(share: float) -> None:
            progress.update(rows, description="decoding, %", total=100, completed=int(100 * share))

        if settings.split is not None:
            info, count, images = open_split(restored, settings.split)
        else:
            info, count = restored.class_info, len(names)
            images = open_files(names, max_pixels=settings.max_pixels, folder=out, progress=decoding)
        predictor = Predictor(restored)
        progress.update(done, total=count)
        for name, image in images:
            progress.reset(rows, description="rows of this image", total=image.shape[0])
            write_prediction(
                predictor,
                image,
                out,
                name,
                kinds,
                info,
                overlay_size=settings.overlay_size,
                advance=lambda done: progress.advance(rows, done),
            )
            progress.advance(done)
    print(f"{count} image{'s' * (count != 1)} labelled, written to {out}: {', '.join(kinds)}")
    print("label values: " + ", ".join(f"{value} {name}" for value, name in zip(info.ids, info.names, strict=True)))
