"""Reads files of weights. Nothing in a file can run code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from atrous.errors import CheckpointError


def read_weights(path: Path) -> Any:
    """Loads a `.safetensors` file, or one that `torch.save` wrote, onto the CPU with `weights_only=True`.

    Raises:
        CheckpointError: If the file is damaged, or holds more than data.
    """
    try:
        _refuse_bomb(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        if objects := _objects(path):
            remedy = "Ask its author for `model.state_dict()` alone, and save that."
            if objects == ["argparse.Namespace"]:  # as torchvision's training script saves it; it is plain data
                remedy = (
                    'Save its weights alone: python -c "import argparse, torch; torch.serialization.add_safe_globals('
                    f"[argparse.Namespace]); torch.save(torch.load({str(path)!r})['model'], 'weights.pth')\""
                )
            raise CheckpointError(
                f"{path} can't be read as weights: beside data it holds {', '.join(objects[:5])}, code to Python, which is never run. "
                f"{remedy}"
            ) from error
        raise CheckpointError(
            f"{path} can't be read as weights: {(str(error) or repr(error)).splitlines()[0]} It is damaged, or holds code "
            "rather than weights, which is never run. Copy it again, or save `model.state_dict()`."
        ) from error


def _objects(path: Path) -> list[str]:
    """The names in a file of `torch.save` that are more than data; they are read, not called."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # whatever a damaged file raises
        return []


def _refuse_bomb(path: Path) -> None:
    """Raises ValueError where an archive unpacks to more than its own size: torch stores tensors as they are."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("it unpacks to more than its size.")
