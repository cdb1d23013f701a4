"""The dilation lab as one HTML page: what the settings of a study score, see and cost; page.html is its template."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from atrous.lab import figures as draw
from atrous.lab.data import SIZES, Lab
from atrous.lab.svg import standalone
from atrous.lab.tables import columns_for_people
from atrous.lab.taps import extent, places_on_map, taps
from atrous.pages.frame import render
from atrous.report.study import Spread


def page(lab: Lab, *, out: Path) -> str:
    """The whole page.

    Args:
        lab: What to show.
        out: The folder that it will lie in; run folders are linked from there.
    """
    runs = [(variant, run) for variant in lab.variants for run in variant.runs]
    columns = columns_for_people(lab)
    of_run = [column for column in columns if isinstance(column.of(lab.variants[0]), Spread)]
    pictures = [variant for variant in lab.variants if variant.maps]
    half = extent(pictures)
    protocols = dict.fromkeys(line for _, run in runs for line in run["protocol"])
    return render(
        "lab/page.html",
        lab=lab,
        raw=lab.raw,
        title=str(lab.raw["title"]),
        out=out,
        runs=[(variant, run, [column.text(variant.alone(run)) for column in of_run]) for variant, run in runs],
        run_heads=[
            ("settings", "", False),
            ("seed", "", True),
            *((column.name, column.tooltip, True) for column in of_run),
            ("folder", "", False),
        ],
        best=max(lab.variants, key=lambda variant: variant.miou.mean) if len(lab.variants) > 1 else None,
        columns=columns,
        heads=[
            *((name, "setting", False) for name in lab.columns),
            *((column.name, column.tooltip, True) for column in columns),
        ],
        image_pool=any((variant.raw["sees"] or {}).get("image_pool") for variant in lab.variants),
        figures=draw.figures(lab),
        trained=sorted({str(run["trained_distance"]) for _, run in runs if run.get("trained_distance")}),
        objects=next((_objects(run["objects"]) for _, run in runs if run.get("objects")), None),
        pictures=[
            (variant, taps(variant.maps[0], variant.label, half), places_on_map(variant.maps[0]))
            for variant in pictures
        ],
        across=2 * half,
        effective=next((run["effective"] for _, run in runs if run.get("effective")), None),
        memory=next((variant.raw["memory"] for variant in lab.variants if variant.raw["memory"]), None),
        protocol=list(protocols)[:20],
    )


def _objects(objects: dict[str, Any]) -> dict[str, Any]:
    """The sides in pixels that small objects stay below and large ones begin with, and how many there are of each size."""
    small, large = objects.get("limits") or (32**2, 96**2)
    number = dict(zip(objects["sizes"], objects.get("number") or (), strict=False))
    counts = [f"{size}: {number[size]:.0f}" for size in SIZES if number.get(size) is not None]
    return {"small": math.isqrt(small), "large": math.isqrt(large), "counts": counts}


def figures(lab: Lab) -> dict[str, str]:
    """SVG files by their names: the page's charts and pictures that there is something to draw for."""
    files = {}
    for name, group in draw.figures(lab).items():
        if group:
            drawn = [(charts[0].title, [chart.svg() for chart in charts]) for charts in group]
            files[name] = standalone(drawn, lab.legend)
    variants = [variant for variant in lab.variants if variant.maps]
    if variants:
        half = extent(variants)
        pictures = [(variant.label, [taps(variant.maps[0], variant.label, half)]) for variant in variants]
        files["taps"] = standalone(pictures, [], columns=2 if len(pictures) in (2, 4) else 3)
    return files
