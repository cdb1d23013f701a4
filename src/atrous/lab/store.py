"""What `lab` has measured already: a JSON file for each measurement, named by what it was made from. Imports no torch."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from atrous.system.files import to_json, write_text


class Store:
    """Measurements that outlive the process that made them.

    Args:
        folder: Holds them; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: dict[str, Any]) -> Any:
        """What was kept under an equal key; None where there is nothing, or a file that can't be read."""
        try:
            kept = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return kept.get("value") if isinstance(kept, dict) else None

    def put(self, key: dict[str, Any], value: Any) -> None:
        """Keeps a value that JSON can hold; numbers that are not finite become null."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self._path(key), to_json({"key": key, "value": value}))

    def _path(self, key: dict[str, Any]) -> Path:
        version = importlib.metadata.version("atrous")
        text = json.dumps({"atrous": version, **key}, sort_keys=True)
        return self.folder / f"{key['kind']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


@functools.cache
def digest(path: Path) -> str:
    """Sixteen hexadecimal digits that tell one file's content from another's."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
