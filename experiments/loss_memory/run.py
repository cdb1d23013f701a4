"""Peak memory and time of losses on upsampled logits, ours beside the naive form; writes README.md beside this file.

    python experiments/loss_memory/run.py

Linux only: peak memory is read from /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from atrous.losses.cross_entropy import CrossEntropy
from atrous.losses.dice import Dice
from atrous.types import SegOutput

HERE = Path(__file__).parent
CLASSES, SIZE, IGNORED = 19, (1024, 2048), 255
THREADS, ROUNDS, WARM_UP = 2, 5, 1
CASES = {  # logits' size and type
    "stride 4, float32": ((256, 512), torch.float32),
    "stride 8, float32": ((128, 256), torch.float32),
    "stride 4, bfloat16": ((256, 512), torch.bfloat16),
    "stride 1, float32": (SIZE, torch.float32),
}
Loss = Callable[[Tensor, Tensor], Tensor]
CONCLUSION = """**Conclusion.** About a quarter of a copy, where the naive form of cross-entropy holds three and that of Dice four, and in
0.3 to 0.7 of the time. Logits of the mask's own size need one copy for their gradient in any form. Values agree to the
rounding of float32; `tests/losses/test_strips.py` holds values and gradients to 1e-12 in float64.

**How.** Strips of rows are resized, used and forgotten; the backward pass computes each again, which costs less than
writing and reading the whole, since a strip stays in the cache.

**What was tried.** Cross-entropy at stride 4, one run each beside the naive form on the same machine:

| change | threads | ms | naive, ms |
|---|---:|---:|---:|
| a strip's rows interpolated before its columns | 1 | 539 | 595 |
| its columns before its rows, so that the slow step sees a quarter of the rows (kept) | 1 | 347 | 562 |
| the same, strips of 2^17 logits | 2 | 398 | 340 |
| 2^18 | 2 | 230 | 360 |
| 2^19 (kept: fewer seams where images are wide or classes many) | 2 | 266 | 359 |
| 2^20 | 2 | 280 | 358 |
| 2^21 | 2 | 273 | 356 |
"""


def naive_cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    return F.cross_entropy(upsampled(logits, mask), mask, ignore_index=IGNORED)


def naive_dice(logits: Tensor, mask: Tensor) -> Tensor:
    counted = (mask != IGNORED)[:, None]
    p = upsampled(logits, mask).softmax(1) * counted
    truth = torch.zeros_like(p).scatter_(1, torch.where(counted, mask[:, None], 0), counted.to(p.dtype))
    axes = (0, 2, 3)
    return (1 - 2 * (p * truth).sum(axes) / (p.sum(axes) + truth.sum(axes))).mean()


def upsampled(logits: Tensor, mask: Tensor) -> Tensor:
    return F.interpolate(logits.float(), size=mask.shape[-2:], mode="bilinear", align_corners=False)


def our(loss: torch.nn.Module) -> Loss:
    return lambda logits, mask: loss(SegOutput(logits), mask)


CONTENDERS: dict[str, dict[str, Loss]] = {
    "cross-entropy": {"naive": naive_cross_entropy, "`CrossEntropy`": our(CrossEntropy())},
    "Dice": {"naive": naive_dice, "`Dice`": our(Dice())},
}


def data(case: str) -> tuple[Tensor, Tensor]:
    size, dtype = CASES[case]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, CLASSES, *size, generator=generator).to(dtype).requires_grad_()
    blocks = torch.randint(0, CLASSES, (1, SIZE[0] // 32, SIZE[1] // 32), generator=generator)
    blocks[torch.rand(blocks.shape, generator=generator) < 0.1] = IGNORED
    return logits, blocks.repeat_interleave(32, dim=1).repeat_interleave(32, dim=2)


def step(loss: Loss, logits: Tensor, mask: Tensor) -> float:
    logits.grad = None
    value = loss(logits, mask)
    value.backward()
    return value.item()


def peak(kind: str, name: str, case: str) -> dict[str, float]:
    """What one forward and backward pass holds beyond its inputs, in a process that has done nothing else at this size."""
    loss, (logits, mask) = CONTENDERS[kind][name], data(case)
    step(loss, logits[..., :32, :32].detach().requires_grad_(), mask[..., :64, :64])  # what the first call allocates
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    value = step(loss, logits, mask)
    return {"peak": memory("VmHWM") - before, "loss": value}


def memory(key: str) -> int:
    """Bytes: VmRSS is this process's resident size, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def peak_apart(kind: str, name: str, case: str) -> dict[str, float]:
    command = [sys.executable, __file__, json.dumps([kind, name, case])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured: dict[str, float] = json.loads(output.splitlines()[-1])
    return measured


def medians(contenders: dict[str, Loss], case: str) -> dict[str, float]:
    """Milliseconds of a forward and backward pass; the contenders take turns, in a new order each round."""
    logits, mask = data(case)
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with priority():
        for _ in range(WARM_UP + ROUNDS):
            for name in order.sample(list(contenders), len(contenders)):
                start = time.perf_counter()
                step(contenders[name], logits, mask)
                seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values[WARM_UP:]) for name, values in seconds.items()}


@contextlib.contextmanager
def priority() -> Iterator[None]:
    """Round-robin scheduling of all this process's threads, a few seconds at a time."""
    schedule(os.SCHED_RR, 1)
    try:
        yield
    finally:
        schedule(os.SCHED_OTHER, 0)


def schedule(policy: int, level: int) -> None:
    with contextlib.suppress(PermissionError):
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(level))


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def main() -> None:
    torch.set_num_threads(THREADS)
    if len(sys.argv) > 1:
        print(json.dumps(peak(*json.loads(sys.argv[1]))))
        return
    load = os.getloadavg()[0]
    full = 4 * CLASSES * SIZE[0] * SIZE[1]
    rows = []
    for kind, contenders in CONTENDERS.items():
        for case in CASES:
            times = medians(contenders, case)
            reference = times["naive"]
            for name, value in times.items():
                held = peak_apart(kind, name, case)
                rows.append(
                    f"| {kind}, {case} | {name} | {held['loss']:.6f} | {held['peak'] / 2**20:.0f} "
                    f"| {held['peak'] / full:.2f} | {value:.0f} | {value / reference:.2f} |"
                )
                print(rows[-1], flush=True)
    (HERE / "README.md").write_text(readme(rows, full, load))


def readme(rows: list[str], full: int, load: float) -> str:
    table = "\n".join(rows)
    return f"""# What does a loss on upsampled logits hold in memory?

**Question.** Does cross-entropy of {CLASSES} classes on {SIZE[0]} x {SIZE[1]} pixels hold at most one copy of the upsampled logits
({full / 2**20:.0f} MiB in float32) at its peak, forward and backward, and is it no slower than the naive form?

    python experiments/loss_memory/run.py

This page is written by that command, whose timed parts have priority over other work where it is run by root. `naive`
is `F.interpolate` and `F.cross_entropy`, or softmax, a one-hot mask and sums. One image, a tenth of its pixels ignored;
`stride` is that of the logits. Peak memory is what a process holds beyond the logits and the mask, the logits' gradient
included. Times are medians of {ROUNDS} after one to warm up, the two taking turns in a random order; {THREADS} threads of an {cpu()}, torch
{torch.__version__}, load {load:.1f} before.

| case | loss | value | peak, MiB | copies of the logits | ms | of naive |
|---|---|---:|---:|---:|---:|---:|
{table}

{CONCLUSION}"""


if __name__ == "__main__":
    main()
