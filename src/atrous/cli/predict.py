"""`predict`: label images with a checkpoint."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atrous.cli.app import run_command
from atrous.config.values import PositiveInt, Split
from atrous.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """See conf/predict.yaml."""

    ckpt: str
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
    run_command("predict", Settings, lambda settings: run(vars(settings), settings.overrides), argv)


def run(settings: dict[str, Any], overrides: list[str]) -> list[Path]:
    """Returns the label PNGs that it wrote."""
    from atrous.data.io.listing import find_images

    if (settings["images"] is None) == (settings["split"] is None):
        raise ConfigError(
            f"images={settings['images']}, split={settings['split']}: give one of them, images=FOLDER or the split of a data "
            "set, such as split=test."
        )
    out = settings["out"]
    kinds = ["labels"] + [
        kind for kind, key in (("overlays", "overlay"), ("probabilities", "probabilities")) if settings[key]
    ]
    files: dict[str, Path] = {}
    if settings["images"] is not None:
        jobs = output_names(find_images(settings["images"]))
        refuse_overwriting(jobs, out, kinds)
        files = {name: path for path, name in jobs.items()}

    import numpy as np
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from atrous.data.io.strips import open_image
    from atrous.engine.build import build_datamodule
    from atrous.engine.checkpoint import check_classes, restore
    from atrous.engine.predict import Predictor, write_prediction
    from atrous.engine.trainer import quiet_lightning

    quiet_lightning()
    restored = restore(Path(settings["ckpt"]), settings, overrides)
    info = restored.class_info
    images: Sequence[str | int] = list(files)
    if settings["split"] is not None:
        datamodule = build_datamodule(restored.config)
        dataset = datamodule.dataset(settings["split"])
        check_classes(restored, dataset.class_info)
        info, images = dataset.class_info, range(len(dataset))
    predictor = Predictor(restored)
    written = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(), disable=not sys.stdout.isatty()) as progress:
        whole = progress.add_task("images", total=len(images))
        rows = progress.add_task("rows of this image", total=None)
        for key in images:
            if isinstance(key, str):
                out.mkdir(parents=True, exist_ok=True)
                progress.reset(rows, description="decoding, %", total=100)
                image = open_image(
                    files[key],
                    max_pixels=settings["max_pixels"],
                    folder=out,
                    progress=lambda share: progress.update(rows, completed=int(100 * share)),
                )
                name = key
            else:
                raw = dataset[key]
                name, image = raw.name, np.ascontiguousarray(raw.image)
            progress.reset(rows, description="rows of this image", total=image.shape[0])
            label = write_prediction(
                predictor,
                image,
                out,
                name,
                kinds,
                info,
                overlay_size=settings["overlay_size"],
                advance=lambda count: progress.advance(rows, count),
            )
            written.append(label)
            progress.advance(whole)
    print(f"{len(written)} image{'s' * (len(written) != 1)} labelled, written to {out}: {', '.join(kinds)}")
    print("label values: " + ", ".join(f"{value} {name}" for value, name in zip(info.ids, info.names, strict=True)))
    return written


def output_names(images: dict[Path, Path]) -> dict[Path, str]:
    """The name of each image's results without suffix; where two images differ in the suffix alone, with it.

    Raises:
        ConfigError: If two images would still share a name.
    """
    stems = Counter(str(name.with_suffix("")) for name in images.values())
    names = {
        path: str(name if stems[str(name.with_suffix(""))] > 1 else name.with_suffix(""))
        for path, name in images.items()
    }
    shared = [name for name, count in Counter(names.values()).items() if count > 1]
    if shared:
        raise ConfigError(
            f"several images are called {shared[0]}; their results would overwrite each other. Predict one folder at a time."
        )
    return names


def refuse_overwriting(jobs: dict[Path, str], out: Path, kinds: list[str]) -> None:
    """Raises ConfigError where a result would be written over an input image."""
    inputs = {path.resolve() for path in jobs}
    for kind in kinds:
        for name in jobs.values():
            target = (out / kind / f"{name}.png").resolve()
            if target in inputs:
                raise ConfigError(
                    f"the result {target} would overwrite an input image. Choose another folder with out=..."
                )
