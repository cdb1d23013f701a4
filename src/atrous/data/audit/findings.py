"""Findings of an audit: one for each kind of fault, however many files have it, with the likely cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from atrous.data.io.files import first_few
from atrous.data.io.remote import open_file
from atrous.errors import DataError
from atrous.system.text import printable
from atrous.types import ClassInfo, SegmentationDataset

Severity = Literal["error", "warning"]

# Kinds of findings, as `accept` names them.
KINDS = {
    "unreadable": "files that are missing, truncated or of an unknown format",
    "unpaired": "files that belong to no sample",
    "size": "an image and its mask differ in size",
    "values": "mask values outside the classes",
    "colours": "mask colours of no class",
    "ignored": "masks that hold one class and ignored pixels at most, as 0/255 masks do",
    "mixed": "masks that seem to mean something else by a value than the others",
    "one_class": "masks of one class alone",
    "never": "classes that never occur",
    "duplicates": "equal images",
    "similar": "images of two splits that look almost alike",
    "split": "a split that can't be built",
}
# An error's kind -> the kind of its finding; "unreadable" for all others.
_KIND_OF = {
    "values": "values",
    "unmapped values": "values",
    "soft values": "values",
    "colours": "colours",
    "no palette": "colours",
    "size": "size",
    "turned": "size",
}
EXAMPLES = 5
_LOOKED_AT = 100  # masks with wrong values that are opened again to find the cause
_LISTED_OF_A_FILE = 5  # wrong values of each file
_LISTED = 12  # classes; a value_map of more is abbreviated
_CITYSCAPES = (19, 33)  # its classes, and the highest of its label ids


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Args:
        kind: One of `KINDS`.
        severity: An error stops a training, a warning does not.
        splits: The split that has the fault, or the two that have it together.
        text: What is wrong, with numbers, and the remedy.
        count: How many files, images or classes have the fault.
        examples: The first few of them.
    """

    kind: str
    severity: Severity
    splits: tuple[str, ...]
    text: str
    count: int
    examples: tuple[str, ...] = ()


def examples(names: Iterable[object]) -> tuple[str, ...]:
    """The first few, printable."""
    return tuple(printable(name) for _, name in zip(range(EXAMPLES), names, strict=False))


@dataclass
class _Group:
    """The samples with one kind of error."""

    kind: str  # the error's
    text: str  # the first one's message
    count: int = 0
    examples: list[str] = field(default_factory=list)
    wrong: Counter[Any] = field(default_factory=Counter)  # value or colour -> pixels
    listed: set[int] = field(default_factory=set)  # the first wrong values of each file
    stored: set[int] = field(default_factory=set)
    indexed: int = 0  # coloured indexed files among those opened again


class Failures:
    """The samples of one split that could not be read, grouped by what is wrong with them.

    Args:
        split: The split's name.
        dataset: The split.
    """

    def __init__(self, split: str, dataset: SegmentationDataset) -> None:
        self._split = split
        self._dataset = dataset
        self._groups: dict[str, _Group] = {}

    def add(self, index: int, error: DataError) -> None:
        """Counts in what reading sample `index` raised."""
        group = self._groups.setdefault(error.kind, _Group(error.kind, str(error)))
        group.count += 1
        if len(group.examples) < EXAMPLES:
            image_path = getattr(self._dataset, "image_path", None)
            named = error.path or (f"sample {index}" if image_path is None else str(image_path(index)))
            group.examples.append(named)
        group.wrong.update(error.wrong)
        group.stored.update(error.stored)
        if error.stored:
            group.listed.update(list(error.wrong)[:_LISTED_OF_A_FILE])
            if group.count <= _LOOKED_AT and error.path is not None:
                with suppress(OSError):  # it could be read a moment ago
                    group.indexed += _is_coloured(Path(error.path))

    def findings(self) -> list[Finding]:
        """One error for each kind, the commonest first."""
        info, length = self._dataset.class_info, len(self._dataset)
        found = []
        for group in sorted(self._groups.values(), key=lambda group: -group.count):
            share = f"in {group.count} of {length} masks"
            if group.stored:
                more = " and more" if len(group.wrong) > len(group.listed) else ""
                text = (
                    f"mask values {', '.join(map(str, sorted(group.listed)))}{more} outside the classes {share} "
                    f"({group.wrong.total()} pixels), first: {group.examples[0]}; {_cause(group, info)}"
                )
            elif group.wrong:
                colors = first_few([list(color) for color, _ in group.wrong.most_common()])
                text = f"mask colours {colors} of no class {share}; {group.text}"
            else:
                text = f"{group.count} of {length} samples: {group.text}"
            kind = _KIND_OF.get(group.kind, "unreadable")
            found.append(Finding(kind, "error", (self._split,), printable(text), group.count, examples(group.examples)))
        return found


