"""From a finished run on CamVid: curve.csv, curve.png, and the table of the README.

python experiments/camvid_baseline/plot.py RUN_FOLDER [FOLDER_TO_WRITE]
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

KNOWN = {0.568: "known before, after 40 minutes", 0.590: "camvid_baseline, after 46 minutes"}
COLUMNS = ("epoch", "step", "lr", "train/loss", "val/miou")


def main() -> None:
    run, out = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parent)
    with (run / "metrics.csv").open() as file:
        rows = [{name: row[name] for name in COLUMNS} for row in csv.DictReader(file)]
    rows = [row for row in rows if row["val/miou"] or int(row["step"]) % 50 == 49]
    with (out / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, run.name, out)
    result = json.loads((run / "result.json").read_text())
    classes = result["per_class"]
    print("| class | IoU | Dice | accuracy |\n|---|---|---|---|")
    for values in zip(*(classes[key] for key in ("names", "iou", "dice", "class_accuracy")), strict=True):
        print(f"| {values[0]} | " + " | ".join(f"{value:.3f}" for value in values[1:]) + " |")
    scores = result["scores"]
    print(f"| **mean** | **{scores['miou']:.3f}** | {scores['dice']:.3f} | {scores['class_accuracy']:.3f} |")
    print({key: result[key] for key in ("scores", "cost", "protocol", "epochs", "steps")})


def draw(rows: list[dict[str, str]], title: str, out: Path) -> None:
    figure, left = plt.subplots(figsize=(7, 3.6), layout="constrained")
    right = left.twinx()
    losses = [(int(row["epoch"]) + 1, float(row["train/loss"])) for row in rows if row["train/loss"]]
    scores = [(int(row["epoch"]) + 1, float(row["val/miou"])) for row in rows if row["val/miou"]]
    right.plot(*zip(*losses, strict=True), color="tab:gray", linewidth=0.8, label="train loss (one batch)")
    left.plot(*zip(*scores, strict=True), color="tab:blue", marker="o", markersize=3, label="val mIoU (EMA weights)")
    for (known, label), colour in zip(KNOWN.items(), ("tab:orange", "tab:green"), strict=True):
        left.axhline(known, color=colour, linestyle="--", linewidth=1, label=f"{known:.3f}: {label}")
    left.set(xlabel="epoch", ylabel="val mIoU", ylim=(0, 0.7))
    right.set_ylabel("train loss")
    lines = [*left.get_lines(), *right.get_lines()]
    left.legend(lines, [str(line.get_label()) for line in lines], loc="center right", fontsize=8)
    left.set_title(title, fontsize=10)
    figure.savefig(out / "curve.png", dpi=130)


if __name__ == "__main__":
    main()
