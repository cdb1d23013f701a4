"""The page of what is measured so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atrous.pages.frame import render
from atrous.system.files import write_text

LEADS = {
    "right": "The device beside the CPU; an error is right up to its bound, which experiments/gpu/right.py explains.",
    "fast": "A training step beside a bare loop over segmentation-models-pytorch's same net, in turns; medians.",
}


def write(path: Path, machine: dict[str, str], results: dict[str, dict[str, Any]]) -> None:
    """Writes the page: a table for each stage, its items in the order in which they were done."""
    tables = [
        {
            "id": stage,
            "heading": stage.capitalize(),
            "lead": LEADS[stage],
            "heads": ["item", "found", "seconds"],
            "rows": [[name, summary(row), f"{row['seconds']:g}"] for name, row in items.items()],
        }
        for stage, items in results.items()
    ]
    lead = ", ".join(f"{name} {value}" for name, value in machine.items())
    if "CPU" in machine["device"]:
        lead += ". A rehearsal: nothing here is a figure of a GPU."
    write_text(path, render("pages/tables.html", title="atrous on this device", lead=lead, tables=tables))


def summary(row: dict[str, Any]) -> str:
    """A result in one line."""
    if "failed" in row:
        return f"failed: {row['failed']}"
    return "; ".join(f"{name} {told(value)}" for name, value in row.items() if name != "seconds" and value is not None)


def told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, dict):
        return f"{told(value['error'])} (up to {told(value['bound'])})"
    if isinstance(value, list):
        return " to ".join(map(told, value)) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
