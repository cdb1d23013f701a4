"""The errors a user can meet. Each message names the thing, the value found, what was expected, and the remedy."""

from __future__ import annotations


class AtrousError(Exception):
    """Base of all errors that the command line shows as a message without a traceback.

    Takes one string, so that it survives pickling between processes.
    """


class ConfigError(AtrousError):
    """A setting that is impossible, or that does not fit the others."""


class DataError(AtrousError):
    """Files that are missing, unreadable or not what the dataset's classes say."""


class CheckpointError(AtrousError):
    """A checkpoint that is missing, damaged, of another model, or not to be trusted."""


class TrainingError(AtrousError):
    """A training that can't go on, such as a loss that is not finite."""
