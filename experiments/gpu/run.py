"""All that a device is asked about atrous, stage by stage; goes on where it stopped.

    python experiments/gpu/run.py [--device cuda|cpu] [--minutes 9] [--out FOLDER]

Each stage's results are in FOLDER/STAGE.json, rewritten whole after each item, and all of them on FOLDER/page.html. What
failed is tried again at the end of the next call.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import atrous
from atrous.system.files import to_json, write_text

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import fast  # noqa: E402
import page  # noqa: E402
import right  # noqa: E402

STAGES = {"right": right.items, "fast": fast.items}
Item = tuple[str, str, Callable[[], dict[str, Any]]]


def main(arguments: Sequence[str] | None = None) -> None:
    start = time.monotonic()
    parser = argparse.ArgumentParser(description="Is atrous right and fast on this device?")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu rehearses, with small images")
    parser.add_argument("--minutes", type=float, default=9, help="no item is begun that may end later")
    parser.add_argument(
        "--out", type=Path, help="folder of the results; default: gpu-results/DEVICE of the current one"
    )
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device here; --device cpu rehearses without one")
    out = options.out or Path("gpu-results", options.device)
    device = torch.device(options.device)
    machine = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {platform.machine()}",
        "torch": torch.__version__,
        "atrous": atrous.__version__,
    }
    results = {stage: read(out / f"{stage}.json", machine, parser) for stage in STAGES}
    page.write(out / "page.html", machine, results)
    longest = 0.0
    todo = pending(device, results)
    for count, (stage, name, compute) in enumerate(todo):
        begun = time.monotonic()
        if begun - start + longest > 60 * options.minutes:
            print(f"{len(todo) - count} items are left; the same command goes on")
            return
        row = attempt(compute)
        taken = time.monotonic() - begun
        longest = max(longest, taken)
        results[stage][name] = {**row, "seconds": round(taken, 1)}
        write_text(out / f"{stage}.json", to_json({"machine": machine, "items": results[stage]}))
        page.write(out / "page.html", machine, results)
        print(f"{stage}: {name}: {page.summary(row)}", flush=True)
    print("no items are left")


def read(path: Path, machine: dict[str, str], parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The items of a stage that earlier calls have done on such a machine."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text())
    if stored["machine"] != machine:
        parser.error(f"{path} is of {stored['machine']}, this is {machine}; give another --out")
    items: dict[str, Any] = stored["items"]
    return items


def pending(device: torch.device, results: dict[str, dict[str, Any]]) -> list[Item]:
    """What is not done, the most valuable first; what failed before comes last."""
    found = [(rank, stage, name, run) for stage, items in STAGES.items() for rank, name, run in items(device)]
    found = [item for item in found if "failed" in results[item[1]].get(item[2], {"failed": None})]
    found.sort(key=lambda item: (item[2] in results[item[1]], item[0]))  # stable
    return [item[1:] for item in found]


def attempt(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return compute()
    except Exception as error:  # of any kind: a device's first run must tell all that it can
        return {"failed": f"{type(error).__name__}: {error}"[:2000]}
    finally:
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
