"""Dense CRF after trained networks at 0, 1, 2 and 10 iterations, its settings tuned on other images than are scored.

python experiments/crf/run.py OUT tune=SPLIT score=SPLIT images=N sxy=[...] RUN_FOLDER... [-- key=value ...]

RUN_FOLDER are runs that differ in their seed. The settings are tuned on the first one's checkpoint at 10 iterations, by
mIoU, and used for all. Writes OUT/tune, OUT/<run>-<iterations> for each, and adds rows to OUT/scores.csv.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import atrous
from atrous.report.crf import KNOBS
from atrous.report.study import Spread
from atrous.runs.compare import difference
from atrous.runs.scores import read_evaluation

ITERATIONS = (0, 1, 2, 10)
KEYS = ("run", "iterations", "miou", "pixel_accuracy", "boundary_f1", "band_accuracy", "interior_accuracy")


def main() -> None:
    out, *rest = sys.argv[1:]
    cut = rest.index("--") if "--" in rest else len(rest)
    given, more = rest[:cut], rest[cut + 1 :]
    options = dict(word.split("=", 1) for word in given if "=" in word)
    runs = [Path(word) for word in given if "=" not in word]
    folder = Path(out)
    settings = tuned(runs[0], folder, options, more)
    rows = [score(run, count, folder, options["score"], settings, more) for run in runs for count in ITERATIONS]
    path = folder / "scores.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, KEYS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
    print("settings:", *settings)
    show(rows, runs, folder)


def tuned(run: Path, out: Path, options: dict[str, str], more: list[str]) -> list[str]:
    """The best settings as evaluate takes them."""
    found = out / "tune" / run.name / "tune_crf.csv"
    if not found.exists():
        grid = ["bilateral_weight=[5,10,20]", f"bilateral_sxy={options['sxy']}", "bilateral_srgb=[3,5,10]"]
        grid += ["gaussian_weight=[1,3]", "gaussian_sxy=[1,3]", "iterations=[10]"]
        where = [f"ckpt={run}/checkpoints/best.ckpt", f"split={options['tune']}", f"images={options['images']}"]
        command = [sys.executable, "-m", "atrous", "tune_crf", *where, *grid, f"out={found.parent}", *more]
        subprocess.run(command, check=True)
    with found.open() as file:
        best = next(row for row in csv.DictReader(file) if row["iterations"] != "0")  # 0: the network alone
    return [f"inference.crf.{key}={best[key]}" for key in KNOBS if key != "iterations"]


def score(run: Path, count: int, out: Path, split: str, settings: list[str], more: list[str]) -> dict[str, object]:
    folder = out / f"{run.name}-{count}"
    if not (folder / "result.json").exists():
        crf = ["inference=crf", f"inference.crf.iterations={count}", *settings] if count else []
        atrous.evaluate(run, f"split={split}", f"out={folder}", "extra_metrics=true", *crf, *more)
    result = json.loads((folder / "result.json").read_text())
    boundary = result["boundary"]
    scores = [result["scores"]["miou"], result["scores"]["pixel_accuracy"], boundary["f1"]]
    scores += [boundary[part]["pixel_accuracy"] for part in ("region", "interior")]
    return dict(zip(KEYS, [run.name, count, *(round(number, 5) for number in scores)], strict=True))


def show(rows: list[dict[str, object]], runs: list[Path], out: Path) -> None:
    """The table in Markdown, each against no iterations."""
    print("| iterations | mIoU | difference [95 %] | " + " | ".join(KEYS[3:]) + " |")
    print("| ---: " * 7 + "|")
    for count in ITERATIONS:
        of_count = [row for row in rows if row["iterations"] == count]
        spread = [Spread(tuple(float(str(row[key])) for row in of_count)).text() for key in KEYS[2:]]
        gap = ""
        if count:
            sides = [[read_evaluation(out / f"{run.name}-{number}") for run in runs] for number in (count, 0)]
            found = difference(*sides, resamples=10_000, seed=0)
            gap = f"{found.score:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        print(f"| {count} | {spread[0]} | {gap} | " + " | ".join(spread[1:]) + " |")


if __name__ == "__main__":
    main()
