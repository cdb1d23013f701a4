"""Time, memory and energy of a network's calls on the device that it is on.

Latency is the wall clock of one call, after the device has finished; on CUDA both ends are synchronised. Peak memory on CUDA is
`torch.cuda.max_memory_allocated`; on the CPU it is Linux's VmHWM, reset before the calls, less what the process held before the
network was built. Energy is the device's own counter: NVML's on an NVIDIA GPU, which is the board's, and RAPL's on a CPU, which is
the whole socket's, other programs included; absent where there is none or it may not be read.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.layers.upsample import resize

PRECISIONS: dict[str, torch.dtype] = {
    "32-true": torch.float32,
    "16-mixed": torch.float16,
    "bf16-mixed": torch.bfloat16,
    "16-true": torch.float16,
    "bf16-true": torch.bfloat16,
}
MODES = ("inference", "training")
_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Cost:
    """What one batch costs.

    Args:
        p50: Median latency in seconds.
        p95: The 95th percentile.
        throughput: Images per second at the median.
        peak_memory: Bytes; None where the system doesn't tell.
        energy: Joules per image; None where the device doesn't tell.
    """

    p50: float
    p95: float
    throughput: float
    peak_memory: int | None
    energy: float | None


def measure(
    model: nn.Module,
    *,
    batch_size: int,
    size: tuple[int, int],
    precision: str = "32-true",
    mode: str = "inference",
    warm_up: int = 3,
    repeats: int = 20,
    held_before: int | None = None,
) -> Cost:
    """Calls a network on noise and measures the calls after a warm-up.

    A training step is forward, cross-entropy at the image's size, backward and a step of SGD with momentum, on random labels.

    Args:
        model: Returns a SegOutput. Its precision, mode and, in training, weights are changed.
        batch_size: Images of a call.
        size: Their height and width.
        precision: One of `PRECISIONS`.
        mode: One of `MODES`.
        warm_up: Calls before the measured ones.
        repeats: Measured calls.
        held_before: What the process held before the network was built, of `resident`, for the peak memory on the CPU.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    call = _call(model, batch_size, size, precision, mode, device)
    _start_peak(device)
    for _ in range(warm_up):
        call()
    _finish(device)
    seconds = []
    counter = energy_counter(device)
    before = counter() if counter else 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        _finish(device)
        seconds.append(time.perf_counter() - start)
    joules = (counter() - before) / (repeats * batch_size) if counter else None
    ordered = torch.tensor(seconds, dtype=torch.float64)
    p50, p95 = (float(ordered.quantile(share)) for share in (0.5, 0.95))
    usable = joules if joules is not None and joules > 0 else None  # RAPL's counter may have begun anew
    return Cost(p50, p95, batch_size / p50, _peak(device, held_before), usable)


def _call(
    model: nn.Module, batch_size: int, size: tuple[int, int], precision: str, mode: str, device: torch.device
) -> Callable[[], None]:
    dtype = PRECISIONS[precision]
    mixed = precision.endswith("-mixed")
    model.to(torch.float32 if mixed else dtype)
    images = torch.randn(batch_size, 3, *size, device=device, dtype=torch.float32 if mixed else dtype)

    def cast() -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(device.type, dtype) if mixed else contextlib.nullcontext()

    if mode == "inference":
        model.eval()

        def infer() -> None:
            with torch.inference_mode(), cast():
                model(images)

        return infer
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
    with torch.no_grad(), cast():
        classes = model(images[:2]).logits.shape[1]
    labels = torch.randint(0, classes, (batch_size, *size), device=device)

    def train() -> None:
        with cast():
            logits: Tensor = model(images).logits
            loss = F.cross_entropy(resize(logits, size).float(), labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call, unused-ignore]
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return train


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def resident(key: str = "VmRSS") -> int | None:
    """Bytes that this process holds (VmRSS) or has held at its peak (VmHWM); None where the system is not Linux."""
    if not _STATUS.is_file():
        return None
    _trim()
    return 1024 * next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))


def _trim() -> None:
    """Gives freed memory back to the system, which no later peak should hold nor be measured from."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _start_peak(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        _trim()
        _CLEAR_REFS.write_text("5")  # VmHWM begins anew, see proc_pid_clear_refs(5)


def _peak(device: torch.device, held_before: int | None) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resident("VmHWM") if _CLEAR_REFS.exists() else None
    return None if peak is None or held_before is None else peak - held_before


def energy_counter(device: torch.device) -> Callable[[], float] | None:
    """Reads the joules that a device has used since some time; None where it doesn't tell."""
    return _nvml(device) if device.type == "cuda" else _rapl()


def _rapl() -> Callable[[], float] | None:
    """The sockets' counters of https://docs.kernel.org/power/powercap/powercap.html, which often only root may read."""
    files = sorted(_RAPL.glob("intel-rapl:?/energy_uj"))
    try:
        for file in files:
            file.read_text()
    except OSError:
        return None
    return (lambda: sum(int(file.read_text()) for file in files) / 1e6) if files else None


def _nvml(device: torch.device) -> Callable[[], float] | None:
    """nvmlDeviceGetTotalEnergyConsumption, millijoules since the driver was loaded, Volta and newer."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
        named = (uuid if uuid.startswith("GPU-") else f"GPU-{uuid}").encode()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(named, ctypes.byref(handle)):
            return None
        if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy)):
            return None
    except (OSError, AttributeError):
        return None

    def read() -> float:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy))
        return energy.value / 1000

    return read
