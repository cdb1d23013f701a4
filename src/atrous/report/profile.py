"""What `profile` shows: a table, a CSV and a plot of score over cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from atrous.system.files import save_figure
from atrous.system.text import csv_text

Row = dict[str, Any]


def _parts(row: Row) -> tuple[str, ...]:
    height, width = row["size"]
    return row["mode"], f"{row['batch_size']} x {height} x {width}", row["precision"]


def point_name(row: Row) -> str:
    """Such as "inference, 1 x 512 x 512, 32-true"."""
    return ", ".join(_parts(row))


def profile_table(rows: list[Row]) -> Table:
    """A line for each row; what all points have in common stands in the title."""
    varies = [len(set(values)) > 1 for values in zip(*map(_parts, rows), strict=True)]  # the others are told once
    alike = [part for part, varied in zip(_parts(rows[0]), varies, strict=True) if not varied]
    table = Table(title=f"cost of a batch ({', '.join(alike) or 'as told'}); MACs of an image", title_justify="left")
    columns = ["model", "weights, M", "MACs, G", "p50, ms", "p95, ms", "images/s", "peak, MB"]
    scored, energy = (any(row.get(key) is not None for row in rows) for key in ("score", "energy"))
    columns += ["J/image"] * energy + ["mIoU"] * scored
    for column in columns:
        left = column == "model"
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    told = None
    for row in rows:
        keys = [("parameters", 1e-6, 2), ("macs", 1e-9, 1), ("p50", 1e3, 1), ("p95", 1e3, 1), ("throughput", 1, 2)]
        keys += [("peak_memory", 2.0**-20, 0), *[("energy", 1, 2)] * energy, *[("score", 1, 3)] * scored]
        values = ["" if row.get(key) is None else f"{row[key] * factor:.{digits}f}" for key, factor, digits in keys]
        name = "/".join(Path(row["model"]).parts[-2:])  # of a run's folder its own and the one above
        point = ", ".join(part for part, varied in zip(_parts(row), varies, strict=True) if varied)
        if point and told != row["model"]:
            table.add_section()
            table.add_row(Text(name, style="bold"))
            told = row["model"]
        table.add_row(Text(f"  {point}" if point else name), *values)
    return table


_COLUMNS = (
    "model", "mode", "batch_size", "height", "width", "precision", "parameters", "macs", "p50", "p95", "throughput",
    "peak_memory", "energy", "score", "device", "error",
)  # fmt: skip


def profile_csv(rows: list[Row]) -> str:
    """Seconds, images per second, bytes, joules per image."""
    sized = [{**row, "height": row["size"][0], "width": row["size"][1]} for row in rows]
    return csv_text(_COLUMNS, [[row.get(column) for column in _COLUMNS] for row in sized])


def draw_profile(path: Path, rows: list[Row]) -> bool:
    """Score over latency, over MACs and over memory, a colour a run; whether any row has a score."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    scored = [row for row in rows if row["score"] is not None and not row["error"]]
    if not scored:
        return False
    colours = _numbered([row["model"] for row in scored], [f"C{i}" for i in range(10)])
    markers = _numbered([point_name(row) for row in scored], "osD^vP*X")
    figure = Figure(figsize=(14, 5), layout="constrained")
    costs = (
        ("p50", 1e3, "median latency of a batch, ms"),
        ("macs", 1e-9, "MACs of an image, G"),
        ("peak_memory", 2.0**-20, "peak memory, MB"),
    )
    for axes, (key, factor, label) in zip(figure.subplots(1, 3, sharey=True), costs, strict=True):
        for (_, colour), (_, marker), row in zip(colours, markers, scored, strict=True):
            if row.get(key) is not None:
                axes.scatter(factor * row[key], row["score"], color=colour, marker=marker)
        axes.set(xscale="log", xlabel=label)
    figure.axes[0].set_ylabel("mIoU")
    handles = [
        Line2D([], [], color=colour, label="/".join(Path(name).parts[-2:])) for name, colour in dict(colours).items()
    ]
    handles += [
        Line2D([], [], color="grey", marker=marker, linestyle="", label=point)
        for point, marker in dict(markers).items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
    save_figure(path, figure)
    return True


def _numbered(values: list[str], looks: Sequence[str]) -> list[tuple[str, str]]:
    """Each value with the look that stands for it."""
    order = list(dict.fromkeys(values))
    return [(value, looks[order.index(value) % len(looks)]) for value in values]
