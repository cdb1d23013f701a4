"""figure.png from the scores.csv of folders that run.py has written: python experiments/crf/plot.py FOLDER..."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

PANELS = {"miou": "mIoU", "boundary_f1": "boundary F1", "band_accuracy": "accuracy near boundaries"}


def main() -> None:
    figure, axes = plt.subplots(1, len(PANELS), figsize=(10.2, 3), layout="constrained")
    for colour, folder in enumerate(map(Path, sys.argv[1:])):
        with (folder / "scores.csv").open() as file:
            rows = list(csv.DictReader(file))
        counts = sorted({int(row["iterations"]) for row in rows})
        for panel, (key, title) in zip(axes, PANELS.items(), strict=True):
            scores = [[float(row[key]) for row in rows if int(row["iterations"]) == count] for count in counts]
            panel.plot(range(len(counts)), [np.mean(found) for found in scores], color=f"C{colour}", label=folder.name)
            for place, found in enumerate(scores):
                panel.plot([place] * len(found), found, "o", color=f"C{colour}", markersize=4, alpha=0.7)
            panel.set(title=title, xlabel="iterations", xticks=range(len(counts)), xticklabels=counts)
            panel.grid(axis="y", alpha=0.3)
    axes[0].legend()
    figure.savefig(Path(__file__).parent / "figure.png", dpi=130)


if __name__ == "__main__":
    main()