def _cause(group: _Group, info: ClassInfo) -> str:
    """Why the stored values of masks are likely to be no classes, and what to do."""
    mapped = group.kind == "unmapped values"
    values = group.stored
    without = sorted(values - {info.ignore_index})
    count, top = info.num_classes, max(without, default=0)
    ids, classes = set(info.ids), set(range(count))
    if len(values) == count > 2 and info.ignore_index in values and not mapped:
        return f"likely {count} grey levels; set {_value_map({value: number for number, value in enumerate(sorted(values))})}"
    if -1 in values and not mapped:
        return (
            f"likely -1 for ignored pixels; set {_value_map({-1: info.ignore_index, **{n: n for n in range(count)}})}"
        )
    if values <= {0, 255}:
        return "likely 0/255 masks; set value_map={0: 0, 255: 1}"
    if group.indexed and not mapped:
        return (
            "likely indexed images whose numbers mean nothing but a place in the file's own colour table; say which "
            "class each colour is with palette=[[r, g, b], ...]"
        )
    if mapped and ids != classes and set(without) <= classes | {info.ignore_index, 255}:
        return f"likely train ids (0 to {count - 1}) where the data set's own label ids are expected; use its own files"
    if not mapped and ids != classes and set(without) <= ids:
        return (
            f"likely label ids instead of train ids; set {_value_map(dict(zip(info.ids, range(count), strict=True)))}"
        )
    if mapped:
        return f"the values read are {first_few(sorted(values))}; add the missing ones to value_map, or mend the masks"
    if set(without) - classes == {255}:
        return f"likely 255 for ignored pixels, where the ignore index is {info.ignore_index}; set ignore_index=255"
    if without == list(range(1, count + 1)):
        return f"likely off by one: classes counted from 1; set {_value_map({n + 1: n for n in range(count)})}"
    if top == count and 0 in values:
        shifted = {0: info.ignore_index, **{n + 1: n for n in range(count)}}
        return (
            f"likely off by one: 0 is unlabelled and the classes count from 1; set {_value_map(shifted)}. If 0 is a "
            "class, class_names lacks one"
        )
    if len(without) == count:
        spread = {value: number for number, value in enumerate(without)}
        return f"likely {count} grey levels for {count} classes; set {_value_map(spread)}"
    if count == _CITYSCAPES[0] and top <= _CITYSCAPES[1]:
        return (
            "likely Cityscapes' label ids (0 to 33) instead of its 19 train ids; use data=cityscapes, or the files "
            "*_labelTrainIds.png"
        )
    every = "; where each value above 0 is foreground, set mask_threshold=1" if count == 2 and 0 in values else ""
    return f"set class_names to all classes, or value_map to say which class each value is{every}"


def _value_map(values: Mapping[int, int]) -> str:
    pairs = [f"{value}: {target}" for value, target in values.items()]
    if len(pairs) > _LISTED:
        pairs = [*pairs[:3], "...", pairs[-1]]
    return f"value_map={{{', '.join(pairs)}}}"


def _is_coloured(path: Path) -> bool:
    """Tests for an indexed image whose colour table is not grey."""
    if path.suffix == ".mat":
        return False
    with open_file(path) as file, Image.open(file) as image:
        table = np.array(image.getpalette() or (), np.uint8).reshape(-1, 3)
    return image.mode == "P" and bool((table != table[:, :1]).any())
