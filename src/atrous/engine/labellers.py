"""What `predict` labels images with: a checkpoint's network, or a method without one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atrous.classical.method import Segments
from atrous.config.checks import NETWORK
from atrous.config.compose import CONF_DIR, compose_groups
from atrous.config.messages import check_name
from atrous.data.io.files import Mask
from atrous.engine.build import build_datamodule
from atrous.engine.checkpoint import check_classes
from atrous.engine.ensemble import restore_all
from atrous.engine.predict import Named, Predictor, write_prediction
from atrous.engine.predict_segments import read_seeds, write_segments
from atrous.engine.segment import build_method
from atrous.engine.trainer import quiet_lightning
from atrous.errors import DataError
from atrous.types import SegmentationDataset


@dataclass(frozen=True)
class Labeller:
    """Labels images.

    Args:
        write: (image, out, name, kinds, overlay_size=, advance=) -> the label PNG; see `write_prediction`.
        legend: What the label values mean.
        images: How many images the split has that was asked for, and these by name; None: none was.
    """

    write: Callable[..., Path]
    legend: str
    images: tuple[int, Named] | None


def open_labeller(
    ckpt: Path | Sequence[Path] | None,
    method: str | None,
    overrides: Sequence[str],
    *,
    split: str | None,
    scribbles: Path | None = None,
    trusted: Sequence[str] = (),
    accelerator: str | None = None,
) -> Labeller:
    """Opens a checkpoint, published weights or a method.

    Args:
        ckpt: A checkpoint, or its run folder; or a list of them, whose probabilities are averaged;
            None: published weights that the overrides name, unless there is a method.
        method: Of conf/method.
        overrides: Changes to the checkpoint's config, or settings of the method and its data.
        split: train, val or test: also opens it.
        scribbles: Seeds of a method that needs them, see `read_seeds`; else those of a split are drawn from its truth.
        trusted, accelerator: As for `restore`.

    Raises:
        CheckpointError: If the checkpoint won't do, or the split has other classes.
        ConfigError: If there is no such method, or a setting is impossible.
        DataError: If the split can't be read.
    """
    quiet_lightning()
    if method is not None:
        check_name("method", method, sorted(path.stem for path in (CONF_DIR / "method").glob("*.yaml")))
        config = compose_groups([f"method={method}", *overrides], ("method", "matching", "data", "trainer", *NETWORK))
        datamodule = build_datamodule(config) if split is not None else None
        built, masks = build_method(config, datamodule), dict[str, Mask]()
        dataset = None if datamodule is None or split is None else datamodule.dataset(split)
        images = None if dataset is None else _images(dataset, masks)

        def seeds_of(name: str) -> Segments | None:
            if scribbles is not None or dataset is None:
                return None if scribbles is None else read_seeds(scribbles, name)
            return built.seeds_from(masks[name], ignore_index=dataset.class_info.ignore_index)

        write = functools.partial(write_segments, built, seeds_of=seeds_of)
        return Labeller(write, "label values: the segments of each image, numbered from 0", images)
    restored = restore_all(ckpt, overrides, split=split or "val", trusted=trusted, accelerator=accelerator)
    info, images = restored.class_info, None
    if split is not None:
        dataset = build_datamodule(restored.config).dataset(split)
        check_classes(restored, dataset.class_info)
        info, images = dataset.class_info, _images(dataset, {})
    if restored.scorer.void_output:
        info = info.with_void()
    values = ", ".join(f"{value} {name}" for value, name in zip(info.ids, info.names, strict=True))
    write = functools.partial(write_prediction, Predictor(restored), class_info=info)
    return Labeller(write, f"label values: {values}", images)


def _images(dataset: SegmentationDataset, masks: dict[str, Mask]) -> tuple[int, Named]:
    """The images of a split; `masks` holds the truth of the one that came last."""

    def samples() -> Named:
        for index in range(len(dataset)):
            try:
                raw = dataset[index]
            except DataError as error:
                yield f"image {index} of the split", error
            else:
                masks.clear()
                masks[raw.name] = raw.mask
                yield raw.name, np.ascontiguousarray(raw.image)

    return len(dataset), samples()
