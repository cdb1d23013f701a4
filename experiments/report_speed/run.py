"""How long `report` takes with many runs: copies of one real run folder that differ in rate and seed.

python experiments/report_speed/run.py RUN_FOLDER [COPIES]

Files are linked, all but config.yaml and result.json, whose seed and optimizer.lr differ: five seeds to a rate, and mIoUs that
differ a little. Prints the seconds of three calls.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SEEDS = 5


def main() -> None:
    run, copies = Path(sys.argv[1]).resolve(), int((*sys.argv, 1000)[2])
    draw = random.Random(0)
    config, result = yaml.safe_load((run / "config.yaml").read_text()), json.loads((run / "result.json").read_text())
    with tempfile.TemporaryDirectory(dir=run.parent) as scratch:
        study = Path(scratch) / "study"
        for number in range(copies):
            folder = study / f"run-{number:04}"
            config["seed"], config["optimizer"]["lr"] = number % SEEDS, 1e-4 * (1 + number // SEEDS)
            changed = {**result, "scores": {**result["scores"], "miou": result["scores"]["miou"] + draw.gauss(0, 0.01)}}
            link(run, folder)
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            (folder / "result.json").write_text(json.dumps(changed))
        command = [sys.executable, "-m", "atrous", "report", str(study), f"out={scratch}/report"]
        for _ in range(3):
            wall, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime
            size = (Path(scratch) / "report" / "report.html").stat().st_size / 2**20
            print(
                f"{copies} runs: {time.perf_counter() - wall:.1f} s, {seconds:.1f} s of one core, "
                f"at most {used.ru_maxrss / 2**10:.0f} MiB; the page has {size:.1f} MiB"
            )


def link(run: Path, folder: Path) -> None:
    for path in run.rglob("*"):
        part = path.relative_to(run)
        if path.is_file() and "checkpoints" not in part.parts and part.name not in ("config.yaml", "result.json"):
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, folder / part)


if __name__ == "__main__":
    main()
