"""Time and memory of labels from coarse logits, ours beside the naive form; writes README.md beside this file.

    python experiments/fused_labels/run.py

Linux only: peak memory is read from /proc.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.inference.labels import labels
from atrous.metrics.confusion import confusion_matrix

HERE = Path(__file__).parent
CLASSES, IGNORED = 19, 255
THREADS, ROUNDS, WARM_UP = 1, 7, 1
CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last
CASES = {  # logits' size and order in memory, labels' size
    "stride 4": ((256, 512), CONTIGUOUS, (1024, 2048)),
    "stride 8": ((128, 256), CONTIGUOUS, (1024, 2048)),
    "stride 16": ((64, 128), CONTIGUOUS, (1024, 2048)),
    "stride 8, odd": ((129, 257), CONTIGUOUS, (1025, 2049)),
    "stride 8, channels last": ((128, 256), CHANNELS_LAST, (1024, 2048)),
}
Labels = Callable[[Tensor, tuple[int, int]], Tensor]


def naive(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)


FORMS: dict[str, Labels] = {"naive": naive, "`labels`": labels}


def make_logits(size: tuple[int, int], order: torch.memory_format, seed: int = 0) -> Tensor:
    """Smooth regions with some noise: about as many borders between classes as a street scene has."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, CLASSES, 32, 64, generator=generator) * 3
    smooth = F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
    logits = smooth + 0.3 * torch.randn(1, CLASSES, *size, generator=generator)
    return logits.contiguous(memory_format=order)


def peak(form: Labels, logits: Tensor, size: tuple[int, int]) -> float:
    """MiB that a process holds at most beyond what it held before the call."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        form(logits[:, :, :8, :8], (16, 16))  # what a first call allocates is not counted
        ctypes.CDLL(None).malloc_trim(0)  # nor is what was freed, and could be used again
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = memory("VmRSS")
        form(logits, size)
        os.write(writer, str(memory("VmHWM") - before).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        return float(pipe.read()) / 1024


def memory(name: str) -> int:
    """KiB."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def times(logits: Tensor, size: tuple[int, int], mask: Tensor) -> dict[str, tuple[float, float, float]]:
    """Medians in ms of the forms' processor time, wall clock, and processor time with the counting of the confusion."""
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in FORMS}
    for round_ in range(WARM_UP + ROUNDS):
        for name in random.sample(list(FORMS), len(FORMS)):
            cpu, wall = time.process_time(), time.perf_counter()
            found = FORMS[name](logits, size)
            cpu_labels, wall_labels = time.process_time() - cpu, time.perf_counter() - wall
            confusion_matrix(found, mask, CLASSES, IGNORED)
            if round_ >= WARM_UP:
                taken[name].append((cpu_labels, wall_labels, time.process_time() - cpu))
    return {
        name: tuple(1e3 * statistics.median(column) for column in zip(*rows, strict=True))  # type: ignore[misc]
        for name, rows in taken.items()
    }


def main() -> None:
    torch.set_num_threads(THREADS)
    random.seed(0)
    lines, ratios, differing = [], [], 0
    for case, (source, order, size) in CASES.items():
        logits = make_logits(source, order)
        mask = torch.randint(0, CLASSES, (1, *size))
        peaks = {name: peak(form, logits, size) for name, form in FORMS.items()}
        measured = times(logits, size, mask)
        different = sum(
            int((labels(other, size) != naive(other, size)).sum())
            for other in (make_logits(source, order, seed) for seed in range(3))
        )
        differing += different if order == CONTIGUOUS else 0
        for name in FORMS:
            cpu, wall, counted = measured[name]
            of = [
                value / base
                for value, base in zip(
                    (*measured[name], peaks[name]), (*measured["naive"], peaks["naive"]), strict=True
                )
            ]
            lines.append(
                f"| {case} | {name} | {cpu:.0f} | {of[0]:.2f} | {wall:.0f} | {of[1]:.2f} | {counted:.0f} | {of[2]:.2f} | "
                f"{peaks[name]:.0f} | {of[3]:.2f} | {different if name != 'naive' else '–'} |"
            )
            print(lines[-1], flush=True)
            if name != "naive" and order == CONTIGUOUS:
                ratios.append(of)
    write_readme(lines, ratios, differing)


def write_readme(lines: list[str], ratios: list[list[float]], differing: int) -> None:
    worst = [max(column) for column in zip(*ratios, strict=True)]
    table = "\n".join(lines)
    pixels = 3 * sum(height * width for _, order, (height, width) in CASES.values() if order == CONTIGUOUS)
    (HERE / "README.md").write_text(f"""# Labels without full-size logits

**Question.** Labels of {CLASSES} classes at 1024 x 2048 pixels from the logits of a network: do strips take at most half of the time and a
quarter of the memory of `F.interpolate` and `argmax`, and give the same labels?

    python experiments/fused_labels/run.py

This page is written by that command. `naive` is `F.interpolate(..., mode="bilinear", align_corners=False).argmax(1)` in float32; the
logits are smooth regions with noise. Medians of {ROUNDS} after {WARM_UP} to warm up, the two taking turns in a random order; {THREADS} thread, torch
{torch.__version__}; the machine was shared, so that processor times tell more than wall clocks. "With counting": the confusion matrix
included. Peak memory is what a process of its own holds beyond the logits. "Different": pixels, of three images.

| case | form | processor, ms | of naive | wall, ms | of naive | with counting, ms | of naive | peak, MiB | of naive | different |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{table}

**Finding.** From logits in the usual order at most {worst[0]:.2f} of the processor time, {worst[1]:.2f} of the wall clock and {worst[3]:.2f} of the
memory; {differing} of {pixels:,} labels differ. In channels-last order the naive form is faster, too: see the last case.

**How.** Strips of rows (2^18 logits) are resized, labelled and forgotten, and stay in the cache meanwhile. Columns are resized first, by
`F.interpolate`, and rows then by `lerp` (here `addcmul`), with positions in float32: in the order of torch's kernel, so that the scores
are the same but for the last bits (here to the last bit) where the stride is a power of two. At other sizes torch's kernels round positions in two ways, and a
few scores differ by up to 2e-5.

A strip is kept with a pixel's classes together in memory (channels last), whatever the order of the logits. What was tried at stride 8,
processor ms in one run each beside the naive form's 412 (138 where the logits are in channels-last order):

| change | ms |
|---|---:|
| strips of 2^18 logits with a class's pixels together, `argmax` | 428 |
| the same, `max` in its place, which takes the first of equals too | 152 |
| the same, a running maximum class by class | 154 |
| columns resized in channels-last order, rows not, `max` | 172 |
| channels-last order throughout, `argmax` | 99 |
| the same, `max` (kept) | 92 |
| the same, strips of 2^20 | 123 |

**What it does not show.** torch has other kernels for three classes, for results of 128 rows and columns together or less, for logits in
channels-last order (the last case) and on GPUs, and the last bit depends on how a processor's build of torch fuses products and sums. There scores
agree to the rounding of float32 (`tests/inference/test_labels.py`), and labels where two classes are no nearer than that.
""")


if __name__ == "__main__":
    main()
