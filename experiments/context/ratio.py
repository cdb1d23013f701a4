"""ratio.png: IoU of the fields over how far a network sees as a share of the context distance, from summary.md beside it.

python experiments/context/ratio.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt

GUESS = 1 / 3  # IoU of a network that finds every field and tosses a coin for its class


def main() -> None:
    folder = Path(sys.argv[1])
    lines = (folder / "summary.md").read_text().splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    for number, distance in enumerate(dict.fromkeys(row[0] for row in rows)):
        of_distance = [row for row in rows if row[0] == distance]
        ratios = [int(row[2]) / int(distance) for row in of_distance]
        means, deviations = zip(*(map(float, row[-1].split(" ± ")) for row in of_distance), strict=True)
        axes.errorbar(
            ratios, means, deviations, fmt="o-", color=f"C{number}", capsize=3, label=f"context_distance {distance}"
        )
    axes.axvline(1, color="grey", linestyle=":")
    axes.axhline(GUESS, color="grey", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")
    axes.set(xlabel="pixels seen to each side / context distance", ylabel="IoU of the fields", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(folder / "ratio.png", dpi=130)


if __name__ == "__main__":
    main()
