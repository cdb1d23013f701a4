"""Which run a config asks for: by its settings, and by its data's files, wherever they lie. Imports no torch."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from atrous.config.compose import instantiate
from atrous.config.fingerprint import counted, fingerprint, has_places, scored_splits
from atrous.runs.run import Run, flat
from atrous.system.text import one_line, setting

# The keys of `data` that are SegmentationDataModule's own; the others are the data set's.
OF_DATAMODULE = frozenset(
    [
        "_target_",
        "dataset",
        "num_classes",
        "train_transform",
        "eval_transform",
        "batch_size",
        "eval_batch_size",
        "num_workers",
        "cache",
        "cache_folder",
        "rare_class_temperature",
        "rare_class_min_pixels",
        "seed",
        "train",
        "val",
        "test",
    ]
)
FEW = 6  # keys in which a near run differs at most
NOT_SET = "not set"
_READ = 200  # runs, the newest ones, among which a near one is looked for: their configs are read


@dataclass(frozen=True)
class Identity:
    """What tells a config's run from others.

    Args:
        config: The resolved config.
        files: What identifies its data's files, by split; None: they need not be known, or can't be read.
        unread: Why they can't be read; None where they could, or need not.
    """

    config: dict[str, Any]
    files: dict[str, str] | None
    unread: str | None

    @functools.cached_property
    def fingerprint(self) -> str:
        """By the data's files where they are known, else by where they lie."""
        return fingerprint(self.config, self.files)

    @functools.cached_property
    def _by_place(self) -> str:
        return fingerprint(self.config)

    def is_of(self, run: Run) -> bool:
        """Whether it is this run's: by the files where both know them, else by where they lie."""
        if run.fingerprint in (self.fingerprint, self._by_place):
            return True
        return self.unread is not None and bool(run.files) and run.fingerprint_by_place == self._by_place

    def differences(self, run: Run) -> dict[str, tuple[Any, Any]] | None:
        """The keys that count and differ, the run's value first; None where its config can't be read."""
        files = run.files if self.files and run.files else None
        try:
            sides = [flat(counted(run.config, files)), flat(counted(self.config, self.files if files else None))]
        except (OSError, ValueError, RecursionError, KeyError, yaml.YAMLError):
            return None
        keys = dict.fromkeys([*sides[0], *sides[1]])
        pairs = {key: (sides[0].get(key, NOT_SET), sides[1].get(key, NOT_SET)) for key in keys}
        unequal = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
        follows = {
            key for key in unequal for other in unequal if key.endswith(f".{other}") and unequal[key] == unequal[other]
        }
        return {key: pair for key, pair in unequal.items() if key not in follows}  # data.seed follows seed


class Files:
    """What identifies the files of data, read once for all configs of the same data, such as those of a study's jobs."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[str, str] | None, str | None]] = {}

    def identity(self, config: dict[str, Any]) -> Identity:
        """The identity of a resolved config."""
        if not has_places(config):
            return Identity(config, None, None)
        data = config["data"]
        shared = {key: value for key, value in data.items() if key not in OF_DATAMODULE or key == "cache_folder"}
        settings = {split: {**shared, **(data.get(split) or {}), "split": split} for split in scored_splits(config)}
        key = json.dumps([data["dataset"], settings], sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = _read(data["dataset"], settings)
        return Identity(config, *self._known[key])


def _read(dataset: dict[str, Any], settings: dict[str, Any]) -> tuple[dict[str, str] | None, str | None]:
    """What identifies the files of each split, or why they can't be read."""
    import cv2  # here, since data without files need none of it

    from atrous.data.quick_check import fingerprint as files_of

    cv2.setNumThreads(0)  # as in the DataModule: a worker that is forked after OpenCV has started threads can hang
    try:
        build = instantiate(dataset)
        if "cache_folder" not in inspect.signature(build).parameters:
            settings = {
                split: {key: own[key] for key in own if key != "cache_folder"} for split, own in settings.items()
            }
        return {split: files_of(build(**own)) for split, own in settings.items()}, None
    except Exception as error:  # whatever a data set of the user's raises
        return None, one_line(error, 200)


def nearest(wanted: Identity, runs: Iterable[Run]) -> tuple[Run, dict[str, tuple[Any, Any]]] | None:
    """Of runs of the same model and data set the one that differs in the fewest keys, in `FEW` at most, and those keys."""
    newest = sorted(runs, key=lambda run: str(run.result.get("started")), reverse=True)[:_READ]
    found = [(run, keys) for run in newest if (keys := wanted.differences(run))]
    kind = ("model._target_", "data.dataset._target_")
    near = [(run, keys) for run, keys in found if len(keys) <= FEW and not any(key in keys for key in kind)]
    return min(near, key=lambda pair: len(pair[1]), default=None)


def told(keys: dict[str, tuple[Any, Any]]) -> str:
    """Differing keys for people: `optimizer.lr: 0.1 / 0.2`."""
    words = [
        f"{key}: {one_line(setting(old), 60)} / {one_line(setting(new), 60)}"
        for key, (old, new) in keys.items()
        if not key.startswith("files.")
    ]
    splits = [key.removeprefix("files.") for key in keys if key.startswith("files.")]
    return "; ".join([*words, *[f"the data's files of {', '.join(splits)}"] * bool(splits)])
