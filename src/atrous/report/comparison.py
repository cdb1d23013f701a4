"""Two sides' scores beside each other, and whether their difference is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from atrous.metrics.bootstrap import Difference
from atrous.metrics.main_score import MainScore
from atrous.metrics.scores import iou
from atrous.runs.compare import paired_by_seed, verdict
from atrous.runs.scores import Evaluation


def show_comparison(console: Console, a: Sequence[Evaluation], b: Sequence[Evaluation], found: Difference) -> None:
    """A row per class, the mean below, and what it comes to in words."""
    sides = [np.mean([iou(run.matrices.sum(0)) for run in side], axis=0) for side in (a, b)]
    share = a[0].matrices.sum((0, 2)) / max(1, a[0].matrices.sum())
    console.print()
    table = Table(title=f"IoU on the same {len(a[0].names)} images", title_justify="left")
    table.add_column("class")
    for column in ("pixels", "A", "B", "A - B", f"{found.confidence:.0%} interval"):
        table.add_column(column, justify="right")
    for row in zip(a[0].classes, share, *sides, found.iou, found.iou_low, found.iou_high, strict=True):
        name, pixels, left, right, gap, low, high = row
        style = "green" if low > 0 else "red" if high < 0 else ""
        interval = "" if np.isnan(low) else f"{low:+.3f} to {high:+.3f}"
        table.add_row(name, f"{pixels:.1%}", _number(left), _number(right), _number(gap, "+.3f"), interval, style=style)
    table.add_section()
    means = [np.mean([run.main_score.of(run.confusion) for run in side]) for side in (a, b)]
    values = [*(f"{value:.3f}" for value in means), f"{found.score:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}"]
    table.add_row("[bold]mean[/]", "", *(f"[bold]{value}[/]" for value in values))
    console.print(table)
    for name, side in zip("AB", (a, b), strict=True):
        console.print(f"{name}: {', '.join(str(run.source) for run in side)}", soft_wrap=True, highlight=False)
    console.print(f"\n[bold]{_conclusion(found, len(a), len(b), a[0].main_score)}[/]", highlight=False)
    method = f"{found.resamples} resamples of the images"
    if len(a) == len(b) == 1:
        method += ". The interval is about which images were scored; how another seed would train is not in it."
    else:
        method += f", Student's t over the runs, {'paired by seed' if paired_by_seed(a, b) else 'not paired'}."
    console.print(method, soft_wrap=True, highlight=False)


def _conclusion(found: Difference, a: int, b: int, main: MainScore) -> str:
    """The verdict on the side with the higher score, and by how much it is higher."""
    side = "A"
    if found.shown and found.score < 0:
        side, found = "B", replace(found, score=-found.score, low=-found.high, high=-found.low)
    word = verdict(found, a, b)
    interval = f"{main.name} {found.score:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{side} is {word}: {interval}" if found.shown else f"{word}: {interval}"


def _number(value: float, style: str = ".3f") -> str:
    return "absent" if np.isnan(value) else f"{value:{style}}"
