"""Which samples of an undivided data set train, validate and test."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Mapping, Sequence

RULES = ("rank", "hash")


def drawn_split(names: Sequence[str], shares: Mapping[str, float], *, seed: int, rule: str = "rank") -> list[str]:
    """The split of each name, "train", "val" or "test".

    Names are ranked by a hash of name and seed, and the first ones are test, the next val, the others train. Both get
    round(share x N) samples, halves upwards, and at least one where their share is above 0 and there are enough: train
    has one first, then val, then test. So each of the two boundaries moves at most n of the old samples where n new ones
    come.

    Args:
        names: Unique; two forms of one Unicode string are one name.
        shares: Of "val" and "test", 0 to 1.
        seed: Another one ranks otherwise.
        rule: "rank"; or "hash", as runs of before it: what a name's own hash, from 0 to 1, falls to, so that shares
            are met on average and new samples move none of the old ones.
    """
    if rule == "hash":
        return [_by_own_hash(_position(name, seed), shares) for name in names]
    total = len(names)
    val = min(_count(shares["val"], total), max(0, total - 1))
    test = min(_count(shares["test"], total), max(0, total - 1 - val))
    ranked = sorted(range(total), key=lambda index: _position(unicodedata.normalize("NFC", names[index]), seed))
    splits = ["train"] * total
    for place, index in enumerate(ranked[: test + val]):
        splits[index] = "test" if place < test else "val"
    return splits


def _count(share: float, total: int) -> int:
    return max(1, math.floor(share * total + 0.5)) if share > 0 else 0


def _position(name: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]) / 2**64


def _by_own_hash(position: float, shares: Mapping[str, float]) -> str:
    if position < shares["test"]:
        return "test"
    return "val" if position < shares["test"] + shares["val"] else "train"
