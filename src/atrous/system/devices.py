"""Which processors and GPUs there are."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from atrous.errors import ConfigError


def processor_name() -> str:
    """The CPU's model name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Bytes: the device's peak on CUDA, else the process's peak resident size."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_count(trainer: dict[str, Any]) -> int:
    """How many devices of this machine `trainer.devices` means."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        return max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    if not isinstance(devices, int) or devices < 1:
        raise ConfigError(f"trainer.devices={devices} is impossible; give a number from 1 on, or auto.")
    return devices


def accelerator(asked: str | None, trained_on: str) -> str:
    """The accelerator to use: the one asked for, else the one of the run, else whatever there is."""
    if asked is not None:
        return asked
    return "auto" if trained_on in ("gpu", "cuda") and not torch.cuda.is_available() else trained_on
