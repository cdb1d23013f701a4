"""Reads every sample of a data set once; reports what is wrong, and its figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from atrous.data.audit import duplicates
from atrous.data.audit.findings import KINDS, Failures, Finding, examples
from atrous.data.audit.samples import SampleFacts, SplitFigures, facts_of
from atrous.data.mask_meaning import (
    NONE,
    SEVERAL,
    nothing_but_one_class,
    other_tables,
    two_meanings,
    two_meanings_message,
)
from atrous.data.quick_check import left_out, table_of
from atrous.errors import AtrousError, ConfigError, DataError
from atrous.system.pool import in_processes
from atrous.system.text import printable
from atrous.types import ClassInfo, SegmentationDataset


@dataclass(frozen=True)
class Report:
    """The result of an audit.

    Args:
        class_info: The classes.
        splits: The figures of each split.
        findings: What is wrong, errors first.
    """

    class_info: ClassInfo
    splits: dict[str, SplitFigures]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a training."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def reference(self) -> SplitFigures:
        """The split that weights, mean and standard deviation are taken from: train, or else the first."""
        return self.splits.get("train") or next(iter(self.splits.values()))

    def settings(self) -> dict[str, str]:
        """Settings by their meaning, ready to paste behind a command."""
        figures = self.reference
        made: dict[str, str] = {}
        if figures.labelled and figures.pixels.any():
            weights = figures.class_weights()
            made["median-frequency weights"] = f"'loss.class_weights={_listed(weights['median_frequency'])}'"
            made["ENet's weights"] = f"'loss.class_weights={_listed(weights['enet'])}'"
        if figures.read:
            mean, std = (_listed(values.tolist()) for values in (figures.mean, figures.std))
            made["its own mean and std"] = f"'data.eval_transform.mean={mean}' 'data.eval_transform.std={std}'"
        return made

    def as_json(self) -> dict[str, Any]:
        """The report as plain containers."""
        figures = self.reference
        return {
            "classes": list(self.class_info.names),
            "findings": [asdict(finding) for finding in self.findings],
            "splits": {name: split.as_json(self.class_info) for name, split in self.splits.items()},
            "class_weights": figures.class_weights(),
            "settings": self.settings(),
        }


def audit(datasets: Mapping[str, SegmentationDataset], *, accept: Collection[str] = ()) -> Report:
    """Reads every sample once, in parallel, and reports what is wrong.

    Memory grows by a name and 30 bytes per image.

    Args:
        datasets: The split's name -> the split. All have the same classes.
        accept: Kinds of errors that are known and all right: they become warnings.

    Raises:
        ConfigError: If `accept` names no kind of finding.
    """
    unknown = sorted(set(accept) - set(KINDS))
    if unknown:
        raise ConfigError(f"accept={unknown} names no kind of finding; choose among {', '.join(KINDS)}.")
    splits: dict[str, SplitFigures] = {}
    findings: list[Finding] = []
    for split, dataset in datasets.items():
        beside = left_out(dataset)
        if beside is not None and not any(
            beside == found.text for found in findings
        ):  # once of a folder for all splits
            files = dataset.left_out  # type: ignore[attr-defined]
            findings.append(Finding("unpaired", "error", (split,), printable(beside), len(files), examples(files)))
        splits[split], failures = _read(split, dataset)
        findings += failures.findings()
        findings += _mask_findings(split, splits[split], dataset.class_info)
        findings += _repeats(split, splits[split])
    for first, second in combinations(splits, 2):
        findings += _in_two_splits(first, second, splits)
    findings = [replace(found, severity="warning") if found.kind in accept else found for found in findings]
    info = next(iter(datasets.values())).class_info
    return Report(info, splits, tuple(sorted(findings, key=lambda found: found.severity)))


def _read(split: str, dataset: SegmentationDataset) -> tuple[SplitFigures, Failures]:
    info = dataset.class_info
    figures = SplitFigures(length=len(dataset), class_info=info, labelled=getattr(dataset, "labelled", True))
    failures = Failures(split, dataset)

    def read(index: int) -> SampleFacts | DataError:
        try:
            return facts_of(dataset[index], info, table_of(dataset, index))
        except DataError as error:
            return error
        except Exception as error:  # whatever a decoder raises is this file's, and the others are still to be read
            kind = type(error).__name__
            return DataError(str(error) if isinstance(error, AtrousError) else f"{kind}: {error}", kind=kind)

    for index, found in enumerate(in_processes(read, range(len(dataset)), description=f"reading {split}")):
        if isinstance(found, DataError):
            failures.add(index, found)
        else:
            figures.add(found)
    return figures, failures


def _mask_findings(split: str, figures: SplitFigures, info: ClassInfo) -> list[Finding]:
    """Findings about the classes in a split's masks."""
    if not figures.labelled or not figures.read:
        return []
    found: list[Finding] = []
    absent = [info.names[index] for index in np.flatnonzero(figures.images_with == 0)]
    if absent:
        text = f"{len(absent)} of {info.num_classes} classes never occur"
        found.append(Finding("never", "warning", (split,), text, len(absent), examples(absent)))

    only, ignores = figures.images["only"], figures.images["ignores"]
    hopeless = nothing_but_one_class(info, only, ignores)
    if hopeless is not None:
        found.append(Finding("ignored", "error", (split,), hopeless, figures.read, examples(figures.names)))
        return found
    mixed = two_meanings(info, only, ignores)
    if len(mixed):
        text = two_meanings_message(info, len(mixed), figures.read)
        names = (figures.names[index] for index in mixed)
        found.append(Finding("mixed", "error", (split,), text, len(mixed), examples(names)))
    tabled = other_tables(figures.tables)
    if tabled is not None:
        text, masks = tabled
        found.append(Finding("mixed", "error", (split,), printable(text), len(masks), examples(masks)))
    single = (only > SEVERAL) & (info.num_classes > 1)
    for kind, which, what in (
        ("ignored", only == NONE, "hold ignored pixels only"),
        (
            "ignored",
            single & ignores & (len(mixed) == 0),
            "hold one class and ignored pixels; if they are 0/255 masks, set value_map={0: 0, 255: 1}",
        ),
        ("one_class", single & ~ignores, "hold one class alone"),
    ):
        at = np.flatnonzero(which)
        if len(at):
            text = f"{len(at)} of {figures.read} masks {what}"
            classes = [info.names[label] for label in np.unique(only[at]) if label >= 0]
            text += f" ({', '.join(classes[:3])}{', ...' * (len(classes) > 3)})" if classes else ""
            names = (figures.names[index] for index in at)
            found.append(Finding(kind, "warning", (split,), printable(text), len(at), examples(names)))
    return found


