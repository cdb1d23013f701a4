"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


@contextlib.contextmanager
def whole_file(path: str | Path, mode: str = "wb", *, sync: bool = False) -> Iterator[IO[Any]]:
    """Opens a file that appears under its name when the block ends, and not at all after an error.

    It is written as `.NAME.PROCESS.part` in the same folder, which is made if it is missing, and then renamed.

    Args:
        path: Replaced if it exists.
        mode: `wb`, or `w` for UTF-8 whose line ends are written as they are.
        sync: Whether to wait for the disk, so that the file outlives a power cut.

    Raises:
        OSError: If the file can't be written; the one that was there before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with part.open(mode, **text) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    if sync and os.name == "posix":  # elsewhere a folder can't be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: str | Path, text: str) -> None:
    with whole_file(path, "w") as file:
        file.write(text)


def write_arrays(path: str | Path, **arrays: NDArray[Any]) -> None:
    """Writes a compressed .npz."""
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def save_figure(path: str | Path, figure: Any) -> None:
    """Writes a matplotlib figure as a PNG of 120 dpi."""
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=120)


def to_json(content: Mapping[str, Any]) -> str:
    """Strict JSON: numbers that are not finite, such as the IoU of an absent class, become null."""

    def strict(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): strict(item) for key, item in value.items()}
        if isinstance(value, list | tuple | np.ndarray):
            return [strict(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
