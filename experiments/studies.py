"""From a study's run folders: scores.csv (a row for each run), table.md and, for each score named, a panel of figure.png.

python experiments/studies.py STUDY_FOLDER FOLDER_TO_WRITE [baseline=...] [name=place.in.result.json ...]

Each dot is a run, a line joins the means of the seeds. The first setting that varies runs along the axis, further ones
are colours. The table's differences are the report's: a bootstrap over images with Student's t over the runs.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import atrous
from atrous.report.study import Group, Spread, Study
from atrous.report.tables import interval
from atrous.system.text import amount, duration

USUAL = {"mIoU": "scores.miou"}


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    given = dict(argument.split("=", 1) for argument in sys.argv[3:])
    baseline = given.pop("baseline", None)
    places = {**USUAL, **given}
    study = atrous.read_runs(folder, baseline=baseline)
    out.mkdir(parents=True, exist_ok=True)
    write_scores(study, places, out / "scores.csv")
    (out / "table.md").write_text(table(study, places))
    draw(study, places, out / "figure.png")


def values(group: Group, place: str) -> list[float]:
    """What stands at `scores.miou` in each run's result.json, or the mean over places joined by a comma."""
    found = []
    for run in group.runs:
        parts = []
        for one in place.split(","):
            part: Any = run.result
            for key in one.split("/") if "/" in one else one.split("."):
                part = part[int(key)] if isinstance(part, list) else part[key]
            parts.append(float(part))
        found.append(float(np.mean(parts)))
    return found


def write_scores(study: Study, places: dict[str, str], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*(column.name for column in study.columns), "seed", *places, "train_seconds", "macs"])
        for group in study.groups:
            scores = [values(group, place) for place in places.values()]
            for run, *row in zip(group.runs, *scores, strict=True):
                costs = [f"{run.cost('train_seconds'):.0f}", f"{run.cost('macs'):.0f}"]
                writer.writerow([*group.values, run.seed, *(f"{score:.5f}" for score in row), *costs])


def table(study: Study, places: dict[str, str]) -> str:
    """Markdown: settings, seeds, mean ± std of each score, and mIoU's difference to the baseline."""
    others = [name for name in places if name not in USUAL]
    settings = [column.name for column in study.columns]
    head = [*settings, "n", "mIoU", "difference [95 %]", "verdict", *others, "MACs", "training"]
    lines = [
        " | ".join(head),
        " | ".join([*["---"] * len(settings), *["---:"] * 3, "---", *["---:"] * (len(others) + 2)]),
    ]
    for group in study.groups:
        first, *rest = (Spread(tuple(values(group, place))).text() for place in places.values())
        cells = [*group.values, str(group.n), first, interval(group), group.verdict, *rest]
        lines.append(" | ".join([*cells, amount(group.cost("macs")), duration(group.cost("train_seconds"))]))
    return "".join(f"| {line} |\n" for line in lines)


def draw(study: Study, places: dict[str, str], path: Path) -> None:
    names = list(dict.fromkeys(group.values[0] for group in study.groups))
    series = list(dict.fromkeys(group.values[1:] for group in study.groups))
    across_page = min(3, len(places))
    down = math.ceil(len(places) / across_page)
    figure, grid = plt.subplots(
        down, across_page, figsize=(3.4 * across_page, 2.7 * down), squeeze=False, layout="constrained"
    )
    axes = list(grid.flat)
    for spare in axes[len(places) :]:
        spare.remove()
    for panel, (name, place) in zip(axes, places.items(), strict=False):
        for number, rest in enumerate(series):
            groups = [group for group in study.groups if group.values[1:] == rest]
            across = np.array([names.index(group.values[0]) for group in groups], float)
            across += 0.12 * (number - (len(series) - 1) / 2)
            label = ", ".join(f"{column.name} {value}" for column, value in zip(study.columns[1:], rest, strict=True))
            panel.plot(across, [np.mean(values(group, place)) for group in groups], color=f"C{number}", label=label)
            for at, group in zip(across, groups, strict=True):
                scores = values(group, place)
                panel.plot([at] * len(scores), scores, "o", color=f"C{number}", markersize=4, alpha=0.7)
        panel.set(title=name, xlabel=study.columns[0].name, xticks=range(len(names)), xlim=(-0.5, len(names) - 0.5))
        panel.set_xticklabels(names, rotation=20 if max(map(len, names)) > 6 else 0)
        panel.grid(axis="y", alpha=0.3)
    if len(series) > 1:
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(3, len(series)), fontsize=8
        )
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
