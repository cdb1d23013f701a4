"""`audit`: read every file of a data set once, and tell what is wrong with it and its figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atrous.cli.app import run_command
from atrous.config.values import NonNegativeInt, NotEmpty, Split

if TYPE_CHECKING:
    from atrous.data.audit.findings import Finding
    from atrous.data.datamodule import SegmentationDataModule
    from atrous.types import SegmentationDataset


@dataclass(frozen=True)
class Settings:
    """See conf/audit.yaml."""

    splits: Annotated[list[Split], NotEmpty()] | None
    out: Path | None
    samples: NonNegativeInt
    accept: list[str]
    overrides: list[str]
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous audit data=... [key=value ...]`; see conf/audit.yaml. Leaves with status 1 where there are errors."""
    run_command("audit", Settings, run, argv)


def run(settings: Settings) -> None:
    """Shows the report, writes it to `out`, and keeps its errors for the trainings to come."""
    from atrous.config.compose import choice, compose_groups

    config = compose_groups(settings.overrides, required=["data"])
    data = choice("data", settings.overrides)

    import numpy as np
    from rich.console import Console

    from atrous.data.audit.audit import audit
    from atrous.data.audit.cache import key_of, remember
    from atrous.engine.build import build_datamodule
    from atrous.pages.images import save_image
    from atrous.report.audit import audit_sheet, show_audit
    from atrous.runs.record import now
    from atrous.system.files import to_json, write_text

    datamodule = build_datamodule(config)
    datasets, absent = _datasets(datamodule, settings.splits)
    keys = {split: key_of(dataset) for split, dataset in datasets.items()}
    report = audit(datasets, accept=settings.accept)
    report = replace(report, findings=(*report.findings, *absent))
    if datamodule.cache_folder is not None:
        remember(report, keys, datamodule.cache_folder)
    show_audit(Console(), report, f"audit of {data}")
    if (out := settings.out) is not None:
        content = {"data": data, "command": settings.command, "created": now(), **report.as_json()}
        write_text(out / "audit.json", to_json(content))
        per_split = [len(part) for part in np.array_split(np.arange(settings.samples), len(datasets))]
        chosen = {split: (datasets[split], count) for split, count in zip(datasets, per_split, strict=True)}
        sheet = audit_sheet(report, chosen, f"{data}: image | mask over image")
        if sheet is not None:
            save_image(out / "samples.png", sheet)
        print(f"written to {out}: audit.json{', samples.png' * (sheet is not None)}")
    if report.errors:
        sys.exit(1)


def _datasets(
    datamodule: SegmentationDataModule, splits: list[Split] | None
) -> tuple[dict[str, SegmentationDataset], list[Finding]]:
    """The splits to audit, and a finding for a test split that should be there and is not."""
    from atrous.data.audit.findings import Finding
    from atrous.errors import DataError
    from atrous.system.text import printable

    if splits is not None:
        return {split: datamodule.raw_dataset(split) for split in splits}, []
    datasets = {split: datamodule.raw_dataset(split) for split in ("train", "val")}
    try:
        return {**datasets, "test": datamodule.raw_dataset("test")}, []
    except DataError as error:
        if error.kind == "absent":  # nobody asked for one
            return datasets, []
        return datasets, [Finding("split", "warning", ("test",), f"not audited: {printable(error)}", 1)]
