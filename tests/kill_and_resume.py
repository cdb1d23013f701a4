"""Trains undisturbed, then again and again, killed at a random moment and gone on with, and compares all that is left.

    python tests/kill_and_resume.py FOLDER --kills 20 [--seed 0] [--how moved] [--older CLONE] [key=value ...]

Prints a row of a Markdown table for each. Runs are forked off this process, which has imported everything already.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from atrous.system.signals import kill_tree

TINY = [
    "trainer=cpu",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
    "data.train.length=20",
    "data.val.length=4",
    "data.size=[64,64]",
    "data.train_transform.crop_size=[64,64]",
    "data.context_distance=8",
    "data.scale_range=[4,16]",
    "data.batch_size=4",
    "data.num_workers=2",
    "model=unet",  # small, with dropout and batch norm
    "model.batch_norm=true",
    "model.padded=true",
    "model.encoder.channels=[4,8,8,8,8]",
    "model.decoder_channels=[8,8,8,4]",
    "optimizer=adamw",
    "optimizer.lr=0.01",
    "callbacks.last.every_minutes=0.002",  # a fraction of the run's time
]
KINDS = {
    "EMA, two batches per update": ["callbacks=ema", "callbacks.ema.decay=0.9", "trainer.accumulate_grad_batches=2"],
    "by updates, clipped": ["trainer.max_steps=12", "trainer.val_check_interval=4", "trainer.gradient_clip_val=1"],
}
# What happens between the kill and the going on, or is different about the run, and the settings it takes.
HOW: dict[str, list[str]] = {
    "in place": [],
    "moved": [],  # to another folder, where the old one is no path at all
    "upgraded": [],  # begun by the code of another commit
    "two processes": ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"],
}
ENDED = "after its end"
COMPARED = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "rng", "loops")
COMPARED += ("epoch", "global_step", "history_rows", "SegmentationDataModule")


def start(runs: Path, *overrides: str) -> int:
    """Forks off `train`, with its output in `runs`/output.txt. Returns the process's id."""
    runs.mkdir(parents=True, exist_ok=True)
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        output = os.open(runs / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, closefd=False)
        torch.set_num_threads(1)  # threads of before the fork are gone
        from atrous.cli import train

        train.main([*TINY, f"paths.runs={runs}", *overrides])
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def start_older(clone: Path, runs: Path, *overrides: str) -> int:
    """As `start` by the code of a clone at an earlier commit, in a Python of its own."""
    runs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(clone / "src"), "OMP_NUM_THREADS": "1"}
    with (runs / "output.txt").open("ab") as output:
        command = [sys.executable, str(clone / "train.py"), *TINY, f"paths.runs={runs}", *overrides]
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment).pid


def wait(process: int) -> int:
    """The exit status; 128 + signal of a process that a signal ended."""
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return status if status >= 0 else 128 - status


def run_folder(runs: Path) -> Path:
    (result,) = runs.rglob("result.json")
    return result.parent


def differences(one: Path, other: Path) -> list[str]:
    """What two run folders do not have bitwise in common, of all that training and scoring leave."""
    found = []
    for name in ("last", "best"):
        first, second = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in (one, other))
        for key in COMPARED:
            found += _unequal(first.get(key), second.get(key), f"{name}.ckpt: {key}")
    results = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    for key in ("status", "scores", "per_class", "images", "epochs", "steps", "fingerprint"):
        found += _unequal(*(result.get(key) for result in results), f"result.json: {key}")
    found += _unequal(*((run / "metrics.csv").read_text() for run in (one, other)), "metrics.csv")
    matrices = [np.load(run / "confusion.npz")["matrices"].tolist() for run in (one, other)]
    return found + _unequal(*matrices, "confusion.npz")


