"""Every method on CamVid and scenes: tuned on train images, scored on val ones, in one table.

python experiments/classical/run.py CAMVID_FOLDER RUNS_FOLDER [NETWORK_RUN ...]

Ends with table.csv and table.md beside this file. What is finished in RUNS_FOLDER is not done again.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np

import atrous
from atrous.runs.scores import read_evaluation

HERE = Path(__file__).parent
FEW = 8  # segments of the clusterings
GRIDS: dict[str, dict[str, list[Any]]] = {  # what is tried on train images; the others are the yaml's
    "kmeans": {"features.position": [0.2, 0.5, 1.0]},
    "spectral": {"gamma": [5, 20, 80], "features.position": [0.2, 0.5]},
    "normalized_cuts": {"gamma": [5, 20, 80], "features.position": [0.2, 0.5]},
    "slic": {"compactness": [5, 10, 20]},
    "watershed": {"compactness": [0, 0.0001, 0.001]},
    "felzenszwalb": {"scale": [100, 200, 400]},
    "quickshift": {"max_dist": [8, 16]},
    "mean_shift": {"range_bandwidth": [6, 10]},
    "graph_cut": {"smoothness": [0.5, 2]},
    "grabcut": {},
}
SLOW = ("quickshift", "mean_shift", "graph_cut", "grabcut")  # tuned on fewer images
MOST_SEGMENTS = 250  # on average; settings that make more are not chosen


def main() -> None:
    camvid, runs, *networks = map(Path, sys.argv[1:])
    many = subset(camvid, runs / "data-40", train=40, val=26)
    few = subset(camvid, runs / "data-10", train=10, val=1)
    rows = []
    for name, grid in GRIDS.items():
        chosen = tuned(name, grid, few if name in SLOW else many, runs)
        for data, words in (("CamVid", [f"data.root={many}", "data=camvid"]), ("scenes", ["data=scenes"])):
            run = scored(runs / "scores", f"method={name}", *words, *chosen)
            rows.append(row(data, name, " ".join(word.removeprefix("method.") for word in chosen), run.folder))
    for folder in networks:
        scored_network = atrous.evaluate(folder, f"data.root={many}", f"out={runs / 'network' / folder.name}")
        rows.append(row("CamVid", "network", str(scored_network.protocol["inference"]), scored_network))
    write(rows)


def subset(camvid: Path, out: Path, **counts: int) -> Path:
    """Links to evenly spaced images of CamVid's splits."""
    for split, count in counts.items():
        names = sorted(path.name for path in (camvid / split).glob("*.png"))
        chosen = [names[index] for index in np.linspace(0, len(names) - 1, count).astype(int)]
        for folder in (split, f"{split}annot"):
            (out / folder).mkdir(parents=True, exist_ok=True)
            for name in chosen:
                if not (out / folder / name).exists():
                    (out / folder / name).symlink_to((camvid / folder / name).resolve())
    return out.resolve()


def scored(folder: Path, *words: str) -> Any:
    return atrous.train(*words, f"paths.runs={folder}", "resume=auto", "data.num_workers=0")


def tuned(name: str, grid: dict[str, list[Any]], root: Path, runs: Path) -> list[str]:
    """The words of the setting with the best mIoU on the train images."""
    best: tuple[float, list[str]] = (-1.0, [])
    for values in itertools.product(*grid.values()):
        words = [f"method.{key}={value}" for key, value in zip(grid, values, strict=True)]
        if len(list(itertools.product(*grid.values()))) == 1:
            return words
        run = scored(runs / "tuning", f"method={name}", "data=camvid", f"data.root={root}", "eval_split=train", *words)
        number = run.part("segments")["number"]
        print(f"tuning {name} {' '.join(words)}: mIoU {run.score:.4f}, {number:.0f} segments", flush=True)
        if number <= MOST_SEGMENTS and run.score > best[0]:
            best = (run.score, words)
    return best[1]


def row(data: str, name: str, settings: str, source: Any) -> dict[str, Any]:
    evaluation = read_evaluation(source) if isinstance(source, Path) else source
    scores = interval(evaluation)
    found = {"data": data, "method": name, "settings": settings, "images": len(evaluation.names), **scores}
    if isinstance(source, Path):
        run = atrous.read_runs(source).runs[0]
        found |= run.part("segments")
        found["seconds"] = run.part("cost")["seconds_per_image"]
    return found


def interval(evaluation: Any) -> dict[str, float]:
    """The mIoU with its 95 % interval over images."""
    draws = evaluation.resampled(2000, 0).drawn[:, 0]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return {
        "miou": evaluation.score,
        "low": float(low),
        "high": float(high),
        "accuracy": evaluation.scores["pixel_accuracy"],
    }


def write(rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(key for one in rows for key in one))
    with (HERE / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    shown = {
        "number": "segments",
        "covering": "covering",
        "variation_of_information": "VI, bits",
        "undersegmentation_error": "UE",
        "achievable_accuracy": "accuracy",
        "outline_f1": "outline F1",
        "seconds": "s an image",
    }
    lines = []
    for data in dict.fromkeys(one["data"] for one in rows):
        lines += [
            f"| {data} | settings | mIoU, 95 % | {' | '.join(shown.values())} |",
            "|---|---|---:|" + "---:|" * len(shown),
        ]
        for one in (one for one in rows if one["data"] == data):
            cells = [f"{one[key]:.3g}" if key in one else "" for key in shown]
            cells[4] = cells[4] or f"{one['accuracy']:.3g}"
            score = f"{one['miou']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
            lines.append(f"| {one['method']} | {one['settings']} | {score} | {' | '.join(cells)} |")
        lines.append("")
    (HERE / "table.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
