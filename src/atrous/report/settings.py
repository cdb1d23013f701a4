"""Which settings differ between runs, and which of them a reader needs as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atrous.runs.run import Run
from atrous.system.text import one_line, setting

ABSENT = "–"  # the value of a key that a run's config has not


@dataclass(frozen=True)
class Column:
    """A setting that varies.

    Args:
        key: The config's dotted key, or the name of a group such as `model`.
        name: The shortest end of the key that no other column has.
    """

    key: str
    name: str


@dataclass(frozen=True)
class Settings:
    """The runs' settings.

    Args:
        columns: What tells the runs apart, seeds and folds left out; what was set on a command line comes first.
        values: A text for each run and column.
        same: A number for each run; equal for runs that differ in nothing but their seed and fold.
        implied: Further keys that vary, and are known from the columns.
    """

    columns: list[Column]
    values: list[tuple[str, ...]]
    same: list[int]
    implied: list[str]


def settings_of(runs: Sequence[Run], ignored: Sequence[tuple[str, ...]]) -> Settings:
    """Compares the configs of runs.

    Args:
        runs: One or more.
        ignored: Paths of keys, or of groups of keys, that are no settings, such as ("paths",).
    """
    texts = [{key: setting(value) for key, value in run.settings.items()} for run in runs]
    keys = dict.fromkeys(key for config in texts for key in config)
    prefixes = tuple(".".join(path) for path in ignored)
    varying = {
        key: values
        for key in keys
        if not any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
        and len(set(values := tuple(config.get(key, ABSENT) for config in texts))) > 1
        and not _is_seed(key, runs)
        and not (key == "data.fold" and all(run.fold is not None for run in runs))
        and not _is_place(key, runs)
    }
    same = _numbered(list(zip(*varying.values(), strict=True)) or [()] * len(runs))
    overrides = [run.overrides() for run in runs]
    named = dict.fromkeys(key for pairs in overrides for key in pairs)
    chosen: dict[str, tuple[str, ...]] = {}
    for key in named:
        if key in varying:
            chosen[key] = varying[key]
        elif any(other.startswith(f"{key}.") for other in varying):
            column = _group(key, runs, overrides, same, varying)
            if len(set(column)) > 1:
                chosen[key] = column
    implied: list[str] = []
    for key in sorted(varying, key=lambda key: (not key.endswith("_target_"), key.count("."))):
        if key in chosen:
            continue
        if _splits(varying[key], list(chosen.values())):
            chosen[key] = tuple(map(_class, varying[key])) if key.endswith("_target_") else varying[key]
        else:
            implied.append(key)
    names = _short([key.removesuffix("._target_") for key in chosen])
    columns = [Column(key, name) for key, name in zip(chosen, names, strict=True)]
    firsts = {group: index for index, group in reversed(list(enumerate(same)))}
    rows = list(zip(*chosen.values(), strict=True)) or [()] * len(runs)
    shown = [tuple(one_line(text, 200) for text in rows[firsts[group]]) for group in same]
    return Settings(columns, shown, same, implied)


def order(values: tuple[str, ...]) -> tuple[Any, ...]:
    """A key to sort rows by: numbers by their size, lists of numbers likewise, before text."""
    return tuple(_order(text) for text in values)


def _order(text: str) -> tuple[int, tuple[float, ...], str]:
    try:
        return (0, tuple(float(part) for part in text.strip("[]").split(",")), "")
    except ValueError:
        return (1, (), text)


def _is_seed(key: str, runs: Sequence[Run]) -> bool:
    """The seed itself, and what follows it, such as data.seed."""
    return key == "seed" or (key.endswith(".seed") and all(run.settings.get(key) == run.seed for run in runs))


def _is_place(key: str, runs: Sequence[Run]) -> bool:
    """A path into the run's own folder, wherever it may lie now."""
    values = [(run.settings[key], run.folder.resolve().name) for run in runs if key in run.settings]
    return all(isinstance(value, str) and name in value.split("/") for value, name in values)


def _group(
    key: str,
    runs: Sequence[Run],
    overrides: Sequence[dict[str, str]],
    same: Sequence[int],
    varying: Iterable[str],
) -> tuple[str, ...]:
    """The choice of a config group, `model=unet`: as typed; where a run left it at its default, the class's name."""
    targets = [other for other in varying if other.startswith(f"{key}.") and other.endswith("._target_")]
    target = min(targets, key=lambda other: other.count("."), default="")
    typed = {group: pairs[key] for group, pairs in zip(same, overrides, strict=True) if key in pairs}
    return tuple(
        typed.get(group, _class(str(run.settings.get(target, "default"))))
        for group, run in zip(same, runs, strict=True)
    )


def _splits(values: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Whether runs that agree in all columns differ in `values`."""
    rows = list(zip(*columns, strict=True)) or [()] * len(values)
    return len(set(zip(rows, values, strict=True))) > len(set(rows))


def _numbered(rows: Sequence[Any]) -> list[int]:
    """Equal numbers for equal rows, in the order of their first."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(row, len(numbers)) for row in rows]


def _class(target: str) -> str:
    return target.rpartition(".")[2]


def _short(keys: Sequence[str]) -> list[str]:
    """The fewest last parts of each key that end no other key."""
    names = []
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in keys if other != key]
        names.append(next((end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)), key))
    return [one_line(name, 80) for name in names]