def _unequal(first: object, second: object, where: str) -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [found for key in first for found in _unequal(first[key], second[key], f"{where}.{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [found for index, pair in pairs for found in _unequal(*pair, f"{where}.{index}")]
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [where]
    return [] if first == second else [where]


def kill_once(
    folder: Path,
    straight: Path,
    overrides: list[str],
    *,
    after: float,
    how: str = "in place",
    begin: Callable[..., int] = start,
) -> tuple[str, str, list[str]]:
    """Kills a run and goes on with it. Returns where it was, where it went on from, and differences.

    Args:
        folder: The run's `paths.runs`.
        straight: The run folder of the undisturbed run.
        overrides: The run's.
        after: Seconds from when the run folder is there.
        how: Of `HOW`.
        begin: Starts what is killed.
    """
    process = begin(folder, *overrides)
    while not list(folder.rglob("result.json")):
        time.sleep(0.01)
    time.sleep(after)
    kill_tree(process)  # with those that it has started
    if wait(process) == 0:
        return ENDED, "", differences(straight, run_folder(folder))
    place = _place(folder)
    if how == "moved":
        folder = folder.rename(folder.with_name(f"{folder.name}-moved"))
    status = wait(start(folder, *overrides, "resume=auto"))
    if status:
        return place, "", [f"going on ended with status {status}, see {folder / 'output.txt'}"]
    run = run_folder(folder)
    resumed = json.loads((run / "result.json").read_text()).get("resumed")
    begun = "nothing, it was finished"
    if resumed:
        begun = f"update {resumed[-1]['steps']}" if "steps" in resumed[-1] else "the beginning"
    new = ["result.json: fingerprint"] if how == "upgraded" else []  # that of today's version
    return place, begun, [where for where in differences(straight, run) if where not in new]


def _place(folder: Path) -> str:
    """How far a killed run was, from what it has left."""
    run = run_folder(folder)
    if list(run.rglob(".*.part")):
        return f"while writing {next(run.rglob('.*.part')).name[1:].rsplit('.', 2)[0]}"
    if (run / "confusion.npz").exists():
        return "while scoring"
    if not (run / "metrics.csv").exists():
        return "before its first update"
    rows = (run / "metrics.csv").read_text().splitlines()
    step = rows[-1].split(",")[rows[0].split(",").index("step")]
    return f"after update {int(step) + 1}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--how", choices=HOW, default="in place")
    parser.add_argument("--older", type=Path, help="a clone at the commit that begins the runs that are upgraded")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    if (options.how == "upgraded") != (options.older is not None):
        parser.error("--how upgraded and --older CLONE go together")
    begin = functools.partial(start_older, options.older.absolute()) if options.older else start
    rng = random.Random(options.seed)
    straight, seconds = {}, {}
    print("| kill | run | killed after, s | it was | went on from | equal? |\n|---:|---|---:|---|---|---|", flush=True)
    for number in range(options.kills):
        kind = list(KINDS)[number % len(KINDS)]
        overrides = [*HOW[options.how], *KINDS[kind], *options.overrides]
        if kind not in straight:
            runs = options.folder / f"straight-{len(straight)}"
            if wait(begin(runs, *overrides)):
                sys.exit(f"the undisturbed run failed, see {runs / 'output.txt'}")
            straight[kind] = run_folder(runs)
            seconds[kind] = (straight[kind] / "result.json").stat().st_mtime - (
                straight[kind] / "config.yaml"
            ).stat().st_mtime
        after, place, attempt = seconds[kind], ENDED, 0
        while place == ENDED:  # the machine was faster than in the undisturbed run: draws an earlier moment
            after, attempt = rng.uniform(0, after), attempt + 1
            folder = options.folder / f"killed-{number}-{attempt}"
            place, begun, unequal = kill_once(
                folder, straight[kind], overrides, after=after, how=options.how, begin=begin
            )
        verdict = "yes" if not unequal else f"no: {', '.join(unequal[:3])}"
        print(f"| {number + 1} | {kind} | {after:.1f} | {place} | {begun} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
