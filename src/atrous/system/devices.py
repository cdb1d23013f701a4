"""Processors, memory and GPUs, on Linux, macOS and Windows. Importing it imports no torch."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

from atrous.errors import ConfigError


def core_numbers() -> list[int]:
    """The cores that this process may use; all of the machine where the system pins no process (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores() -> int:
    """How many cores this process may use."""
    return len(core_numbers())


def pin(numbers: list[int]) -> None:
    """Keeps this process and those it starts to some cores, where the system can (Linux)."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, numbers)


def processor_name() -> str:
    """The CPU's model name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def load_average() -> float | None:
    """Processes that wanted a core, averaged over the last minute; None on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def memory() -> int | None:
    """Bytes of this machine's memory; None where the system doesn't tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows; a system that knows no such name
        return None


def peak_memory() -> int | None:
    """Bytes: the GPU's peak where there is one, else the process's peak resident size; None on Windows."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_count(trainer: dict[str, Any]) -> int:
    """How many devices of this machine `trainer.devices` means."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        import torch

        return max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    if not isinstance(devices, int) or devices < 1:
        raise ConfigError(f"trainer.devices={devices} is impossible; give a number from 1 on, or auto.")
    return devices


def accelerator(asked: str | None, trained_on: str) -> str:
    """The accelerator to use: the one asked for, else the one of the run, else whatever there is."""
    import torch

    if asked is not None:
        return asked
    return "auto" if trained_on in ("gpu", "cuda") and not torch.cuda.is_available() else trained_on
