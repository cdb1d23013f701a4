"""A checkpoint as a file that needs no atrous, checked on real images before it is written."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atrous.data.io.files import read_image
from atrous.data.io.listing import find_images
from atrous.data.transforms import EvalTransform
from atrous.engine.build import build_datamodule
from atrous.engine.checkpoint import Restored
from atrous.errors import CheckpointError, ConfigError, DataError
from atrous.export import files
from atrous.export.check import MIN_EQUAL, Agreement, Run, compare
from atrous.export.graph import PixelsToLabels, Range, trace
from atrous.inference.whole import WholeImage

FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
_REMEDIES = {"onnx": "format=torch, another opset", "torch": "format=onnx"}


def export(
    restored: Restored,
    images: Sequence[NDArray[np.uint8]],
    out: Path,
    *,
    formats: Sequence[str] = ("torch", "onnx"),
    size: tuple[int, int] | None = None,
    fixed: bool = False,
    probabilities: bool = False,
    opset: int = 20,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Writes a network in one or more formats, each only if it labels the images as the network does.

    Args:
        restored: The network, on the CPU.
        images: uint8 RGB (H, W, 3), to check on.
        out: The folder; `predict.py` is put beside an ONNX file.
        formats: Of `FILES`.
        size: (height, width) of the example that the network is followed on; None: the first image's.
        fixed: Whether the files take images of that size alone.
        probabilities: Whether they give probabilities, too.
        opset: Of ONNX.
        say: Called with what was found on the way.

    Returns:
        The files, whose description holds the check.

    Raises:
        ConfigError: If the network can't be followed or has no form in a format.
        CheckpointError: If an export does not label the images as the network does.
    """
    transform = _normalisation(restored)
    model = restored.scorer.model.float().to(memory_format=torch.contiguous_format)
    net = PixelsToLabels(model=model, mean=transform.mean, std=transform.std, probabilities=probabilities).eval()
    height, width = size or images[0].shape[:2]
    say(f"following {type(model).__name__} on an image of {height} x {width}")
    program, taken = trace(net, (height, width), fixed=fixed)
    if not isinstance(restored.scorer.inference, WholeImage):
        say(
            f"note: the run predicts by {restored.scorer.inference}; what is exported takes the whole image in one pass"
        )
    say("takes " + ", ".join(size_range(name, *found) for name, found in taken.items()))
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in formats:
        description = {
            **_description(restored),
            "normalisation_inside": {"mean": list(transform.mean), "std": list(transform.std)},
            "sizes": {name: list(found) for name, found in taken.items()},
            "probabilities": probabilities,
            **({"opset": opset} if kind == "onnx" else {}),
        }
        if kind == "onnx":
            onnx = files.to_onnx(program, net, opset)
            runner = files.onnx_runner(files.with_description(onnx, description))
        else:
            runner = files.program_runner(program)
        agreement = _agreement(kind, net, runner, images, taken, restored.source, say)
        description["check"] = agreement.as_json()
        written.append(out / FILES[kind])
        if kind == "onnx":
            files.write_onnx(onnx, written[-1], description)
            files.write_script(out)
        else:
            files.write_program(program, written[-1], description)
    return written


def check_images(restored: Restored, *, split: str, paths: str | None, count: int) -> list[NDArray[np.uint8]]:
    """The first images, uint8 RGB (H, W, 3), of a file, folder or glob, or else of the checkpoint's data.

    Raises:
        DataError: If they can't be read.
        ConfigError: If the checkpoint's data set is not here.
    """
    if paths is not None:
        return [read_image(path) for path in list(find_images(paths))[:count]]
    try:
        dataset = build_datamodule(restored.config).dataset(split)
        return [np.ascontiguousarray(dataset[index].image) for index in range(min(count, len(dataset)))]
    except Exception as error:  # Hydra wraps the data set's own
        cause = error.__cause__ or error
        if not isinstance(cause, DataError):
            raise
        raise ConfigError(
            f"the images to check the export on can't be had: {cause} Give others by images=FOLDER, or the data set's place by "
            "data.root=FOLDER."
        ) from error


def _normalisation(restored: Restored) -> EvalTransform:
    """Raises CheckpointError if the network was evaluated on something else than normalised images."""
    transform = restored.transform
    if not isinstance(transform, EvalTransform):
        name = f"{type(transform).__module__}.{type(transform).__qualname__}"
        target = f"{EvalTransform.__module__}.{EvalTransform.__qualname__}"
        raise CheckpointError(
            f"{restored.source} was evaluated through {name}, and what is exported holds EvalTransform's normalisation. "
            f"Use data.eval_transform._target_={target} if that is right for it."
        )
    return transform


def _description(restored: Restored) -> dict[str, Any]:
    """What a file says of itself, so that it is enough alone. Holds no path."""
    info = restored.scorer.label_info
    return {
        "format": 1,
        "atrous": importlib.metadata.version("atrous"),
        "torch": importlib.metadata.version("torch"),
        "model": restored.config["model"]["_target_"],
        "checkpoint_sha256": hashlib.sha256(restored.source.read_bytes()).hexdigest(),
        "classes": {
            "names": list(info.names),
            "palette": [list(colour) for colour in info.palette],
            "ids": list(info.ids),
            "ignore_index": info.ignore_index,
        },
        "input": "uint8 RGB (batch, height, width, 3)",
        "labels": "class indices, whose names, colours and ids are those of classes",
    }


def size_range(name: str, smallest: int, largest: int | None) -> str:
    """A size's range in words."""
    if smallest == largest:
        return f"{name} {smallest} only"
    return f"any {name} from {smallest} on" if largest is None else f"{name} {smallest} to {largest}"


def _agreement(
    kind: str,
    net: PixelsToLabels,
    runner: Run,
    images: Sequence[NDArray[np.uint8]],
    taken: dict[str, Range],
    source: Path,
    say: Callable[[str], None],
) -> Agreement:
    """Raises CheckpointError where an export stops on an image of a size that it should take, or too few labels are equal."""
    try:
        found = compare(net, runner, images, taken)
    except Exception as error:  # onnxruntime's own, and torch's
        reason = (str(error) or repr(error)).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"the {kind} export of {source} stops on an image that it should take: {reason}. It was "
            "not written. Use fixed=true, which takes images of one size alone, size=[height,width]."
        ) from error
    sizes = ", ".join(f"{height} x {width}" for height, width in found.sizes)
    say(
        f"{kind}: {found.equal:.4%} of the labels are equal on {found.images} images of {sizes}; logits differ by at most "
        f"{found.max_difference:.1e}, their standard deviation is {found.spread:.1f}"
    )
    if not found.good:
        raise CheckpointError(
            f"the {kind} export of {source} labels {found.equal:.4%} of the pixels as the network does, and {MIN_EQUAL:.2%} are "
            f"wanted; it was not written. Try {_REMEDIES[kind]}, or fixed=true with size=[height,width] of the images that it is for."
        )
    return found
