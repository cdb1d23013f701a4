"""Remembers the results of audits and checks, so that a training on the same files starts at once.

One JSON file for each split, named by its `cache_key()`, and one for each two splits that were audited together. A file
that changes has another size or time, so that its split has another key and nothing is known of it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from atrous.data.audit.audit import Report
from atrous.data.quick_check import check
from atrous.errors import DataError
from atrous.system.files import write_text
from atrous.types import SegmentationDataset

_VERSION = 2  # of the files below; raise it when an audit finds more, so that older ones count no longer


def check_before_training(dataset: SegmentationDataset, cache_folder: str | Path | None) -> str | None:
    """Stops where an audit found errors, does nothing where one found none, and else checks a few files.

    Args:
        dataset: The split, as its files hold it. One without `cache_key()` is checked each time.
        cache_folder: Where the results of audits and checks are kept. None: the split is checked each time.

    Returns:
        The split's key, for `check_together`; None where nothing is kept.

    Raises:
        DataError: If an audit found errors, or the check of a few files finds one.
    """
    key = key_of(dataset) if cache_folder is not None else None
    if cache_folder is None or key is None:
        check(dataset)
        return None
    errors = _recall(cache_folder, key)
    if errors is None:
        check(dataset)
        _remember(cache_folder, key, [])
    elif errors:
        raise _stop(errors)
    return key


def check_together(keys: Mapping[str, str | None], cache_folder: str | Path | None) -> None:
    """Stops where an audit found that two splits share images.

    Args:
        keys: The split's name -> what `check_before_training` returned.
        cache_folder: As there.

    Raises:
        DataError: If they do.
    """
    known = sorted(key for key in keys.values() if key is not None)
    for pair in combinations(known, 2):
        errors = None if cache_folder is None else _recall(cache_folder, "-".join(pair))
        if errors:
            raise _stop(errors)


def key_of(dataset: SegmentationDataset) -> str | None:
    """The dataset's `cache_key()`, which changes with its files; None where it has none."""
    key = getattr(dataset, "cache_key", None)
    return None if key is None else str(key())


def remember(report: Report, keys: Mapping[str, str | None], cache_folder: str | Path) -> None:
    """Keeps a report's errors for the trainings to come.

    Args:
        report: What an audit found.
        keys: The split's name -> its key from before the audit read its files.
        cache_folder: Made if it is not there.
    """
    for size in (1, 2):
        for splits in combinations(report.splits, size):
            known = sorted(key for split in splits if (key := keys[split]) is not None)
            if len(known) == size:
                errors = [finding.text for finding in report.errors if finding.splits == splits]
                _remember(cache_folder, "-".join(known), [f"{' and '.join(splits)}: {error}" for error in errors])


def _stop(errors: list[str]) -> DataError:
    found = "\n".join(f"  {error}" for error in errors)
    return DataError(
        f"the audit of these files found {len(errors)} error{'s' * (len(errors) != 1)}:\n{found}\nMend the files or the "
        "settings; once a file has changed, this is forgotten. `python -m atrous audit data=... ` with the same data "
        "settings says more; accept=[kind] turns a kind of error that is all right into a warning."
    )


def _recall(folder: str | Path, key: str) -> list[str] | None:
    """The errors kept under `key`, or None where nothing is known."""
    try:
        with open(_path(folder, key), encoding="utf-8") as file:
            kept = json.load(file)
        if kept["version"] != _VERSION or not isinstance(kept["errors"], list):
            return None
        return [str(error) for error in kept["errors"]]
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged
        return None


def _remember(folder: str | Path, key: str, errors: list[str]) -> None:
    with contextlib.suppress(OSError):  # nothing is lost but the time of the next check
        write_text(_path(folder, key), json.dumps({"version": _VERSION, "errors": errors}))


def _path(folder: str | Path, key: str) -> str:
    return os.path.join(folder, f"audit-{key}.json")
