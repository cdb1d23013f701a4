"""The report as one HTML page; page.html beside this file is its template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atrous.pages.frame import render
from atrous.report.figures import costs, curves, sweeps
from atrous.report.images import samples
from atrous.report.study import Group, Study, notes
from atrous.report.tables import interval
from atrous.runs.compare import FEWEST, FEWEST_IMAGES
from atrous.system.text import amount, duration

_MOST_CELLS = 12_000  # of the heat map
_COSTS = {"parameters": amount, "macs": amount, "train_seconds": duration}


def page(study: Study, *, title: str, out: Path, command: str, created: str, protocol: Sequence[str]) -> str:
    """The whole page.

    Args:
        study: What to show.
        title: Its heading.
        out: The folder that it will lie in; run folders are linked from there.
        command: What made the report.
        created: When.
        protocol: How the baseline, or else the first setting, was scored, in lines.
    """
    compared = [group.difference for group in study.groups if group.difference is not None]
    ends = [abs(end) for found in compared for end in (found.low, found.high) if not math.isnan(end)]
    heads: list[tuple[str, str, bool]] = [(column.name, column.key, False) for column in study.columns]
    heads += [("n", "", True), (study.main_score.name, "", True)]
    if study.baseline is not None:
        heads += [("difference, 95 % interval", "", True), ("", "", False), ("verdict", "", False)]
    drawn, undrawn = curves(study)
    pictures, sample_notes = samples(study.ranked)
    names = {"truth": "truth", **{group.id: study.label(group) for group in study.groups}}
    return render(
        "report/page.html",
        study=study,
        title=title,
        out=out,
        made_by=command,
        created=created,
        protocol=protocol,
        finished=sum(run.finished for run in study.runs),
        best=max(study.groups, key=lambda group: group.score.mean) if len(study.groups) > 1 else None,
        heads=[*heads, *((name, "", True) for name in ("parameters", "MACs", "training"))],
        largest=max(ends, default=0.0),
        costs=_COSTS,
        interval=interval,
        notes=notes(study),
        resamples=compared[0].resamples if compared else 0,
        fewest=FEWEST,
        fewest_images=FEWEST_IMAGES,
        sweeps=sweeps(study),
        over_cost=costs(study),
        sizes=sorted({str(run.part("cost").get("macs_image_size")) for group in study.groups for run in group.runs}),
        curves=drawn,
        undrawn=undrawn,
        heat=_heat(study),
        samples=[
            (sample, [(key, names[key], uri) for key, uri in {"truth": sample.truth, **sample.predictions}.items()])
            for sample in pictures
        ],
        sample_notes=sample_notes,
        failed=_failed(study),
        runs=list(_runs(study)),
    )


def _heat(study: Study) -> list[tuple[Group, list[tuple[str, int, str]]]]:
    """For each group with the first one's classes each class's IoU in per cent, its place between the table's lowest and
    highest in per cent, and a mark where its difference from the baseline leaves out 0."""
    if not study.groups:
        return []
    first = study.baseline or study.groups[0]
    most = max(2, _MOST_CELLS // max(1, len(first.classes)))
    chosen = {group.id for group in [group for group in study.ranked if group.classes == first.classes][:most]}
    shown = [group for group in study.groups if group.id in chosen]
    known = np.concatenate([group.iou[~np.isnan(group.iou)] for group in shown])
    least, most_iou = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    rows = []
    for group in shown:
        nothing = np.full(len(group.iou), np.nan)
        found = group.difference
        low, high = (nothing, nothing) if found is None else (found.iou_low, found.iou_high)
        cells = []
        for value, below, above in zip(group.iou.tolist(), low, high, strict=True):
            mark = "▲" if below > 0 else "▼" if above < 0 else ""
            place = 100 * (value - least) / ((most_iou - least) or 1)
            cells.append(("–", 0, "") if math.isnan(value) else (f"{100 * value:.0f}", round(place), mark))
        rows.append((group, cells))
    return rows


def _failed(study: Study) -> list[tuple[str, str, str, Path]]:
    """Status, settings, reason and folder of what did not finish or could not be read."""
    finished = [run for run in study.runs if run.finished] if study.unfinished else []  # a fingerprint takes 10 ms
    done = {run.fingerprint: run for run in finished if run.fingerprint}
    rows = []
    for run, values in zip(study.runs, study.values, strict=True):
        if not run.finished:
            reason = run.error or "no error is recorded"
            if (later := done.get(run.fingerprint)) is not None:
                reason += f"; finished since then: run {study.numbers[later.folder]}"
            rows.append((str(run.status), f"{study.settings(values)}, seed={run.seed}", reason, run.folder))
    return rows + [("unreadable", "", left.reason, left.folder) for left in study.unread]


def _runs(study: Study) -> Any:
    """Each run with its settings, its group and its status."""
    owner = {run.folder: group for group in study.groups for run in (*group.runs, *group.repeated)}
    for run, values in zip(study.runs, study.values, strict=True):
        group = owner.get(run.folder)
        repeated = group is not None and any(other is run for other in group.repeated)
        yield run, study.settings(values), group, "older, not counted" if repeated else str(run.status)
