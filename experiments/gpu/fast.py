"""Stage "fast": a training step of ours beside a bare loop over segmentation-models-pytorch's same net, in turns.

A step is forward, cross-entropy at the images' size, backward and SGD. Ours has our loss; Lightning's loop is in neither.
Images lie on the device. FLOPs are those that torch's FlopCounterMode counts for our step: matrix products and convolutions.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import atrous
from atrous.losses.cross_entropy import CrossEntropy

CLASSES = 19
NETS = ("DeepLabv3+", "PSPNet", "U-Net", "Segmenter")  # the last has no partner
# TF32, autocast to bf16, channels_last, torch.compile's mode
WAYS: dict[str, tuple[bool, bool, bool, str | None]] = {
    "bf16 channels_last": (True, True, True, None),
    "fp32": (False, False, False, None),
    "TF32": (True, False, False, None),
    "bf16": (True, True, False, None),
    "bf16 channels_last compile": (True, True, True, "default"),
    "bf16 channels_last compile graphs": (True, True, True, "reduce-overhead"),
}
# Dense FLOP/s of the makers' data sheets: fp32 without tensor cores, TF32, bf16. Another device has only what is measured.
PEAKS = {
    "H200": (67e12, 494e12, 989e12),
    "H100 80GB HBM3": (67e12, 494e12, 989e12),
    "A100": (19.5e12, 156e12, 312e12),
    "L4": (30.3e12, 60e12, 121e12),
}
Row = dict[str, Any]
Step = Callable[[], None]


def items(device: torch.device) -> Iterator[tuple[int, str, Callable[[], Row]]]:
    """(rank, name, what measures the row); on the CPU, which only rehearses, uncompiled and small."""
    for way, settings in WAYS.items():
        if device.type == "cuda" or settings[3] is None:
            for net in NETS:
                yield (1 if way == next(iter(WAYS)) else 3), f"{net}, {way}", partial(measure, net, way, device)
    if device.type == "cuda":
        yield 1, "synchronisations", partial(synchronisations, device)


def pairs() -> Any:
    """experiments/model_speed, which knows the settings that make ours the same net as theirs."""
    path = Path(__file__).parents[1] / "model_speed" / "run.py"
    spec = importlib.util.spec_from_file_location("model_speed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(net: str, side: str) -> nn.Module:
    if net == "Segmenter":
        torch.manual_seed(0)
        return atrous.create_model("segmenter", num_classes=CLASSES, encoder="vit_small_patch16_384")
    built: nn.Module = pairs().build(net, "resnet50", side)
    return built


def step(net: str, side: str, way: str, device: torch.device) -> Step:
    _, mixed, last, mode = WAYS[way]
    images_in_batch, side_length = (8, 768) if device.type == "cuda" else (2, 64)
    layout = torch.channels_last if last else torch.contiguous_format
    model = build(net, side).train().to(device, memory_format=layout)
    call: Callable[[Tensor], Any] = torch.compile(model, mode=mode) if mode else model
    images = torch.randn(images_in_batch, 3, side_length, side_length, device=device).to(memory_format=layout)
    masks = torch.randint(0, CLASSES, (images_in_batch, side_length, side_length), device=device)
    criterion = CrossEntropy()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def run() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
            output = call(images)
            if side == "ours":
                loss = criterion(output, masks)
            else:
                loss = F.cross_entropy(F.interpolate(output, masks.shape[-2:], mode="bilinear"), masks)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    run.images = images_in_batch  # type: ignore[attr-defined]
    return run


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(net: str, way: str, device: torch.device) -> Row:
    """Images a second (medians), the share of the peak, and the peak of the memory of each side's step."""
    cuda = device.type == "cuda"
    if cuda:
        tf32 = WAYS[way][0]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
    warm_up, rounds = (5, 15) if cuda else (1, 2)
    sides = ("ours",) if net == "Segmenter" else ("ours", "theirs")
    runs, memory = {}, {}
    for side in sides:
        before = torch.cuda.memory_allocated(device) if cuda else 0
        runs[side] = step(net, side, way, device)
        for index in range(warm_up):
            if cuda and index == warm_up - 1:
                torch.cuda.reset_peak_memory_stats(device)
            runs[side]()
        if cuda:
            memory[side] = torch.cuda.max_memory_allocated(device) - before
    times: dict[str, list[float]] = {side: [] for side in sides}
    for index in range(rounds):
        for side in sides if index % 2 else sides[::-1]:
            times[side].append(seconds(runs[side], device))
    medians = {side: statistics.median(values) for side, values in times.items()}
    images = runs["ours"].images  # type: ignore[attr-defined]
    flops = counted(net, way, device) / medians["ours"]
    peak = data_sheet(way, device)
    found: Row = {
        **{f"images/s, {side}": images / median for side, median in medians.items()},
        **{f"peak bytes, {side}": size for side, size in memory.items()},
        "FLOP/s": flops,
        "share of a large product's FLOP/s": flops / product(way, device),
        "share of the data sheet's": None if peak is None else flops / peak,
    }
    if "theirs" in medians:
        ratios = sorted(theirs / ours for ours, theirs in zip(times["ours"], times["theirs"], strict=True))
        found["throughput, ours / theirs"] = statistics.median(ratios)
        found["from, to"] = [ratios[0], ratios[-1]]
    return found


def counted(net: str, way: str, device: torch.device) -> int:
    """FLOPs of our step, which compiling does not change."""
    plain = way.partition(" compile")[0]
    with FlopCounterMode(display=False) as counter:
        step(net, "ours", plain, device)()
    return counter.get_total_flops()


def product(way: str, device: torch.device) -> float:
    """FLOP/s of a large matrix product, the most that this device is seen to do."""
    size = 8192 if device.type == "cuda" else 512
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if WAYS[way][1] else torch.float32)
    return 2 * size**3 / min(seconds(lambda: a @ a, device) for _ in range(8))


def data_sheet(way: str, device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    tf32, mixed, *_ = WAYS[way]
    return next(
        (
            peaks[2 if mixed else int(tf32)]
            for part, peaks in PEAKS.items()
            if part in name.split() or (part in name and " " in part)
        ),
        None,
    )


def synchronisations(device: torch.device) -> Row:
    """How often a step of ours waits for the device, by torch's own warnings; none is needed."""
    run = step("DeepLabv3+", "ours", "bf16 channels_last", device)
    run()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchroniz" in str(one.message)]
    return {"count": len(places), "places": places}
