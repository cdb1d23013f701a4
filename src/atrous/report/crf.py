"""The table of `tune_crf`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

KNOBS = ("bilateral_weight", "bilateral_sxy", "bilateral_srgb", "gaussian_weight", "gaussian_sxy", "iterations")
_SHOWN = 10  # rows


def crf_table(rows: Sequence[dict[str, float]], alone: dict[str, float], title: str) -> Table:
    """The first rows, and the network alone."""
    table = Table(title=title, title_justify="left")
    for column in (*KNOBS, "mIoU", "accuracy"):
        table.add_column(column.replace("_", "\n"), justify="right")
    blank = [*[""] * (len(KNOBS) - 1), "no CRF"]
    for row in rows[:_SHOWN]:
        table.add_row(*(f"{row[key]:g}" for key in KNOBS), f"{row['miou']:.4f}", f"{row['pixel_accuracy']:.4f}")
    table.add_section()
    table.add_row(*blank, f"{alone['miou']:.4f}", f"{alone['pixel_accuracy']:.4f}")
    return table


def crf_overrides(row: dict[str, float]) -> str:
    """The settings as `evaluate` and `predict` take them."""
    return " ".join(["inference=crf", *(f"inference.crf.{key}={row[key]:g}" for key in KNOBS)])
