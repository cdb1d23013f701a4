"""What `audit` shows: tables of splits and classes, findings, and a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from atrous.system.text import printable

if TYPE_CHECKING:
    from atrous.data.audit.audit import Report
    from atrous.data.audit.samples import SplitFigures
    from atrous.pages.images import Pixels
    from atrous.types import SegmentationDataset

SIDE = 320  # pixels of a sample's longer side on the contact sheet


def show_audit(console: Console, report: Report, title: str) -> None:
    """The tables of splits and classes, the findings, and settings to paste."""
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
    if not figures.read:
        return ""
    sizes, counts = np.unique(figures.sizes, axis=0, return_counts=True)
    (height, width), share = sizes[counts.argmax()], counts.max() / figures.read
    if len(sizes) == 1:
        return f"{height} x {width}"
    (least_h, least_w), (most_h, most_w) = figures.sizes.min(0), figures.sizes.max(0)
    return f"{least_h} to {most_h} x {least_w} to {most_w}\n{len(sizes):,} sizes, {share:.0%} {height} x {width}"


def _class_table(report: Report) -> Table:
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


def audit_sheet(report: Report, chosen: Mapping[str, tuple[SegmentationDataset, int]], title: str) -> Pixels | None:
    """Evenly spaced samples of each split, image | mask over image; None where none can be read."""
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