def _repeats(split: str, figures: SplitFigures) -> list[Finding]:
    at = np.flatnonzero(~figures.images["plain"])
    groups = [at[group] for group in duplicates.repeats(figures.images["content"][at])]
    if not groups:
        return []
    count = sum(len(group) - 1 for group in groups)
    text = f"{count} of {figures.read} images are there twice or more, pixel for pixel"
    names = (" = ".join(figures.names[index] for index in group[:3]) for group in groups)
    return [Finding("duplicates", "warning", (split,), text, count, examples(names))]


def _in_two_splits(first: str, second: str, splits: Mapping[str, SplitFigures]) -> list[Finding]:
    ours, theirs = splits[first], splits[second]
    here, there = (np.flatnonzero(~figures.images["plain"]) for figures in (ours, theirs))
    found: list[Finding] = []
    at, of = duplicates.shared(ours.images["content"][here], theirs.images["content"][there])
    if len(at):
        names = (
            f"{second}/{theirs.names[there[i]]} = {first}/{ours.names[here[j]]}" for i, j in zip(at, of, strict=True)
        )
        text = f"{len(at)} of {theirs.read} images of {second} are in {first} as well, pixel for pixel; take them out of one"
        found.append(Finding("duplicates", "error", (first, second), text, len(at), examples(names)))
    there = np.delete(there, at)
    at, of, distance = duplicates.similar(ours.images["look"][here], theirs.images["look"][there])
    if len(at):
        names = (
            f"{second}/{theirs.names[there[i]]} ~ {first}/{ours.names[here[j]]} ({d} bits)"
            for i, j, d in zip(at, of, distance, strict=True)
        )
        text = (
            f"{len(at)} of {theirs.read} images of {second} look almost like one of {first} (difference hashes within "
            f"{duplicates.NEAR} of 64 bits): copies saved anew, or neighbouring frames of a video"
        )
        found.append(Finding("similar", "warning", (first, second), text, len(at), examples(names)))
    return found


def _listed(values: list[float]) -> str:
    return f"[{','.join(f'{value:.4g}' for value in values)}]"
