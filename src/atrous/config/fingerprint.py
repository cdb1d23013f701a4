"""What tells two runs apart: a hash of the settings that make weights and scores what they are."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from atrous.config.upgrade import MEANT, MEANT_OF_DATA, MOVED

# What changes neither the weights nor the scores: names, loggers, places, speed, and how often a run is saved.
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
)


# Of stored fingerprints: names the tables that they depend on. One of other tables is made again from config.yaml.
VERSION = hashlib.sha256(json.dumps([NOT_COUNTED, MOVED, MEANT, MEANT_OF_DATA]).encode()).hexdigest()[:8]


def fingerprint(config: dict[str, Any]) -> str:
    """Equal for two configs that train the same weights and make the same scores from them; 16 hexadecimal digits.

    Args:
        config: A resolved config, in today's names.
    """
    counted = copy.deepcopy(config)
    for *path, key in NOT_COUNTED:
        part: Any = counted
        for name in path:
            part = part.get(name) if isinstance(part, dict) else None
        if isinstance(part, dict):
            part.pop(key, None)
    text = json.dumps(counted, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
