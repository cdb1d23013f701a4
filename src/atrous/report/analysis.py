"""What `analyse` shows: tables, and a picture of the effective field and of the atrous convolutions' valid weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from atrous.system.files import save_figure

if TYPE_CHECKING:
    from atrous.analysis.analyse import Analysis
    from atrous.analysis.effective_field import EffectiveField
    from atrous.analysis.receptive_field import Fields
    from atrous.analysis.valid_weights import AtrousConvs


def show_analysis(console: Console, seen: Analysis) -> None:
    """Tables of fields and atrous convolutions, checkerboards and the effective field in lines, and a warning."""
    fields, effective = seen.fields, seen.effective
    title = f"{seen.name}: receptive fields"
    table = Table(title=title, title_justify="left")
    for column in ("part", "channels", "stride", "receptive field"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in fields.parts:
        table.add_row(part.name, str(part.channels), _both(part.stride), _field(part.field))
    console.print(table)
    if fields.unknown:
        console.print(f"taken to see all that goes in, since they are not known: {', '.join(fields.unknown)}")
    if seen.convs:
        table = Table(title="atrous convolutions", title_justify="left")
        for column in ("first", "number", "map", "rate", "valid weights", "all valid", "only one"):
            table.add_column(column, justify="left" if column == "first" else "right")
        for c in seen.convs:
            shares = [f"{share:.1%}" for share in (c.valid, c.all_valid, c.one_valid)]
            table.add_row(c.names[0], str(len(c.names)), f"{c.size[0]} x {c.size[1]}", _both(c.dilation), *shares)
        console.print(table)
    for name, energy in seen.checkerboards.items():
        console.print(f"checkerboard of {name}: {energy:.2%} of the output's energy on an even map")
    if effective:
        deviation = " x ".join(f"{value:.1f}" for value in effective.deviation)
        console.print(
            f"effective receptive field of the logits: {effective.size:.1f} pixels, standard deviation {deviation}"
        )
    if seen.warning:
        console.print(f"[yellow]warning[/] {seen.warning}", soft_wrap=True)


def _both(pair: tuple[float, float]) -> str:
    first, second = (f"{value:g}" for value in pair)
    return first if first == second else f"{first} x {second}"


def _field(field: tuple[int | None, int | None]) -> str:
    if field == (None, None):
        return "whole image"
    return " x ".join("whole" if side is None else str(side) for side in field)


def draw_analysis(path: Path, seen: Analysis) -> bool:
    """The effective field beside DeepLabv3's figure 4 for the network's widest maps; whether there was anything to draw."""
    from matplotlib.figure import Figure

    drawings: list[Callable[[Any], None]] = []
    if seen.effective is not None:
        drawings.append(partial(_draw_field, size=seen.size, fields=seen.fields, effective=seen.effective))
    if seen.convs:
        drawings.append(partial(_draw_taps, convs=seen.convs))
    if not drawings:
        return False
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for draw, axes in zip(drawings, figure.subplots(1, len(drawings), squeeze=False)[0], strict=True):
        draw(axes)
    save_figure(path, figure)
    return True


def _draw_field(axes: Any, size: Sequence[int], fields: Fields, effective: EffectiveField) -> None:
    from matplotlib.patches import Rectangle

    shown = axes.imshow(effective.gradient.sqrt().numpy(), cmap="magma", vmin=0, vmax=1)
    axes.figure.colorbar(shown, ax=axes, label="square root of the gradient, maximum 1")
    theoretical = fields["logits"].field
    sides = {"effective": (effective.size, effective.size), "theoretical": theoretical}
    for (name, (height, width)), color in zip(sides.items(), ("cyan", "white"), strict=True):
        if height is None or width is None:
            continue
        corner = (size[1] / 2 - width / 2, size[0] / 2 - height / 2)
        axes.add_patch(
            Rectangle(corner, width, height, fill=False, color=color, label=f"{name}, {height:.0f} x {width:.0f}")
        )
    axes.set(
        xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5), title="effective receptive field of the middle logits"
    )
    axes.legend(loc="upper left", fontsize="small")


def _draw_taps(axes: Any, convs: list[AtrousConvs]) -> None:
    from atrous.analysis.valid_weights import valid_counts

    widest = max(convs, key=lambda c: max(c.dilation))
    (height, width), (rows, columns) = widest.size, widest.kernel
    rates = range(1, max(height, width, *widest.dilation) + 1)
    for valid, label in ((rows * columns, f"all {rows * columns} weights valid"), (1, "only one valid")):
        shares = []
        for rate in rates:
            counts = [valid_counts(n, kernel=k, dilation=rate) for n, k in ((height, rows), (width, columns))]
            shares.append(float((counts[0][:, None] * counts[1] == valid).double().mean()))
        axes.plot(rates, shares, label=label)
    for c in convs:
        if (c.size, c.kernel) == (widest.size, widest.kernel):
            axes.axvline(max(c.dilation), color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="rate; dotted: the network's", ylabel="share of places", ylim=(-0.02, 1.02))
    axes.set_title(f"{rows} x {columns} convolutions on a map of {height} x {width}")
    axes.legend(fontsize="small")
