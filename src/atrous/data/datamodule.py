"""From a dataset to batches: one LightningDataModule for every dataset."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from atrous.data.audit.cache import check_before_training, check_together
from atrous.data.cache import InMemory, OnDisk
from atrous.data.class_counts import count_classes
from atrous.data.io.remote import local_places
from atrous.data.loader import LateLoader, leave_signals_to_the_parent, worker_context
from atrous.data.sampling import Key, RareClasses, TrainSampler, Transformed, eval_keys
from atrous.data.transforms import EvalTransform, Transform
from atrous.errors import ConfigError, DataError
from atrous.system.devices import cores
from atrous.types import Batch, ClassInfo, Sample, SegmentationDataset

SPLITS = ("train", "val", "test")
CACHES = ("none", "ram", "disk")


class SegmentationDataModule(LightningDataModule):
    """Datasets, transforms and batches of one experiment.

    A split is built when it is first asked for, so that a missing test split stops nothing but its evaluation.

    Args:
        dataset: Builds a split: called with `split`, with that split's settings and with `shared`.
        num_classes: Number of classes, which must be the dataset's.
        train_transform: For the train split.
        eval_transform: For the others.
        batch_size: Samples per optimizer step, over all devices and accumulated batches.
        eval_batch_size: Samples per batch and device in evaluation. Above 1 the images must be of one size.
        num_workers: Loader processes per device; null: one per core but one, at most 8.
        cache: "ram": keep the decoded images in memory; they are read in `setup`. "disk": keep them in `cache_folder`,
            for all processes and later runs. "none": decode them every epoch.
        cache_folder: Holds what is kept on disk; also the dataset's, where that keeps something.
        rare_class_temperature: Draw images with rare classes more often, see `RareClasses`. null: each image once.
        rare_class_min_pixels: Pixels of a class that an image must have to be drawn for it.
        seed: Sample order is a function of (seed, epoch), augmentation of (seed, epoch, index).
        train: Settings of the dataset for the train split alone, such as {length: 1000}.
        val: As `train`.
        test: As `train`.
        shared: All further settings go to the dataset, so that a user types data.root=... .

    Raises:
        ConfigError: If the dataset does not take one of its settings, or lacks one.
    """

    def __init__(
        self,
        *,
        dataset: Callable[..., SegmentationDataset],
        num_classes: int,
        train_transform: Transform,
        eval_transform: EvalTransform,
        batch_size: int,
        eval_batch_size: int = 1,
        num_workers: int | None = None,
        cache: str = "none",
        cache_folder: str | None = None,
        rare_class_temperature: float | None = None,
        rare_class_min_pixels: int = 3000,
        seed: int = 0,
        train: Mapping[str, Any] | None = None,
        val: Mapping[str, Any] | None = None,
        test: Mapping[str, Any] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        if cache not in CACHES:
            raise ConfigError(f"data.cache={cache} is impossible; choose one of {', '.join(CACHES)}.")
        self.cache = cache
        self.cache_folder = cache_folder
        self.rare_class_temperature = rare_class_temperature
        self.rare_class_min_pixels = rare_class_min_pixels
        self._rare: RareClasses | None = None
        self.seed = seed
        self._build = dataset
        if "cache_folder" in inspect.signature(dataset).parameters:
            shared["cache_folder"] = cache_folder
        own = dict(zip(SPLITS, (train or {}, val or {}, test or {}), strict=True))
        self._settings = {split: {**shared, **settings, "split": split} for split, settings in own.items()}
        self._datasets: dict[str, SegmentationDataset] = {}
        self._keys: dict[str, str | None] = {}  # of the files of each split in `_datasets`
        self._start = (0, 0)  # the epoch and batch that training begins with
        for split, settings in own.items():
            if settings.get("split", split) != split:
                raise ConfigError(
                    f"data.{split}.split={settings['split']}: data.{split} is the split {split!r}; a data set that can train "
                    "on another one has a setting for it, see its yaml."
                )
        for settings in self._settings.values():
            try:
                inspect.signature(dataset).bind(**settings)
            except TypeError as error:
                raise ConfigError(f"data: {error}; expected the settings of {_name(dataset)}.") from error

    @property
    def class_info(self) -> ClassInfo:
        """The dataset's classes, from a split that is built already or else from the train split."""
        dataset = next(iter(self._datasets.values()), None) or self.dataset("train")
        return dataset.class_info

    def dataset(self, split: str) -> SegmentationDataset:
        """The samples of a split, checked when it is first asked for: by what an audit found, or else on a few files.

        Raises:
            ValueError: If `split` is not train, val or test.
            ConfigError: If the dataset's classes are not `num_classes`, or its ignore index not the transform's.
            DataError: If files are missing or bad.
        """
        if split not in self._datasets:
            dataset = self.raw_dataset(split)
            self._keys[split] = check_before_training(dataset, self.cache_folder)
            if self.cache == "ram":
                dataset = InMemory(dataset)
            elif self.cache == "disk":
                if self.cache_folder is None:
                    raise ConfigError("data.cache=disk needs data.cache_folder=..., a folder for the decoded images.")
                dataset = OnDisk(dataset, folder=self.cache_folder)
            self._datasets[split] = dataset
        return self._datasets[split]

    def raw_dataset(self, split: str) -> SegmentationDataset:
        """A split as its files hold it, neither checked nor cached; raises as `dataset`, but reads no sample."""
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
        cv2.setNumThreads(0)  # a worker that is forked after OpenCV has started threads can hang
        dataset = self._build(**local_places(self._settings[split], self.cache_folder))
        self._check_classes(dataset.class_info)
        return dataset

    def check(self) -> None:
        """Finds, before a training, what `dataset` and `train_dataloader` would raise on the train and val split."""
        self.dataset("val")
        self._check_length(self.dataset("train"))
        check_together(self._keys, self.cache_folder)
        self._rare_classes()

    def normalise(self, image: NDArray[np.uint8]) -> Tensor:
        """An image as evaluation shows it to the network: uint8 RGB (H, W, 3) to float32 (3, H, W)."""
        return self.eval_transform.normalise(image)

    def setup(self, stage: str) -> None:
        """Builds and checks the splits that `stage` ("fit" or "validate") needs; see `dataset` for errors."""
        for split in {"fit": ("train", "val"), "validate": ("val",)}.get(
            stage, ()
        ):  # the scored split is not always `test`
            self.dataset(split)

    def state_dict(self) -> dict[str, int]:
        """The epoch and its batches done, for checkpoints."""
        if self.trainer is None:
            return {}
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.state_dict()
        return {"epoch": self.trainer.current_epoch, "batches": done["processed"]}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The training's first epoch will begin where the checkpoint's was, without reading what came before."""
        self._start = (state_dict["epoch"], state_dict["batches"])

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches of `batch_size` over devices and accumulated batches.

        Raises:
            ConfigError: If `batch_size` can't be divided so, or is larger than the split.
        """
        dataset = self.dataset("train")
        rank, world_size = self._place()
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1
        parts = world_size * accumulated
        if self.batch_size % parts:
            below = self.batch_size // parts * parts
            works = f"{below} or {below + parts}" if below else f"{parts}"
            raise ConfigError(
                f"data.batch_size={self.batch_size} can't be divided over {world_size} devices x "
                f"trainer.accumulate_grad_batches={accumulated}; set data.batch_size to {works}."
            )
        self._check_length(dataset)
        sampler = TrainSampler(
            length=len(dataset),
            step_size=self.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            rare_classes=self._rare_classes(),
            start=(self._start[0], self._start[1] * (self.batch_size // parts)),
        )
        return self._loader(dataset, self.train_transform, sampler, self.batch_size // parts)

    def val_dataloader(self) -> DataLoader[Sample]:
        """See `eval_dataloader`."""
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """See `eval_dataloader`."""
        return self.eval_dataloader("test")

    def eval_dataloader(self, split: str) -> DataLoader[Sample]:
        """A split in order, without augmentation, in batches of `eval_batch_size`; each sample once over all devices."""
        dataset = self.dataset(split)
        rank, world_size = self._place()
        keys = eval_keys(len(dataset), rank=rank, world_size=world_size)
        return self._loader(dataset, self.eval_transform, keys, self.eval_batch_size)

    def _loader(
        self, dataset: SegmentationDataset, transform: Transform, sampler: Iterable[Key], batch_size: int
    ) -> DataLoader[Sample]:
        workers = min(self._cores() - 1, 8) if self.num_workers is None else self.num_workers
        return LateLoader(
            Transformed(dataset=dataset, transform=transform, seed=self.seed),
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            collate_fn=_collate,
            worker_init_fn=leave_signals_to_the_parent,
            multiprocessing_context=worker_context() if workers else None,
            generator=torch.Generator(),  # the loader draws worker seeds; from its own, the model's stay the same
        )

    def _place(self) -> tuple[int, int]:
        """Rank and world size."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _cores(self) -> int:
        """Cores per process of this machine."""
        return max(1, cores() // (self.trainer.num_devices if self.trainer else 1))

    def _rare_classes(self) -> RareClasses | None:
        """Draws the train split's samples; made once. None where every image comes once."""
        if self.rare_class_temperature is not None and self._rare is None:
            train = self.raw_dataset("train")  # whose masks can be read alone
            self._rare = RareClasses(
                count_classes(train, folder=self.cache_folder),
                names=train.class_info.names,
                temperature=self.rare_class_temperature,
                min_pixels=self.rare_class_min_pixels,
            )
        return self._rare

    def _check_length(self, train: SegmentationDataset) -> None:
        if len(train) < self.batch_size:
            raise ConfigError(
                f"the train split has {len(train)} images, fewer than data.batch_size={self.batch_size}; set "
                f"data.batch_size to {len(train)} or less."
            )

    def _check_classes(self, info: ClassInfo) -> None:
        if info.num_classes != self.num_classes:
            raise ConfigError(
                f"data.num_classes={self.num_classes}, but the dataset has {info.num_classes} classes: "
                f"{', '.join(info.names)}. Set data.num_classes={info.num_classes}."
            )
        padding = getattr(self.train_transform, "ignore_index", info.ignore_index)
        if padding != info.ignore_index:
            raise ConfigError(
                f"data.train_transform.ignore_index={padding}, but the dataset ignores {info.ignore_index}; padding "
                f"would be taken for a class. Set data.train_transform.ignore_index={info.ignore_index}."
            )


def _name(dataset: Callable[..., SegmentationDataset]) -> str:
    target = dataset.func if isinstance(dataset, functools.partial) else dataset
    return getattr(target, "__name__", str(target))


def _collate(samples: list[Sample]) -> Batch:
    shapes = {tuple(sample["image"].shape[1:]): sample["name"] for sample in samples}
    if len(shapes) > 1:
        found = ", ".join(f"{name} {height} x {width}" for (height, width), name in shapes.items())
        raise DataError(f"images of one batch differ in size: {found} pixels. Set data.eval_batch_size=1.")
    return cast(Batch, default_collate(samples))
