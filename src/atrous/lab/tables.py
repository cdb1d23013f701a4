"""The dilation lab's numbers as text: a row per setting (CSV, Markdown) and a row per run (CSV)."""

from __future__ import annotations

import math
from typing import Any

from atrous.lab.data import SIZES, Lab, Spread, Variant
from atrous.system.text import amount, csv_text, in_full, markdown, number, score

_MIB = 2.0**20


def table_csv(lab: Lab) -> str:
    """A row per setting, numbers in full: scores and shares 0 to 1, pixels, seconds, bytes."""
    head = [*(str(column["key"]) for column in lab.raw["columns"]), "n", "miou", "miou_std"]
    for size in SIZES:
        head += [f"recall_{size}", f"recall_{size}_std"]
    for distance in lab.distances:
        head += [f"context_iou_{distance}px", f"context_iou_{distance}px_std", f"context_right_{distance}px"]
    head += ["rates", "theoretical_field_px", "effective_field_px", "effective_field_px_std", "valid_weights"]
    head += ["places", "macs", "parameters", "latency_p50_s", "latency_p05_s", "latency_p95_s", "latency_cpu_s"]
    head += ["inference_peak_bytes", "training_peak_bytes"]
    rows = []
    for variant in lab.variants:
        row: list[Any] = [*variant.values, variant.n]
        row += _both(variant.miou)
        for size in SIZES:
            row += _both(variant.recall(size))
        for distance in lab.distances:
            row += [*_both(variant.context(distance)), in_full(variant.context(distance, "right").mean)]
        row += [variant.rates, in_full(variant.field), *_both(variant.effective), in_full(variant.valid)]
        row += [len(variant.maps[0].places) if variant.maps else ""]
        row += [in_full(variant.cost(key)) for key in ("macs", "parameters", "latency")]
        row += [in_full(number((variant.raw["latency"] or {}).get(key))) for key in ("p05", "p95")]
        row += [in_full(variant.cost(key)) for key in ("cpu", "inference", "training")]
        rows.append(row)
    return csv_text(head, rows)


def runs_csv(lab: Lab) -> str:
    """A row per run, numbers in full."""
    head = [*(str(column["key"]) for column in lab.raw["columns"]), "seed", "folder", "miou"]
    head += [f"recall_{size}" for size in SIZES]
    for distance in lab.distances:
        head += [f"context_iou_{distance}px", f"context_right_{distance}px"]
    head += ["effective_field_px", "effective_deviation_down_px", "effective_deviation_across_px"]
    rows = []
    for variant in lab.variants:
        for run in variant.runs:
            alone = Variant(variant.id, variant.style, {**variant.raw, "runs": [run]}, variant.maps)
            row: list[Any] = [*variant.values, run["seed"], run["folder"], in_full(alone.miou.mean)]
            row += [in_full(alone.recall(size).mean) for size in SIZES]
            for distance in lab.distances:
                row += [in_full(alone.context(distance, key).mean) for key in ("iou", "right")]
            deviation = (run["effective"] or {}).get("deviation") or [None, None]
            row += [in_full(alone.effective.mean), *(in_full(number(value)) for value in deviation)]
            rows.append(row)
    return csv_text(head, rows)


def table_md(lab: Lab) -> str:
    """The table for a README, units in its head; columns that no setting has a number for are left out."""
    columns: list[tuple[str, list[str]]] = [
        (name, [variant.values[index] for variant in lab.variants]) for index, name in enumerate(lab.columns)
    ]
    settings = len(columns)
    columns += [
        ("n", [str(variant.n) for variant in lab.variants]),
        ("mIoU", [variant.miou.text() for variant in lab.variants]),
        *((f"recall, {size}", [variant.recall(size).text() for variant in lab.variants]) for size in SIZES),
        *(
            (f"context IoU at {distance} px", [variant.context(distance).text() for variant in lab.variants])
            for distance in lab.distances
        ),
        ("theoretical field, px", [field_text(variant) for variant in lab.variants]),
        ("effective field, px", [variant.effective.text(".0f") for variant in lab.variants]),
        ("valid weights", [valid_text(variant) for variant in lab.variants]),
        *((name, [cost_text(variant, key) for variant in lab.variants]) for key, name in COST_NAMES.items()),
    ]
    shown = [column for column in columns[settings:] if set(column[1]) != {"–"}]
    columns = [*columns[:settings], *shown]
    lines = [[name for name, _ in columns], ["---"] * settings + ["---:"] * len(shown)]
    lines += [list(row) for row in zip(*(texts for _, texts in columns), strict=True)]
    cells = [[markdown(cell) if index != 1 else cell for cell in line] for index, line in enumerate(lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


COST_NAMES = {
    "macs": "MACs",
    "parameters": "parameters",
    "latency": "latency, ms",
    "cpu": "CPU time, ms",
    "inference": "inference, MiB",
    "training": "training, MiB",
}


def cost_text(variant: Variant, key: str) -> str:
    """In the unit that `COST_NAMES` tells."""
    value = variant.cost(key)
    if key in ("macs", "parameters"):
        return amount(value)
    return score(
        value * 1e3 if key in ("latency", "cpu") else value / _MIB, ".1f" if key in ("latency", "cpu") else ".0f"
    )


def field_text(variant: Variant) -> str:
    """The theoretical field in pixels."""
    if variant.raw["sees"] is None:
        return "–"
    return "whole image" if math.isnan(variant.field) else f"{variant.field:.0f}"


def valid_text(variant: Variant) -> str:
    """The share of each rate's weights that lie on the map, at the evaluation's size."""
    return ", ".join(f"{rate.valid:.0%}" for rate in variant.maps[0].rates) if variant.maps else "–"


def _both(spread: Spread) -> list[str]:
    return [in_full(spread.mean), in_full(spread.std)]
