"""`browse`: look at samples exactly as the network gets them, before a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atrous.cli.app import run_command
from atrous.config.values import NonNegativeInt, PositiveInt, Split


@dataclass(frozen=True)
class Settings:
    """See conf/browse.yaml."""

    split: Split
    count: PositiveInt
    epoch: NonNegativeInt
    compare: NonNegativeInt
    compare_epochs: PositiveInt
    out: Path
    overrides: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous browse [key=value ...]`; see conf/browse.yaml."""
    run_command("browse", Settings, run, argv)


def run(settings: Settings) -> None:
    """Writes a page and a picture."""
    from atrous.config.compose import choice, compose_groups

    config = compose_groups(settings.overrides, required=["data"])
    data = choice("data", settings.overrides)

    from atrous.engine.browse import evaluation_samples, over_epochs, training_samples
    from atrous.engine.build import build_datamodule
    from atrous.engine.trainer import quiet_lightning
    from atrous.pages.browse import BrowsedSample, BrowsedSplit, page, sheet
    from atrous.pages.images import save_image
    from atrous.system.files import write_text

    quiet_lightning()
    split, epoch, count, out = settings.split, settings.epoch, settings.count, settings.out
    # Neither changes a batch: samples are made here, and only those that are shown.
    datamodule = build_datamodule({**config, "data": {**config["data"], "num_workers": 0, "cache": "none"}})
    compared: list[tuple[BrowsedSample, list[BrowsedSample]]] = []
    if split == "train":
        shown = list(training_samples(datamodule, epoch, count))
        compared = list(over_epochs(datamodule, shown, images=settings.compare, epochs=settings.compare_epochs))
    else:
        shown = list(evaluation_samples(datamodule, split, count))
    about = BrowsedSplit(
        data=data,
        split=split,
        length=len(datamodule.dataset(split)),
        seed=datamodule.seed,
        epoch=epoch if split == "train" else None,
        batch_size=datamodule.batch_size if split == "train" else datamodule.eval_batch_size,
        class_info=datamodule.class_info,
    )
    write_text(out / f"{split}.html", page(about, shown, compared))
    save_image(out / f"{split}.png", sheet(about, shown))
    if len(shown) < count:
        print(f"count={count}: there are only {len(shown)}, and all are shown")
    print(f"{about.title(len(shown))}\nwritten to {out / f'{split}.html'} and {out / f'{split}.png'}")
