"""Stored configs of earlier versions, led to what they mean today.

`upgraded` is applied whenever a stored config is read, before trust, fingerprint and building. A class that moves gets a row
in `MOVED`, a callback that is renamed one in `RENAMED_CALLBACKS`. A new key, and one that says what equal settings meant
before (how a split is drawn, a default network), gets a row in `MEANT`, or in `MEANT_OF` where one class has it.
"""

from __future__ import annotations

from typing import Any

MOVED = {
    "atrous.callbacks.finite.FiniteLoss": "atrous.callbacks.nan_guard.NaNGuard",
    "atrous.callbacks.history.History": "atrous.loggers.csv_logger.CSVLogger",
    "atrous.data.scenes.Scenes": "atrous.data.scenes.scenes.Scenes",
    "atrous.inference.refined.Refined": "atrous.inference.crf.CRFInference",
    "atrous.inference.slide.Slide": "atrous.inference.slide.SlidingWindow",
    "atrous.inference.tile.Tile": "atrous.inference.tile.OverlapTile",
    "atrous.inference.whole.Whole": "atrous.inference.whole.WholeImage",
}
# Lightning keys a callback's state in a checkpoint by its class's name.
RENAMED_CALLBACKS: dict[str, str] = {}
# The value that runs without the key were made with.
MEANT: dict[str, Any] = {
    "resume": False,
    "extra_metrics": False,
    "inference": {"_target_": "atrous.inference.whole.WholeImage"},
    "task.compile": False,
    "trainer.max_steps": -1,
    "trainer.val_check_interval": 1.0,
    "trainer.gradient_clip_algorithm": "norm",
}
# The same of keys that one class has, such as a data set, a network or a loss.
MEANT_OF: dict[str, dict[str, Any]] = {
    "atrous.data.folder.Folder": {
        "split_rule": "hash",
        "image_name": "*",
        "mask_name": "*",
        "mask_threshold": None,
        "nearest_value": False,
        "annotations": None,
        "unannotated": None,
        "folds": None,
        "fold": None,
        "group": None,
        "stratify": None,
    },
    "atrous.models.deeplabv3.DeepLabV3": {"join_kernel": 1},
    "atrous.losses.cross_entropy.CrossEntropy": {"normalise": "weights"},
}


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of a stored config with today's import paths and keys."""
    new: dict[str, Any] = _with_new_paths(config)
    for key, value in MEANT.items():
        if key == "inference" and "method" in new:  # which has no network
            continue
        *path, last = key.split(".")
        part: Any = new
        for name in path:
            part = part.get(name) if isinstance(part, dict) else None
        if isinstance(part, dict):
            part.setdefault(last, value)
    for name, part in new.items():
        built = part.get("dataset", part) if isinstance(part, dict) else None
        if isinstance(built, dict):
            new[name] = {**MEANT_OF.get(str(built.get("_target_")), {}), **part}
    return new


def _with_new_paths(config: Any) -> Any:
    if isinstance(config, dict):
        new = {key: _with_new_paths(value) for key, value in config.items()}
        if isinstance(new.get("_target_"), str):
            new["_target_"] = MOVED.get(new["_target_"], new["_target_"])
        return new
    return [_with_new_paths(value) for value in config] if isinstance(config, list) else config
