"""k-means on colours and on networks' features, at equal k: what the features are worth.

python experiments/deep_features/run.py CAMVID_SUBSET RUNS_FOLDER IMAGENET_WEIGHTS CAMVID_RUN

CAMVID_SUBSET is what experiments/classical/run.py has linked: 40 train images, 26 val ones. Writes table.md beside this file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atrous

K = 11  # as many clusters as classes
LEVELS = (2, 4)


def main() -> None:
    root, runs, weights, trained = map(Path, sys.argv[1:])
    colours = {"rgb": 0, "lab": 0, "position": 0}
    subjects = {
        name: ["method=kmeans", *(f"method.features.{key}={value}" for key, value in {**colours, **chosen}.items())]
        for name, chosen in {
            "RGB": {"rgb": 1},
            "Lab": {"lab": 1},
            "Lab and position": {"lab": 1, "position": 1},
        }.items()
    }
    nets = {
        "from scratch (random)": ["encoder=efficientnet_lite0"],
        "ImageNet": ["encoder=efficientnet_lite0", f"weights={weights.resolve()}"],
        "CamVid": [f"ckpt={trained.resolve()}"],
    }
    for name, settings in nets.items():
        for level in LEVELS:
            words = [f"method.features.{setting}" for setting in (*settings, f"level={level}")]
            subjects[f"efficientnet_lite0, {name}, map {level}"] = ["method=kmeans_deep", *words]
    matchings = {
        "each image, majority": [],
        "the split, Hungarian": ["method.train_images=40", "matching.over=data", "matching.by=hungarian"],
        "the split, majority": ["method.train_images=40", "matching.over=data"],
    }
    lines = [
        f"| features | {' | '.join(f'{name}: mIoU (accuracy)' for name in matchings)} | covering |",
        "|---|---:|---:|---:|---:|",
    ]
    for subject, words in subjects.items():
        cells, covering = [], 0.0
        for number, own in enumerate(matchings.values()):
            run = atrous.train(
                *words,
                *own,
                f"method.clusters={K}",
                "method.restarts=3",
                "data=camvid",
                f"data.root={root.resolve()}",
                f"paths.runs={runs}",
                "resume=auto",
                "data.num_workers=0",
            )
            cells.append(f"{run.score:.3f} ({run.scores['pixel_accuracy']:.3f})")
            covering = run.part("segments")["covering"] if number == 0 else covering
        lines.append(f"| {subject} | {' | '.join(cells)} | {covering:.3f} |")
        print(lines[-1], flush=True)
    (Path(__file__).parent / "table.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
