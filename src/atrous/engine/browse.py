"""Samples exactly as a network gets them, un-normalised to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from atrous.data.datamodule import SegmentationDataModule
from atrous.pages.browse import BrowsedSample


def training_samples(datamodule: SegmentationDataModule, epoch: int, count: int) -> Iterator[BrowsedSample]:
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


def evaluation_samples(datamodule: SegmentationDataModule, split: str, count: int) -> Iterator[BrowsedSample]:
    """Evenly spaced samples: neighbours in a split's order are often frames of one scene."""
    loader: Any = datamodule.eval_dataloader(split)
    keys = list(loader.sampler)
    count = min(count, len(keys))
    for number in range(count):
        key = keys[number * (len(keys) - 1) // max(1, count - 1)]
        yield _shown(datamodule, datamodule.eval_transform, loader.dataset[key], key)


def over_epochs(
    datamodule: SegmentationDataModule, shown: list[BrowsedSample], *, images: int, epochs: int
) -> Iterator[tuple[BrowsedSample, list[BrowsedSample]]]:
    """The first images, each without augmentation and in several epochs."""
    loader: Any = datamodule.train_dataloader()
    keys: dict[int, tuple[int, ...]] = {}
    for sample in shown:
        keys.setdefault(sample.key[1], sample.key)
    for key in islice(keys.values(), images):
        raw = datamodule.dataset("train")[key[1]]
        image, mask = datamodule.eval_transform(raw.image, raw.mask)
        plain: Any = {"image": image, "mask": mask, "name": raw.name}
        later = [(key[0] + epoch, *key[1:]) for epoch in range(epochs)]
        yield (
            _shown(datamodule, datamodule.eval_transform, plain, key),
            [_shown(datamodule, datamodule.train_transform, loader.dataset[again], again) for again in later],
        )


def _shown(datamodule: SegmentationDataModule, transform: object, sample: Any, key: tuple[int, ...]) -> BrowsedSample:
    """Un-normalises by the transform's own statistics; by the evaluation's where a user's transform has none."""
    mean, std = (getattr(transform, name, getattr(datamodule.eval_transform, name)) for name in ("mean", "std"))
    return BrowsedSample.from_batch(
        sample["image"].numpy(), sample["mask"].numpy(), sample["name"], key, mean=mean, std=std
    )
