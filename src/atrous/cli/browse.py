"""`browse`: look at samples exactly as the network gets them, before a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from atrous.cli.app import run_hydra
from atrous.config.checks import check_config
from atrous.config.compose import resolved
from atrous.errors import ConfigError

if TYPE_CHECKING:
    from atrous.data.datamodule import SegmentationDataModule
    from atrous.pages.browse import Shown

_LEAST = {"count": 1, "epoch": 0, "compare": 0, "compare_epochs": 1}


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous browse [key=value ...]`; see conf/browse.yaml."""
    run_hydra(job, "browse", argv)


def job(cfg: DictConfig) -> None:
    """Checks the settings and shows the samples."""
    config = resolved(cfg)
    check_config(config)
    splits = ("train", "val", "test")
    if config["split"] not in splits:
        raise ConfigError(f"split={config['split']} is impossible; choose one of {', '.join(splits)}.")
    for key, least in _LEAST.items():
        if not isinstance(config[key], int) or config[key] < least:
            raise ConfigError(f"{key}={config[key]} is impossible; give a whole number from {least} on.")
    run(config, data=str(HydraConfig.get().runtime.choices["data"]))


def run(config: dict[str, Any], *, data: str) -> list[Path]:
    """Returns the page and the picture that it wrote.

    Args:
        config: The resolved conf/browse.yaml.
        data: What the page calls the data.
    """
    from atrous.engine.build import build_datamodule
    from atrous.engine.trainer import quiet_lightning
    from atrous.pages.browse import Facts, page, sheet
    from atrous.pages.images import save_image
    from atrous.system.files import write_text

    quiet_lightning()
    split, epoch, out = config["split"], config["epoch"], Path(config["out"])
    # Neither changes a batch: samples are made here, and only those that are shown.
    datamodule = build_datamodule({**config, "data": {**config["data"], "num_workers": 0, "cache": "none"}})
    shown = list(_train(datamodule, epoch, config["count"]) if split == "train" else _eval(datamodule, split, config))
    compared = list(_compared(datamodule, shown, config)) if split == "train" else []
    facts = Facts(
        data=data,
        split=split,
        length=len(datamodule.dataset(split)),
        seed=datamodule.seed,
        epoch=epoch if split == "train" else None,
        batch_size=datamodule.batch_size if split == "train" else datamodule.eval_batch_size,
        class_info=datamodule.class_info,
    )
    out.mkdir(parents=True, exist_ok=True)
    written = [out / f"{split}.html", out / f"{split}.png"]
    write_text(written[0], page(facts, shown, compared))
    save_image(written[1], sheet(facts, shown))
    if len(shown) < config["count"]:
        print(f"count={config['count']}: there are only {len(shown)}, and all are shown")
    print(f"{facts.title(len(shown))}\nwritten to {written[0]} and {written[1]}")
    return written


def _train(datamodule: SegmentationDataModule, epoch: int, count: int) -> Iterator[Shown]:
    """The first samples of the epoch, out of the batches of the training's loader."""
    loader: Any = datamodule.train_dataloader()
    loader.sampler.set_epoch(epoch)
    samples = (
        {"image": image, "mask": mask, "name": name}
        for batch in loader
        for image, mask, name in zip(batch["image"], batch["mask"], batch["name"], strict=True)
    )
    for key, sample in zip(loader.sampler, islice(samples, count), strict=False):
        yield _shown(datamodule, datamodule.train_transform, sample, key)


def _eval(datamodule: SegmentationDataModule, split: str, config: dict[str, Any]) -> Iterator[Shown]:
    """Evenly spaced samples: neighbours in a split's order are often frames of one scene."""
    loader: Any = datamodule.eval_dataloader(split)
    keys = list(loader.sampler)
    count = min(config["count"], len(keys))
    for number in range(count):
        key = keys[number * (len(keys) - 1) // max(1, count - 1)]
        yield _shown(datamodule, datamodule.eval_transform, loader.dataset[key], key)


def _compared(
    datamodule: SegmentationDataModule, shown: list[Shown], config: dict[str, Any]
) -> Iterator[tuple[Shown, list[Shown]]]:
    """The first images, each without augmentation and in several epochs."""
    loader: Any = datamodule.train_dataloader()
    keys: dict[int, tuple[int, ...]] = {}
    for sample in shown:
        keys.setdefault(sample.key[1], sample.key)
    for key in islice(keys.values(), config["compare"]):
        raw = datamodule.dataset("train")[key[1]]
        image, mask = datamodule.eval_transform(raw.image, raw.mask)
        plain: Any = {"image": image, "mask": mask, "name": raw.name}
        epochs = [(key[0] + later, *key[1:]) for later in range(config["compare_epochs"])]
        yield (
            _shown(datamodule, datamodule.eval_transform, plain, key),
            [_shown(datamodule, datamodule.train_transform, loader.dataset[epoch], epoch) for epoch in epochs],
        )


def _shown(datamodule: SegmentationDataModule, transform: object, sample: Any, key: tuple[int, ...]) -> Shown:
    """Un-normalises by the transform's own statistics; by the evaluation's where a user's transform has none."""
    from atrous.pages.browse import Shown

    mean, std = (getattr(transform, name, getattr(datamodule.eval_transform, name)) for name in ("mean", "std"))
    return Shown.of(sample["image"].numpy(), sample["mask"].numpy(), sample["name"], key, mean=mean, std=std)
