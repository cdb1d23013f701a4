"""What tells two runs apart: a hash of the settings that make weights and scores what they are, and of the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from atrous.config.upgrade import MEANT, MEANT_OF, MOVED

# What changes neither the weights nor the scores: names, loggers, places, speed, and how often a run is saved or logged.
NOT_COUNTED = (
    ("name",),
    ("study",),
    ("resume",),
    ("paths",),
    ("logger",),
    ("data", "num_workers"),
    ("data", "cache"),
    ("data", "cache_folder"),
    ("callbacks", "progress"),
    ("callbacks", "last"),
    ("callbacks", "prune"),
    ("callbacks", "best", "dirpath"),
    ("trainer", "log_every_n_steps"),
    ("trainer", "enable_progress_bar"),
    ("trainer", "enable_model_summary"),
)
# Where data lie. Known files count themselves instead, so that they may move.
PLACES = ("root", "images", "masks", "annotations", "csv")
SPLITS = ("train", "val", "test")
# Where 1 is one of them and 1.0 is all; elsewhere they are the same number.
SHARES = (
    ("trainer", "val_check_interval"),
    ("trainer", "limit_train_batches"),
    ("trainer", "limit_val_batches"),
    ("trainer", "limit_test_batches"),
    ("trainer", "overfit_batches"),
    ("scheduler", "milestones"),
)

_TABLES = [NOT_COUNTED, PLACES, SHARES, MOVED, MEANT, MEANT_OF]
# Of stored fingerprints: names the tables that they depend on. One of other tables is made again from config.yaml.
VERSION = hashlib.sha256(json.dumps(_TABLES).encode()).hexdigest()[:8]


def fingerprint(config: dict[str, Any], files: Mapping[str, str] | None = None) -> str:
    """Equal for two configs that train the same weights and make the same scores from them; 16 hexadecimal digits.

    Args:
        config: A resolved config, in today's names.
        files: What identifies the data's files, by split; see `atrous.data.quick_check.fingerprint`. None: they are not known,
            and count by where they lie.
    """
    text = json.dumps(counted(config, files), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def counted(config: dict[str, Any], files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What of a config counts, in one form: no number is a float that could be whole, and the run folder has no name."""
    folder = run_folder_of(config)
    left_out = {*NOT_COUNTED}
    if files and has_places(config):
        left_out |= {("data", *path) for key in PLACES for path in ((key,), *((split, key) for split in SPLITS))}

    def visit(path: tuple[str, ...], value: Any) -> Any:
        if isinstance(value, dict):
            items = ((key, (*path, str(key)), item) for key, item in value.items())
            return {key: visit(at, item) for key, at, item in items if at not in left_out}
        if isinstance(value, list):
            return [visit(path, item) for item in value]
        if isinstance(value, float) and value.is_integer() and path not in SHARES:
            return int(value)
        return value.replace(folder, "RUN") if folder and isinstance(value, str) else value

    found: dict[str, Any] = visit((), config)
    if files and has_places(config):
        found["files"] = {split: files[split] for split in scored_splits(config) if split in files}
    return found


def has_places(config: dict[str, Any]) -> bool:
    """Whether its data are files, of which the settings tell only where they lie."""
    data = config.get("data")
    return isinstance(data, dict) and any(data.get(key) is not None for key in PLACES)


def scored_splits(config: dict[str, Any]) -> list[str]:
    """The splits that a run reads."""
    return sorted({"train", "val", config.get("eval_split", "val")})


def run_folder_of(config: dict[str, Any]) -> str | None:
    """The run folder that the config's paths lead into; None where it has none."""
    for name in ("last", "best"):
        callback = config.get("callbacks", {}).get(name)
        place = PurePath(str(callback.get("dirpath"))) if isinstance(callback, dict) else PurePath()
        if place.name == "checkpoints" and place.parent.name:
            return str(place.parent)
    return None
