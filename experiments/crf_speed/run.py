"""Times the dense CRF beside pydensecrf on CamVid, taking turns: python experiments/crf_speed/run.py CAMVID_FOLDER [CKPT]

With a checkpoint that was trained on CamVid, its probabilities are among the cases.
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

import cv2
import numpy as np
import pydensecrf.densecrf as authors
import torch
from numpy.typing import NDArray
from pydensecrf.utils import unary_from_softmax

from atrous.crf.dense_crf import DenseCRF
from atrous.data.camvid import CamVid

FRAMES = (5, 30, 55, 80)  # of val
ROUNDS, WARM_UP = 12, 1
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def pydensecrf(probabilities: Floats, image: Bytes) -> Floats:
    """As its README shows it."""
    classes, height, width = probabilities.shape
    crf = authors.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(unary_from_softmax(probabilities))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image, compat=10)
    return np.array(crf.inference(10), dtype=np.float32).reshape(probabilities.shape)


def ours(threads: int, *, compiled: bool = True) -> Callable[[Floats, Bytes], Floats]:
    crf = DenseCRF(compiled=compiled)

    def call(probabilities: Floats, image: Bytes) -> Floats:
        torch.set_num_threads(threads)
        return crf(torch.from_numpy(probabilities), image).numpy()

    return call


CONTENDERS = {
    "pydensecrf2": pydensecrf,
    "numba, 1 thread": ours(1),
    "numba, 2 threads": ours(2),
    "torch, 1 thread": ours(1, compiled=False),
}


def blurred_truth(mask: NDArray[np.integer], classes: int) -> Floats:
    """Softmax of blurred labels and noise; a class that CamVid does not have is noise alone."""
    rng = np.random.default_rng(0)
    truth = (mask[..., None] == np.arange(classes)).astype(np.float32)
    scores = [
        4 * cv2.GaussianBlur(truth[..., c], (0, 0), 6)
        + 8 * cv2.GaussianBlur(rng.normal(0, 1, mask.shape).astype(np.float32), (0, 0), 3)
        + rng.normal(0, 0.3, mask.shape).astype(np.float32)
        for c in range(classes)
    ]
    return torch.from_numpy(np.stack(scores)).softmax(0).numpy()


def networks(checkpoint: str, images: list[Bytes]) -> list[Floats]:
    from atrous.config.compose import prepare
    from atrous.engine.checkpoint import restore
    from atrous.inference.labels import probabilities

    prepare()
    restored = restore(Path(checkpoint), accelerator="cpu")
    net = restored.scorer.eval()
    with torch.no_grad():
        return [
            probabilities(net(restored.normalise(image)[None]).logits, image.shape[:2])[0].numpy() for image in images
        ]


def time_case(inputs: list[tuple[Floats, Bytes]]) -> dict[str, tuple[float, float]]:
    """Medians of milliseconds by the clock and on the processor, the contenders in a new order each round."""
    order = random.Random(0)
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    for number in range(WARM_UP + ROUNDS):
        for name in order.sample(list(CONTENDERS), len(CONTENDERS)):
            if name.startswith("torch") and number > 3:
                continue
            arguments = inputs[number % len(inputs)]
            start = time.perf_counter(), time.process_time()
            CONTENDERS[name](*arguments)
            seen[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {
        name: (
            1000 * statistics.median(wall for wall, _ in times[WARM_UP:]),
            1000 * statistics.median(cpu for _, cpu in times[WARM_UP:]),
        )
        for name, times in seen.items()
    }


def agreement(inputs: list[tuple[Floats, Bytes]]) -> dict[str, tuple[float, float]]:
    """The share of equal labels and the largest difference of a probability, over the inputs, in torch over one."""
    found: dict[str, tuple[float, float]] = {}
    for name in ("numba, 1 thread", "torch, 1 thread"):
        some = inputs if name.startswith("numba") else inputs[:1]
        pairs = [(CONTENDERS[name](*arguments), pydensecrf(*arguments)) for arguments in some]
        equal = np.mean([(left.argmax(0) == right.argmax(0)).mean() for left, right in pairs])
        found[name] = float(equal), max(float(np.abs(left - right).max()) for left, right in pairs)
    return found


def peak(name: str, root: str) -> float:
    """MiB that one call holds at most beyond what is there before it; to be called in a process of its own."""
    image, mask, _ = CamVid(root=root, split="val")[FRAMES[0]]
    image = np.ascontiguousarray(image)
    probabilities = blurred_truth(mask, 11)
    CONTENDERS[name](np.ascontiguousarray(probabilities[:, :32, :32]), np.ascontiguousarray(image[:32, :32]))
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    CONTENDERS[name](probabilities, image)
    return (memory("VmHWM") - before) / 1024


def memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


@contextlib.contextmanager
def priority() -> Iterator[None]:
    """Round-robin scheduling of all this process's threads, where it is run by root."""
    schedule(os.SCHED_RR, 1)
    try:
        yield
    finally:
        schedule(os.SCHED_OTHER, 0)


def schedule(policy: int, level: int) -> None:
    with contextlib.suppress(PermissionError):
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(level))


def main() -> None:
    root = sys.argv[1]
    if len(sys.argv) == 4 and sys.argv[3] in CONTENDERS:
        print(json.dumps(peak(sys.argv[3], root)))
        return
    samples = [CamVid(root=root, split="val")[frame] for frame in FRAMES]
    images = [np.ascontiguousarray(sample.image) for sample in samples]
    cases = {
        f"blurred truth, {classes} classes": [blurred_truth(sample.mask, classes) for sample in samples]
        for classes in (11, 2, 21)
    }
    if len(sys.argv) > 2:
        cases = {"a network's, 11 classes": networks(sys.argv[2], images), **cases}
    print(f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} before\n")
    print("| probabilities | CRF | ms | of pydensecrf2 | CPU ms | of pydensecrf2 | labels equal | largest difference |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for case, probabilities in cases.items():
        inputs = list(zip(probabilities, images, strict=True))
        with priority():
            agrees = agreement(inputs)
            times = time_case(inputs)
        reference = times["pydensecrf2"]
        for name, (wall, cpu) in times.items():
            equal = f"{agrees[name][0]:.4%} | {agrees[name][1]:.0e}" if name in agrees else "|"
            print(
                f"| {case} | {name} | {wall:.0f} | {wall / reference[0]:.2f} | {cpu:.0f} | {cpu / reference[1]:.2f} | {equal} |",
                flush=True,
            )
    print("\n| CRF | peak of a call, MiB |\n|---|---:|")
    for name in CONTENDERS:
        command = [sys.executable, __file__, root, "-", name]
        print(f"| {name} | {json.loads(subprocess.check_output(command)):.0f} |", flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
