"""Compares two run folders, update by update and image by image: python experiments/two_processes/compare.py ONE OTHER"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np


def curve(folder: Path) -> dict[int, float]:
    """update -> loss."""
    with (folder / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}


def main(one: Path, other: Path) -> None:
    first, second = curve(one), curve(other)
    print("| update | loss of one | loss of the other | relative difference |\n|---|---|---|---|")
    differences = {
        step: abs(first[step] - second[step]) / abs(first[step]) for step in sorted(first.keys() & second.keys())
    }
    for step, difference in differences.items():
        print(f"| {step + 1} | {first[step]:.7f} | {second[step]:.7f} | {difference:.1e} |")
    print(f"\n{len(differences)} updates, largest relative difference {max(differences.values()):.1e}")
    stored = [np.load(folder / "confusion.npz") for folder in (one, other)]
    assert list(stored[0]["names"]) == list(stored[1]["names"]), "the runs have scored different images"
    matrices = [each["matrices"].astype(np.int64) for each in stored]
    unlike = np.abs(matrices[0] - matrices[1]).sum() // 2
    print(f"{len(matrices[0])} images, {matrices[0].sum()} labelled pixels, {unlike} of them predicted differently")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
