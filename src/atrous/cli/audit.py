"""`audit`: read every file of a data set once, and tell what is wrong with it and its figures."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from atrous.cli.app import run_hydra
from atrous.config.compose import resolved
from atrous.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from atrous.data.audit.audit import Report
    from atrous.data.audit.samples import SplitFigures
    from atrous.data.datamodule import SegmentationDataModule
    from atrous.pages.images import Pixels
    from atrous.types import SegmentationDataset

SIDE = 320  # pixels of a sample's longer side on the contact sheet


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous audit data=... [key=value ...]`; see conf/audit.yaml. Leaves with status 1 where there are errors."""
    run_hydra(job, "audit", argv)


def job(cfg: DictConfig) -> None:
    """Audits one data set."""
    report = run(resolved(cfg), data=str(HydraConfig.get().runtime.choices["data"]))
    if report.errors:
        sys.exit(1)


def run(config: dict[str, Any], *, data: str) -> Report:
    """Shows the report, writes it to `out`, and keeps its errors for the trainings to come.

    Args:
        config: The resolved conf/audit.yaml.
        data: What the report calls the data.
    """
    import numpy as np
    from rich.console import Console

    from atrous.config.command_line import command_line
    from atrous.data.audit.audit import audit
    from atrous.data.audit.cache import key_of, remember
    from atrous.engine.build import build_datamodule
    from atrous.pages.images import save_image
    from atrous.runs.record import now
    from atrous.system.files import to_json, write_text

    samples = config["samples"]
    if not isinstance(samples, int) or samples < 0:
        raise ConfigError(f"samples={samples} is impossible; give a whole number from 0 on.")
    datamodule = build_datamodule(config)
    datasets, absent = _splits(datamodule, config["splits"])
    keys = {split: key_of(dataset) for split, dataset in datasets.items()}
    report = audit(datasets, accept=config["accept"])
    report = dataclasses.replace(report, findings=(*report.findings, *absent))
    if datamodule.cache_folder is not None:
        remember(report, keys, datamodule.cache_folder)
    show(Console(), report, f"audit of {data}")
    if config["out"] is not None:
        out = Path(config["out"])
        out.mkdir(parents=True, exist_ok=True)
        content = {"data": data, "command": command_line(), "created": now(), **report.as_json()}
        write_text(out / "audit.json", to_json(content))
        per_split = [len(part) for part in np.array_split(np.arange(samples), len(datasets))]
        chosen = {split: (datasets[split], count) for split, count in zip(datasets, per_split, strict=True)}
        sheet = _sheet(report, chosen, f"{data}: image | mask over image")
        if sheet is not None:
            save_image(out / "samples.png", sheet)
        print(f"written to {out}: audit.json{', samples.png' * (sheet is not None)}")
    return report


def _splits(
    datamodule: SegmentationDataModule, asked: list[str] | None
) -> tuple[dict[str, SegmentationDataset], list[Any]]:
    """The splits to audit, and a finding for a test split that is not there."""
    from atrous.data.audit.findings import Finding
    from atrous.data.datamodule import SPLITS
    from atrous.system.text import printable

    if asked is not None:
        unknown = [split for split in asked if split not in SPLITS]
        if unknown or not asked:
            raise ConfigError(f"splits={asked}: choose one or more of {', '.join(SPLITS)}, such as 'splits=[train]'.")
        return {split: datamodule.raw_dataset(split) for split in asked}, []
    datasets = {split: datamodule.raw_dataset(split) for split in ("train", "val")}
    try:
        return {**datasets, "test": datamodule.raw_dataset("test")}, []
    except DataError as error:
        return datasets, [Finding("split", "warning", ("test",), f"not audited: {printable(error)}", 1)]


def show(console: Console, report: Report, title: str) -> None:
    """The tables of splits and classes, the findings, and settings to paste."""
    from rich.text import Text

    console.print(_split_table(report, title))
    if any(figures.labelled for figures in report.splits.values()):
        console.print(_class_table(report))
    for finding in report.findings:
        style = "bold red" if finding.severity == "error" else "yellow"
        console.print(
            Text.assemble((finding.severity, style), f" ({finding.kind}) {', '.join(finding.splits)}: {finding.text}"),
            soft_wrap=True,
        )
        for example in finding.examples:
            console.print(Text(f"    {example}", "dim"), soft_wrap=True)
        if finding.count > len(finding.examples) > 0:
            console.print(Text(f"    and {finding.count - len(finding.examples)} more", "dim"))
    if not report.findings:
        console.print(Text("nothing is wrong", "green"))
    console.print()
    for meaning, setting in report.settings().items():
        console.print(Text.assemble((f"{meaning}:\n", "bold"), f"  {setting}"), soft_wrap=True)


