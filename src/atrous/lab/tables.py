"""The dilation lab's numbers: columns for its page, and as text a row per setting (CSV, Markdown) and a row per run (CSV)."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple

from atrous.lab.data import SIZES, Lab, Variant
from atrous.report.study import Spread
from atrous.report.tables import markdown_table
from atrous.system.text import amount, csv_text, in_full, number, score

_MIB = 2.0**20


class Column(NamedTuple):
    """A number that each setting has.

    Attributes:
        key: Its name in lab.csv.
        name: Its name for people; empty: it stands in lab.csv alone.
        tooltip: What it is.
        of: The number of a setting; of a `Spread` lab.csv has the standard deviation, too.
        style: How it is written for people; empty: with a prefix such as M.
        scale: From lab.csv's unit to that of people.
        wording: What people read instead.
    """

    key: str
    name: str
    tooltip: str
    of: Callable[[Variant], Any]
    style: str = ".3f"
    scale: float = 1.0
    wording: Callable[[Variant], str] | None = None

    def text(self, variant: Variant) -> str:
        value = self.of(variant)
        if self.wording is not None:
            return self.wording(variant)
        if isinstance(value, Spread):
            return value.text(self.style)
        return score(value * self.scale, self.style) if self.style else amount(value)

    def mean(self, variant: Variant) -> Any:
        value = self.of(variant)
        return value.mean if isinstance(value, Spread) else value

    def cells(self, variant: Variant) -> dict[str, str]:
        """What stands in lab.csv."""
        value = self.of(variant)
        if isinstance(value, Spread):
            return {self.key: in_full(value.mean), f"{self.key}_std": in_full(value.std)}
        return {self.key: value if isinstance(value, str) else in_full(value)}


def _field_text(variant: Variant) -> str:
    if variant.raw["sees"] is None:
        return "–"
    return "whole image" if math.isnan(variant.field) else f"{variant.field:.0f}"


def _valid_text(variant: Variant) -> str:
    return ", ".join(f"{rate.valid:.0%}" for rate in variant.maps[0].rates) if variant.maps else "–"


def _cost(key: str, csv_key: str, name: str, tooltip: str, style: str = "", scale: float = 1.0) -> Column:
    return Column(csv_key, name, tooltip, methodcaller("cost", key), style, scale)


COSTS = [
    _cost("macs", "macs", "MACs", "multiply-accumulates of one image"),
    _cost("parameters", "parameters", "parameters", "numbers that training sets"),
    _cost("p50", "latency_p50_s", "latency, ms", "median wall clock of one image", ".1f", 1e3),
    _cost("cpu", "latency_cpu_s", "CPU time, ms", "median processor time of one image", ".1f", 1e3),
    _cost("inference", "inference_peak_bytes", "inference, MiB", "peak memory of one image", ".0f", 1 / _MIB),
    _cost("training", "training_peak_bytes", "training, MiB", "peak memory of a training step", ".0f", 1 / _MIB),
]
_FIELDS = [
    Column("rates", "", "", attrgetter("rates")),
    Column(
        "theoretical_field_px", "theoretical field, px", "seen by the logits", attrgetter("field"), wording=_field_text
    ),
    Column(
        "effective_field_px", "effective field, px", "side of a square of what counts", attrgetter("effective"), ".0f"
    ),
    Column("valid_weights", "valid weights", "share of a rate's on the map", attrgetter("valid"), wording=_valid_text),
    Column("places", "places", "that the rates' weights read around one place", attrgetter("places"), ".0f"),
]


def columns(lab: Lab) -> list[Column]:
    """Scores and shares from 0 to 1, pixels, seconds and bytes."""
    scores = [
        Column("n", "n", "runs, one for each seed", attrgetter("n"), ".0f"),
        Column("miou", "mIoU", "mean ± standard deviation over the runs", attrgetter("miou")),
    ]
    for size in SIZES:
        tooltip = f"recall of {size} connected parts, mean over classes"
        scores.append(Column(f"recall_{size}", f"recall, {size}", tooltip, methodcaller("recall", size)))
    for distance in lab.distances:
        name, tooltip = (
            f"context IoU at {distance} px",
            "IoU of the two classes of field with their markers so far away",
        )
        scores.append(Column(f"context_iou_{distance}px", name, tooltip, methodcaller("context", distance)))
        scores.append(Column(f"context_right_{distance}px", "", "", methodcaller("context", distance, "right")))
    tails = [_cost(key, f"latency_{key}_s", "", "") for key in ("p05", "p95")]
    return [*scores, *_FIELDS, *COSTS, *tails]


def columns_for_people(lab: Lab) -> list[Column]:
    """Those that any setting has a number for."""
    named = [column for column in columns(lab) if column.name]
    return [column for column in named if any(column.text(variant) != "–" for variant in lab.variants)]


def table_csv(lab: Lab) -> str:
    """A row per setting, numbers in full."""
    rows = [
        {key: cell for column in columns(lab) for key, cell in column.cells(variant).items()}
        for variant in lab.variants
    ]
    values = (variant.values for variant in lab.variants)
    return csv_text([*lab.keys, *rows[0]], [[*own, *row.values()] for own, row in zip(values, rows, strict=True)])


def runs_csv(lab: Lab) -> str:
    """A row per run, numbers in full."""
    found = [column for column in columns(lab) if isinstance(column.of(lab.variants[0]), Spread)]
    head = [*lab.keys, "seed", "folder", *(column.key for column in found)]
    rows: list[list[Any]] = []
    for variant in lab.variants:
        for run in variant.runs:
            numbers = [column.mean(variant.alone(run)) for column in found]
            numbers += map(number, (run["effective"] or {}).get("deviation") or [None, None])
            rows.append([*variant.values, run["seed"], run["folder"], *map(in_full, numbers)])
    return csv_text([*head, "effective_deviation_down_px", "effective_deviation_across_px"], rows)


def table_md(lab: Lab) -> str:
    """The table for a README, units in its head."""
    found = columns_for_people(lab)
    head = [*lab.columns, *(column.name for column in found)]
    rows = [[*variant.values, *(column.text(variant) for column in found)] for variant in lab.variants]
    return markdown_table(head, rows, left=len(lab.columns))
