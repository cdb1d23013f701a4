"""The errors a user can meet. Each message names the thing, the value found, what was expected, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class AtrousError(Exception):
    """Base of all errors that the command line shows as a message without a traceback.

    Takes one string, so that it survives pickling between processes.
    """


class ConfigError(AtrousError):
    """A setting that is impossible, or that does not fit the others."""


class DataError(AtrousError):
    """Files that are missing, unreadable or not what the dataset's classes say.

    Its fields survive pickling; a DataLoader's worker hands on the message alone.

    Args:
        message: What is wrong, with the remedy.
        kind: One word for the fault, the same for all files that have it, such as "empty" or "values".
        path: The file.
        wrong: The values, or colours (R, G, B), in a mask that are no class -> their pixels; at most the first 4096.
        stored: All values in that mask, as many at most.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        path: object = None,
        wrong: Mapping[Any, int] | None = None,
        stored: Iterable[int] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.path = None if path is None else str(path)
        self.wrong = dict(wrong or {})
        self.stored = tuple(stored)


class CheckpointError(AtrousError):
    """A checkpoint that is missing, damaged, of another model, or not to be trusted."""


class TrainingError(AtrousError):
    """A training that can't go on, such as a loss that is not finite."""