def _split_table(report: Report, title: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("split")
    table.add_column("images", justify="right")
    table.add_column("height x width")
    for column in ("ignored", "mean (RGB)", "std (RGB)"):
        table.add_column(column, justify="right")
    for name, figures in report.splits.items():
        images = f"{figures.length:,}" if figures.read == figures.length else f"{figures.read:,} of {figures.length:,}"
        total = figures.ignored + figures.pixels.sum()
        ignored = f"{figures.ignored / max(1, total):.1%}" if figures.labelled else "no labels"
        mean, std = (" ".join(f"{value:.2f}" for value in values) for values in (figures.mean, figures.std))
        table.add_row(name, images, _spread(figures), ignored, mean, std)
    return table


def _spread(figures: SplitFigures) -> str:
    import numpy as np

    if not figures.read:
        return ""
    sizes, counts = np.unique(figures.sizes, axis=0, return_counts=True)
    (height, width), share = sizes[counts.argmax()], counts.max() / figures.read
    if len(sizes) == 1:
        return f"{height} x {width}"
    (least_h, least_w), (most_h, most_w) = figures.sizes.min(0), figures.sizes.max(0)
    return f"{least_h} to {most_h} x {least_w} to {most_w}\n{len(sizes):,} sizes, {share:.0%} {height} x {width}"


def _class_table(report: Report) -> Table:
    from rich.table import Table
    from rich.text import Text

    from atrous.system.text import printable

    table = Table()
    table.add_column("class")
    labelled = {name: figures for name, figures in report.splits.items() if figures.labelled}
    for name in labelled:
        table.add_column(f"{name}\npixels", justify="right")
        table.add_column(f"{name}\nimages", justify="right")
    weighted = report.reference.labelled
    if weighted:
        table.add_column("median-freq.\nweight", justify="right")
        table.add_column("ENet\nweight", justify="right")
        weights = report.reference.class_weights().values()
    for index, name in enumerate(report.class_info.names):
        row = []
        for figures in labelled.values():
            row += [f"{figures.pixels[index] / max(1, figures.pixels.sum()):.2%}", f"{figures.images_with[index]:,}"]
        row += [f"{values[index]:.4g}" for values in weights] if weighted else []
        table.add_row(Text(printable(name)), *row)
    return table


def _sheet(report: Report, chosen: Mapping[str, tuple[SegmentationDataset, int]], title: str) -> Pixels | None:
    """Evenly spaced samples of each split, image | mask over image; None where none can be read."""
    import numpy as np

    from atrous.pages.contact_sheet import contact_sheet, hatched, hatched_swatch, thumbnail
    from atrous.pages.images import overlay

    info = report.class_info
    tiles, captions = [], []
    shown: set[int] = set()
    for split, (dataset, count) in chosen.items():
        for index in np.unique(np.linspace(0, len(dataset) - 1, count).astype(int)):
            try:
                image, mask, name = dataset[int(index)]
            except Exception:  # the report tells of it
                continue
            tile, labels = thumbnail(image, SIDE), thumbnail(mask, SIDE, labels=True)
            caption = "no labels"
            if report.splits[split].labelled:
                painted = hatched(overlay(tile, labels, info), labels == info.ignore_index)
                tile = np.concatenate([tile, np.full((len(tile), 1, 3), 255, np.uint8), painted], axis=1)
                there = np.unique(mask).tolist()
                shown.update(there)
                caption = ", ".join(info.names[label] for label in there if label != info.ignore_index)
            enlarged = max(1, SIDE // max(labels.shape))
            tiles.append(tile.repeat(enlarged, 0).repeat(enlarged, 1))
            captions.append(f"{split}/{name}\n{mask.shape[0]} x {mask.shape[1]}: {caption}")
    if not tiles:
        return None
    legend: list[tuple[str, Any]] = [
        (name, color)
        for label, (name, color) in enumerate(zip(info.names, info.palette, strict=True))
        if label in shown
    ]
    legend += [("ignored", hatched_swatch())] if info.ignore_index in shown else []
    return contact_sheet(tiles, captions, legend, columns=2, title=title)
