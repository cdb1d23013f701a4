"""A sweep of 12 jobs whose launcher is killed (SIGKILL) at random moments, and a sweep of which some jobs raise.

    python experiments/sweeps/run.py FOLDER [KILLS]

Writes run folders below FOLDER and prints what became of them.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TRAIN = [sys.executable, str(Path(__file__).parents[2] / "train.py"), "-m"]
SMALL = [
    *("model=unet", "model.padded=true", "model.batch_norm=true", "model.encoder.channels=[8,16,32]"),
    *("data.size=[64,64]", "data.scale_range=[4,32]", "data.train.length=64", "data.val.length=20"),
    *("trainer.max_steps=40", "trainer.val_check_interval=20", "callbacks.last.every_minutes=0.02"),
    *("optimizer=adamw", "optimizer.lr=1e-3"),
]
AFTER = (15, 60)  # seconds from a start to its kill


def main() -> None:
    folder, kills = Path(sys.argv[1]), int((*sys.argv, 4)[2])
    finished = kill(folder / "killed", kills)
    straight = subprocess.run(
        [*TRAIN, *SMALL, f"paths.runs={folder / 'straight'}", "seed=range(12)"], capture_output=True
    )
    one, other = (results(folder / name / "sweep") for name in ("killed", "straight"))
    again = [name for name, moment in finished.items() if written(folder / "killed" / "sweep" / name) != moment]
    equal = sum(one[name]["scores"] == result["scores"] for name, result in other.items())
    print(
        f"\nrun folders: {len(one)}, of which finished: {sum(result['status'] == 'finished' for result in one.values())}"
    )
    print(f"finished jobs that were written again: {', '.join(again) or 'none'}")
    print(f"undisturbed sweep: status {straight.returncode}; scores equal to the last bit: {equal} of {len(other)}\n")

    raising(folder)


def raising(folder: Path) -> None:
    rates = "optimizer.lr=1e-3,1e30,3e-3"
    command = [*TRAIN, *SMALL, f"paths.runs={folder / 'raising'}", rates, "seed=0,1"]
    ended = subprocess.run(command, capture_output=True, text=True)
    print(f"{rates} seed=0,1: status {ended.returncode}\n{ended.stderr.strip()}")
    report = [sys.executable, "-m", "atrous", "report", str(folder / "raising"), f"out={folder / 'report'}"]
    print(subprocess.run(report, capture_output=True, text=True).stdout)


def kill(runs: Path, kills: int) -> dict[str, int]:
    """Starts the sweep until it ends by itself, and returns when each finished job's result was written at first."""
    draw, finished = random.Random(0), dict[str, int]()
    print("| start | killed after | jobs finished before | at its end | gone on with, after updates |")
    print("| ---: | ---: | ---: | ---: | --- |")
    for number in range(kills + 1):
        before, began = len(finished), time.monotonic()
        process = subprocess.Popen(
            [*TRAIN, *SMALL, f"paths.runs={runs}", "seed=range(12)"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ended = f"ended, status {process.wait(draw.uniform(*AFTER) if number < kills else None)}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended = f"{time.monotonic() - began:.0f} s"
        found = results(runs / "sweep")
        resumed = [
            f"{name.rpartition('-')[0]}, {result['resumed'][-1].get('steps', 0)}"
            for name, result in found.items()
            if len(result.get("resumed", [])) and name not in finished
        ]
        for name, result in found.items():
            if result["status"] == "finished":
                finished.setdefault(name, written(runs / "sweep" / name))
        print(f"| {number + 1} | {ended} | {before} | {len(finished)} | {'; '.join(resumed)} |", flush=True)
    return finished


def results(study: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(study.glob("*/result.json"))}


def written(run: Path) -> int:
    return (run / "result.json").stat().st_mtime_ns


if __name__ == "__main__":
    main()
