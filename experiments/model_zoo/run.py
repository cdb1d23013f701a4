"""Measures every model of conf/model and compares their sizes with published ones; writes README.md beside this file.

    python experiments/model_zoo/run.py [--only NAME]      # NAME's rows alone are printed, not written

Linux only: peak memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.progress import track

from atrous.analysis.cost import macs
from atrous.config.compose import CONF_DIR, prepare

HERE = Path(__file__).parent
CLASSES, SIZE, PATCH_SIZE = 19, 512, 64
THREADS, REPEATS = 2, 3
OTHERS = ("custom", "smp", "torchvision")  # other people's models
TOLERANCE = 0.02


def build(name: str, overrides: Sequence[str]) -> torch.nn.Module:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", overrides=[f"model={name}", *overrides])
    model: torch.nn.Module = instantiate(config.model, _convert_="all").eval()
    return model


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def measure(name: str, size: int, overrides: Sequence[str]) -> dict[str, Any]:
    """The cost of one image, in a process that has built nothing else."""
    torch.set_num_threads(THREADS)
    before = memory("VmRSS")
    torch.manual_seed(0)
    model = build(name, overrides)
    images = torch.randn(1, 3, size, size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, so that it isn't that of building
    seconds = []
    with torch.no_grad():
        for _ in range(1 + REPEATS):
            start = time.perf_counter()
            model(images)
            seconds.append(time.perf_counter() - start)
    peak = memory("VmHWM") - before
    return {
        "parameters": parameters(model),
        "macs": macs(model, size, size),
        "milliseconds": 1000 * statistics.median(seconds[1:]),
        "peak": peak,
    }


def memory(key: str) -> int:
    """Bytes: VmRSS is this process's resident size, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def measure_apart(name: str, size: int, overrides: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", json.dumps([name, size, list(overrides)])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measured


def cost_row(label: str, cost: dict[str, Any]) -> str:
    return (
        f"| {label} | {cost['parameters'] / 1e6:.2f} | {cost['macs'] / 1e9:.1f} | {cost['milliseconds']:.0f} "
        f"| {cost['peak'] / 2**20:.0f} |"
    )


def published_row(entry: dict[str, Any]) -> str:
    with torch.device("meta"):
        model = build(entry["model"], entry["overrides"])
    size = entry["macs_size"]
    counted = macs(model, *size) if size else None
    settings = " ".join(override.removeprefix("model.") for override in entry["overrides"])
    at = f" at {size[1]} x {size[0]}" if size else ""
    off = [
        difference(parameters(model), entry["parameters"]),
        difference(counted, entry["macs"]),
    ]
    beyond = any(value is not None and abs(value) > TOLERANCE for value in off)
    note = f"**{entry['note']}**" if beyond else entry["note"]
    if beyond and not entry["note"]:
        raise ValueError(
            f"{entry['model']} differs by {off} from its published size and published.yaml gives no reason"
        )
    return (
        f"| `{entry['model']}` {settings} | {millions(entry['parameters'])} | {millions(parameters(model))} | {percent(off[0])} "
        f"| {billions(entry['macs'])} | {billions(counted)}{at} | {percent(off[1])} | {entry['source']} | {note} |"
    )


def difference(ours: float | None, published: float | None) -> float | None:
    return None if ours is None or published is None else ours / float(published) - 1


def millions(value: float | None) -> str:
    return "" if value is None else f"{float(value) / 1e6:.3f}"


def billions(value: float | None) -> str:
    return "" if value is None else f"{float(value) / 1e9:.1f}"


def percent(value: float | None) -> str:
    if value is None:
        return ""
    text = f"{100 * value:+.2f}".replace("-0.00", "0.00").replace("+0.00", "0.00")
    return f"**{text}**" if abs(value) > TOLERANCE else text


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def readme(names: list[str], entries: list[dict[str, Any]], load: float) -> str:
    costs = {name: measure_apart(name, SIZE, [f"data.num_classes={CLASSES}"]) for name in track(names, "measuring")}
    modes = {
        mode: measure_apart("patch_classifier", PATCH_SIZE, [f"data.num_classes={CLASSES}", f"model.mode={mode}"])
        for mode in track(("patches", "convolutional"), "patch classifier")
        if "patch_classifier" in names
    }
    head = "parameters, M | MACs, G | ms | peak memory, MB |\n|---|---:|---:|---:|---:|"
    parts = [
        f"""# What does each model cost, and is it as large as published?

    python experiments/model_zoo/run.py

This page is written by that command; `--only NAME` prints the rows of one model instead. About five minutes.

## Cost

Each model as its yaml has it, with {CLASSES} classes and random weights, on one image of {SIZE} x {SIZE} pixels: evaluation without
gradients, median of {REPEATS} after one to warm up, {THREADS} threads of an {cpu()}, torch {torch.__version__}, float32, load {load:.1f} before. MACs
are multiply-accumulates of convolutions and matrix products. Peak memory is what the process holds at its peak beyond what
it held before the model was built, the weights included.

| model | {head}
""",
        *(f"{cost_row(f'`{name}`', cost)}\n" for name, cost in costs.items()),
    ]
    if modes:
        times, work = ([mode[key] for mode in modes.values()] for key in ("milliseconds", "macs"))
        parts += [
            f"""
The patch classifier on {PATCH_SIZE} x {PATCH_SIZE} pixels, patch by patch as in its paper, and as one convolutional net with equal logits:

| mode | {head}
""",
            *(f"{cost_row(mode, cost)}\n" for mode, cost in modes.items()),
            f"\nPatch by patch is {work[0] / work[1]:.0f} times the work and {times[0] / times[1]:.0f} times the time.\n",
        ]
    parts += [
        f"""
## Published sizes

Ours against the paper or a release, with the settings that make ours that net (`published.yaml`). A difference beyond
{TOLERANCE:.0%} is bold, and so is its reason. Empty: nothing was printed.

| model | parameters published, M | ours | % | MACs published, G | ours | % | source | note |
|---|---:|---:|---:|---:|---:|---:|---|---|
""",
        *(f"{published_row(entry)}\n" for entry in track(entries, "counting")),
    ]
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Costs and published sizes of the models.")
    parser.add_argument("--only", metavar="NAME", help="print the rows of this model, write nothing")
    parser.add_argument("--measure", metavar="JSON", help=argparse.SUPPRESS)  # what a process of its own runs
    options = parser.parse_args()
    prepare()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
        return
    names = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml") if path.stem not in OTHERS)
    entries = yaml.safe_load((HERE / "published.yaml").read_text())
    if options.only:
        if options.only not in names:
            parser.error(f"no model {options.only!r}; choose one of {', '.join(names)}")
        names, entries = [options.only], [entry for entry in entries if entry["model"] == options.only]
    text = readme(names, entries, os.getloadavg()[0])
    if options.only:
        print(text)
    else:
        (HERE / "README.md").write_text(text)


if __name__ == "__main__":
    main()
