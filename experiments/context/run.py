"""How well fields of `scenes` are told apart over the distance to their marker, and how far each network can see.

    python experiments/context/run.py STUDY_FOLDER OUT [SETTING]

Reads the finished runs of a study that varies data.context_distance and one setting of the model, by default
model.encoder.channels. Writes OUT/distance.csv, a row for each run and each 4 pixels of distance, OUT/summary.md and
OUT/figure.png. A pixel's distance is the larger of rows and columns to the nearest visible pixel of its own field's marker,
since a receptive field is a square. Right is a pixel that has its field's class, among those labelled as one of both.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.ndimage import distance_transform_cdt

from atrous.analysis.receptive_field import receptive_fields
from atrous.data.scenes.scenes import Label, Scenes
from atrous.engine.build import build_datamodule
from atrous.engine.checkpoint import Restored, restore
from atrous.report.study import Spread

STEP = 4  # pixels of distance that make a bin
FIELDS = (Label.FIELD_A, Label.FIELD_B)
Key = tuple[int, str]  # context distance, the setting's value


def main() -> None:
    study, out = Path(sys.argv[1]), Path(sys.argv[2])
    setting = sys.argv[3] if len(sys.argv) > 3 else "model.encoder.channels"
    rows: list[dict[str, Any]] = []
    radius: dict[Key, float] = {}
    iou: dict[Key, list[float]] = defaultdict(list)
    distances: dict[int, list[NDArray[np.int32]]] = {}
    for path in track(sorted(study.glob("*/result.json")), "runs"):
        result = json.loads(path.read_text())
        if result["status"] != "finished":
            continue
        restored = restore(path.parent / "checkpoints" / "best.ckpt", accelerator="cpu")
        scenes = build_datamodule(restored.config).raw_dataset("val")
        assert isinstance(scenes, Scenes)
        far, key = scenes.context_distance, (scenes.context_distance, str(value(restored.config, setting)))
        if far not in distances:
            distances[far] = [to_marker(scenes, index) for index in range(len(scenes))]
        field = receptive_fields(restored.scorer.model).parts[-1].field[0]
        radius[key] = np.inf if field is None else field // 2
        iou[key].append(float(np.mean([result["per_class"]["iou"][label] for label in FIELDS])))
        for bin_, (right, pixels) in enumerate(counted(restored, scenes, distances[far])):
            if pixels:
                names = {"context_distance": far, setting: key[1], "seed": restored.config["seed"]}
                rows.append({**names, "distance": STEP * bin_, "right": right, "pixels": pixels})
    out.mkdir(parents=True, exist_ok=True)
    with (out / "distance.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (out / "summary.md").write_text(summary(rows, radius, iou, distances, setting))
    draw(rows, radius, setting, out / "figure.png")


def value(config: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def to_marker(scenes: Scenes, index: int) -> NDArray[np.int32]:
    """Each field pixel's distance to its own marker, (H, W); -1 elsewhere and where the marker is hidden."""
    scene = scenes.describe(index)
    found = np.full(scene.owner.shape, -1, np.int32)
    fields = [place for place, thing in enumerate(scene.objects) if thing.label in FIELDS]
    markers = range(len(scene.objects) - len(fields), len(scene.objects))
    for field, marker in zip(fields, markers, strict=True):
        seen = scene.owner == marker
        if seen.any():
            inside = scene.owner == field
            found[inside] = distance_transform_cdt(~seen, metric="chessboard")[inside]
    return found


@torch.inference_mode()
def counted(restored: Restored, scenes: Scenes, distances: list[NDArray[np.int32]]) -> NDArray[np.int64]:
    """Field pixels that have the right one of both classes, and that have one of both, for each bin, (bins, 2)."""
    model = restored.scorer.model.eval()
    longest = max(int(distance.max()) for distance in distances)
    found = np.zeros((longest // STEP + 1, 2), np.int64)
    for index, distance in enumerate(distances):
        raw = scenes[index]
        logits = model(restored.normalise(raw.image)[None]).logits
        logits = torch.nn.functional.interpolate(logits, raw.mask.shape, mode="bilinear")
        predicted = logits[0].argmax(0).numpy()
        counts = (distance >= 0) & np.isin(predicted, FIELDS)
        bins = distance // STEP
        np.add.at(found[:, 1], bins[counts], 1)
        np.add.at(found[:, 0], bins[counts & (predicted == raw.mask)], 1)
    return found


def summary(
    rows: list[dict[str, Any]],
    radius: dict[Key, float],
    iou: dict[Key, list[float]],
    distances: dict[int, list[NDArray[np.int32]]],
    setting: str,
) -> str:
    """Markdown: how far a network sees, how many field pixels have their marker in sight, and how many of both are right."""
    lines = [
        f"| context_distance | {setting.rpartition('.')[2]} | sees, px to each side | field pixels with their marker in sight "
        "| right within sight | right beyond | IoU of the fields |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key in sorted(radius, key=lambda key: (key[0], radius[key], key[1])):
        apart = np.concatenate([distance[distance >= 0] for distance in distances[key[0]]])
        shares = []
        for within in (True, False):
            of_key = [
                row
                for row in rows
                if (row["context_distance"], row[setting]) == key
                and (row["distance"] + STEP - 1 <= radius[key]) == within
            ]
            seeds = sorted({row["seed"] for row in of_key})
            found = [
                sum(row["right"] for row in of_key if row["seed"] == seed)
                / sum(row["pixels"] for row in of_key if row["seed"] == seed)
                for seed in seeds
            ]
            shares.append(spread(found))
        reach = f"{radius[key]:.0f}" if np.isfinite(radius[key]) else "all"
        sight = f"{(apart <= radius[key]).mean():.0%}"
        lines.append(f"| {key[0]} | {key[1]} | {reach} | {sight} | {' | '.join(shares)} | {spread(iou[key])} |")
    return "\n".join(lines) + "\n"


def spread(found: list[float]) -> str:
    return Spread(tuple(found)).text() if len(found) > 1 else ""


def draw(rows: list[dict[str, Any]], radius: dict[Key, float], setting: str, path: Path) -> None:
    """A panel for each context distance; a line for each run, and where each network's sight ends."""
    panels = sorted({far for far, _ in radius})
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.4), sharey=True, layout="constrained")
    names = list(dict.fromkeys(name for _, name in sorted(radius, key=lambda key: radius[key])))
    for panel, far in zip(np.atleast_1d(axes), panels, strict=True):
        for number, name in enumerate(names):
            of_net = [row for row in rows if (row["context_distance"], row[setting]) == (far, name)]
            for seed in sorted({row["seed"] for row in of_net}):
                of_run = [row for row in of_net if row["seed"] == seed and row["pixels"] >= 200]
                x = [row["distance"] + STEP / 2 for row in of_run]
                y = [row["right"] / row["pixels"] for row in of_run]
                panel.plot(x, y, color=f"C{number}", alpha=0.8, linewidth=1.2, label=name if seed == 0 else None)
            if np.isfinite(radius.get((far, name), np.inf)):
                panel.axvline(radius[far, name], color=f"C{number}", linestyle=":", linewidth=1)
        panel.axhline(0.5, color="grey", linewidth=0.8)
        panel.set(title=f"context_distance {far}", xlabel="pixels from a field's pixel to its marker")
        panel.grid(alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel("right one of both fields")
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names), title=setting)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
