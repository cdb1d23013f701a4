"""Which samples of an undivided data set train, validate and test."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atrous.errors import ConfigError

RULES = ("rank", "hash")


@dataclass(frozen=True)
class Division:
    """How a data set is divided.

    Args:
        val: The share of val, 0 to 1; of no meaning with `folds`.
        test: The share of test.
        seed: Another one draws other splits.
        rule: "rank" or "hash", see `drawn_split`.
        folds: Val is one of so many equal parts of what is not test; None: it is drawn by its share.
        fold: Which of them, 0 to folds - 1.

    Raises:
        ConfigError: If a number is out of its range, or they contradict each other.
    """

    val: float
    test: float
    seed: int = 0
    rule: str = "rank"
    folds: int | None = None
    fold: int | None = None

    def __post_init__(self) -> None:
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise ConfigError(
                f"val_fraction={self.val} and test_fraction={self.test}: expected numbers from 0, with a sum below 1, such as 0.2 "
                "and 0."
            )
        if self.rule not in RULES:
            raise ConfigError(f"split_rule={self.rule} is impossible; choose one of {', '.join(RULES)}.")
        if (self.folds is None) != (self.fold is None):
            raise ConfigError(
                f"folds={self.folds} and fold={self.fold}: give both, such as data.folds=5 data.fold=0, or for a run of each "
                "-m data.folds=5 data.fold=0,1,2,3,4."
            )
        if self.folds is not None and (self.folds < 2 or self.fold not in range(self.folds)):
            raise ConfigError(
                f"folds={self.folds} and fold={self.fold}: expected two folds or more, and one of 0 to folds - 1."
            )


def drawn_split(
    names: Sequence[str],
    division: Division,
    *,
    groups: Sequence[str] | None = None,
    strata: Sequence[str] | None = None,
) -> list[str]:
    """The split of each name, "train", "val" or "test".

    Names are ranked by a hash of name and seed, and the first ones are test, the next val, the others train. Both get
    round(share x N) samples, halves upwards, and at least one where their share is above 0 and there are enough: train
    has one first, then val, then test. So each of the two boundaries moves at most n of the old samples where n new ones
    come. With folds, what is not test is dealt out to them in that order.

    By the rule "hash", as runs of before "rank", a name goes where its own hash, from 0 to 1, falls to, so that shares are
    met on average and new samples move none of the old ones.

    Args:
        names: Unique; two forms of one Unicode string are one name.
        division: The shares or folds.
        groups: One for each name: samples of one group stay together, so that sizes are as near as groups let them.
        strata: One for each name: each split gets its share of each stratum, as near as can be. A group's is its first
            sample's.

    Raises:
        ConfigError: If there are fewer samples or groups than folds.
    """
    if division.rule == "hash":
        return [_by_own_hash(_position(name, division.seed), division) for name in names]
    normal = [unicodedata.normalize("NFC", name) for name in names]
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(groups or normal):
        members[name].append(index)
    stratum = {name: strata[at[0]] if strata is not None else "" for name, at in members.items()}
    ranked = sorted(members, key=lambda name: (_position(name, division.seed), name))
    sizes, seen = Counter(stratum[name] for name in ranked), Counter[str]()
    place = {}  # in its stratum, 0 to 1
    for name in ranked:
        place[name] = (seen[stratum[name]] + 0.5) / sizes[stratum[name]]
        seen[stratum[name]] += 1
    if strata is not None:
        ranked.sort(key=lambda name: place[name])
    total, splits = len(names), ["train"] * len(names)
    val_wanted = 0 if division.folds else _count(division.val, total)
    val = min(val_wanted, max(0, total - 1))
    test = _take(ranked, members, splits, "test", min(_count(division.test, total), max(0, total - 1 - val)))
    if division.folds is not None:
        # One stratum after the other, so that each is dealt out evenly, and large groups first.
        left = sorted(ranked[test:], key=lambda name: (stratum[name], -len(members[name])))
        _deal(left, members, splits, division)
    else:
        _take(ranked[test:], members, splits, "val", val)
    return splits


def labels_of(names: Sequence[str], pattern: str, key: str) -> list[str]:
    """What the first group of a regular expression finds in each name.

    Args:
        names: The samples'.
        pattern: Such as "^(.*?)_".
        key: The setting that has it, for messages.

    Raises:
        ConfigError: If it is no such expression, or isn't found in a name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"{key}={pattern} is no regular expression: {error}. Give one such as '{key}=\"^(.*?)_\"'."
        ) from error
    if expression.groups != 1:
        raise ConfigError(
            f"{key}={pattern} is neither a column of csv=... nor a regular expression with one group; give one such as "
            f"'{key}=\"^(.*?)_\"' for what stands before the first _ of a sample's name."
        )
    found = [(name, expression.search(name)) for name in names]
    without = [name for name, match in found if match is None or match[1] is None]
    if without:
        raise ConfigError(
            f"{key}={pattern} is not found in {len(without)} of {len(names)} names, such as {without[0]!r}. Mend it."
        )
    return [match[1] for _, match in found if match is not None]


def _take(ranked: Sequence[str], members: Mapping[str, list[int]], splits: list[str], split: str, wanted: int) -> int:
    """Gives the first groups to a split, as many as come nearest to the number of samples; how many groups."""
    taken = count = 0
    for name in ranked:
        size = len(members[name])
        if taken >= wanted or (taken and taken + size / 2 > wanted):
            break
        for index in members[name]:
            splits[index] = split
        taken, count = taken + size, count + 1
    return count


def _deal(ranked: Sequence[str], members: Mapping[str, list[int]], splits: list[str], division: Division) -> None:
    """Gives each group to the fold that has the fewest samples yet."""
    assert division.folds is not None  # its caller asks
    if len(ranked) < division.folds:
        raise ConfigError(
            f"folds={division.folds}, but there are {len(ranked)} samples or groups to deal out. Give fewer folds."
        )
    loads = [0] * division.folds
    for name in ranked:
        fold = loads.index(min(loads))
        loads[fold] += len(members[name])
        if fold == division.fold:
            for index in members[name]:
                splits[index] = "val"


def _count(share: float, total: int) -> int:
    return max(1, int(share * total + 0.5)) if share > 0 else 0


def _position(name: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]) / 2**64


def _by_own_hash(position: float, division: Division) -> str:
    if position < division.test:
        return "test"
    return "val" if position < division.test + division.val else "train"
