"""Measures a network in a process of its own, so that nothing else counts as its memory.

`python -m atrous.analysis.profile` is that process: it reads what to measure as JSON and prints a row for each point.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch

from atrous.analysis.cost import macs
from atrous.analysis.measure import measure, resident
from atrous.config.compose import instantiate, prepare
from atrous.config.trust import import_targets
from atrous.errors import AtrousError, ConfigError
from atrous.models.adapter import adapt
from atrous.system.devices import processor_name

Row = dict[str, Any]
_MARK = "row: "  # before what the process prints, which a network's own code may, too


def measure_apart(model: Row, points: Sequence[Row], options: Row) -> Iterator[Row]:
    """Measures a network at each point in a process of its own; where that ends early, the rest of the rows say so.

    Args:
        model: Its resolved config.
        points: What `measure` takes: `size`, `batch_size`, `precision` and `mode`.
        options: `warm_up`, `repeats`, `threads` (None: torch's choice) and `accelerator`.

    Yields:
        The point with `parameters`, `macs`, `device`, the fields of `Cost`, and `error`, None where it was measured.
    """
    command = [sys.executable, "-m", __name__, json.dumps({"model": model, "points": points, **options})]
    measured = 0
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith(_MARK):
                    yield json.loads(line.removeprefix(_MARK))
                    measured += 1
            status = process.wait()
        finally:
            process.kill()
        errors.seek(0)
        lines = errors.read().strip().splitlines()
    reason = lines[-1] if lines else f"its process ended with status {status}, as when memory runs out"
    for point in points[measured:]:
        yield {**point, "error": reason}


def measure_points(
    model: Row, points: Sequence[Row], *, warm_up: int, repeats: int, threads: int | None, accelerator: str
) -> Iterator[Row]:
    """Builds a network in this process and measures it at each point; see `measure_apart`."""
    if threads is not None:
        torch.set_num_threads(threads)
    on_gpu = accelerator != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError(f"accelerator={accelerator}, but PyTorch finds no GPU here. Use accelerator=cpu.")
    import_targets(model)  # here, so that no library counts as the network's memory
    held = resident()
    torch.manual_seed(0)
    net = adapt(instantiate(model))
    if on_gpu:
        net = net.cuda()
    about = {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "device": torch.cuda.get_device_name() if on_gpu else f"{processor_name()}, {torch.get_num_threads()} threads",
    }
    for point in points:
        row: Row = {**point, **about, "error": None}
        arguments = {**point, "size": tuple(point["size"]), "held_before": held}
        try:
            cost = measure(net, warm_up=warm_up, repeats=repeats, **arguments)
            row |= {"macs": macs(net, *point["size"]), **asdict(cost)}
        except (AtrousError, RuntimeError, MemoryError) as error:  # CUDA's out of memory is the second
            row["error"] = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield row


if __name__ == "__main__":
    prepare()
    try:
        for measured_row in measure_points(**json.loads(sys.argv[1])):
            print(_MARK + json.dumps(measured_row), flush=True)
    except AtrousError as error:
        sys.exit(f"error: {error}")
