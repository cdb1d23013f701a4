"""Image segmentation on PyTorch Lightning and Hydra.

The names in `__all__` are the library; each is imported when it is first used. What else there is may change.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs half of this import
if TYPE_CHECKING:
    from typing import Any

    from atrous.api import compare, create_model, evaluate, load, read_runs, train
    from atrous.errors import AtrousError, CheckpointError, ConfigError, DataError, TrainingError

    __version__: str

_API = ("compare", "create_model", "evaluate", "load", "read_runs", "train")
_ERRORS = ("AtrousError", "CheckpointError", "ConfigError", "DataError", "TrainingError")
__all__ = [
    "AtrousError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "TrainingError",
    "compare",
    "create_model",
    "evaluate",
    "load",
    "read_runs",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("atrous")
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("atrous.api" if name in _API else "atrous.errors"), name)
    raise AttributeError(f"module 'atrous' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
