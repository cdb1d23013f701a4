"""Writes exported networks with their description inside: ONNX files and torch programs."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from atrous.errors import ConfigError
from atrous.export import runtime
from atrous.export.check import Run
from atrous.export.graph import PixelsToLabels, output_names
from atrous.system.files import whole_file

OPSETS = range(18, 24)
LARGEST_ONNX = 2**31 - 1  # bytes; a message of protocol buffers can't be larger
DIMENSION_NAMES = {
    "image": ("batch", "height", "width", "3"),
    "labels": ("batch", "height", "width"),
    "logits": ("batch", "classes", "rows", "columns"),
    "probabilities": ("batch", "classes", "height", "width"),
}
EXTRA_FILE = f"{runtime.METADATA_KEY}.json"  # inside a .pt2


def to_onnx(program: ExportedProgram, net: PixelsToLabels, opset: int) -> Any:
    """The program as an ONNX model (`onnx.ModelProto`).

    Raises:
        ConfigError: If the packages are missing, there is no such opset, the model is larger than an ONNX file may be, or
            an operation has no form in ONNX.
    """
    if opset not in OPSETS:
        raise ConfigError(f"opset={opset} is impossible; give {OPSETS[0]} to {OPSETS[-1]}.")
    size = sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())
    if size > LARGEST_ONNX:
        raise ConfigError(
            f"the network's weights are {size / 2**30:.1f} GiB, and an ONNX file holds 2. Use format=torch, or a smaller network."
        )
    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["image"],
                output_names=output_names(net),
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
            assert exported is not None  # with dynamo it returns the model
            model = exported.model_proto
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs further packages: {error}. Install them by `pip install atrous[export]`."
        ) from error
    except Exception as error:  # whatever the translation of somebody's operation raises
        reason = (str(error) or repr(error)).strip().splitlines()[-1].rstrip(".")
        raise ConfigError(
            f"{type(net.model).__name__} can't be written as ONNX, opset {opset}: {reason}. Use format=torch, or another opset."
        ) from error
    for value in (*model.graph.input, *model.graph.output):  # torch's names of sizes, such as s40, say nothing
        for place, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.dim_param:
                dimension.dim_param = DIMENSION_NAMES[value.name][place]
    return model


def with_description(model: Any, description: dict[str, Any]) -> bytes:
    """The model as it stands in a file, its description in place of any before."""
    del model.metadata_props[:]
    stored = model.metadata_props.add()
    stored.key, stored.value = runtime.METADATA_KEY, json.dumps(description)
    data: bytes = model.SerializeToString()
    return data


def write_onnx(model: Any, path: Path, description: dict[str, Any]) -> None:
    """Writes the model with its description."""
    with whole_file(path) as file:
        file.write(with_description(model, description))


def write_program(program: ExportedProgram, path: Path, description: dict[str, Any]) -> None:
    """Writes the program with its description."""
    with whole_file(path) as file, quiet():
        torch.export.save(program, file, extra_files={EXTRA_FILE: json.dumps(description)})


def write_script(folder: Path) -> Path:
    """Puts `predict.py`, which needs nothing of ours, beside the model."""
    script = folder / "predict.py"
    shutil.copyfile(runtime.__file__, script)
    return script


def onnx_runner(model: bytes | str, *, threads: int = 0) -> Run:
    """Runs a model with onnxruntime on the CPU.

    Args:
        model: As it stands in the file, or the file's path.
        threads: 0 is one for each core.
    """
    network = runtime.Network(model, threads=threads)

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        labels, logits = network.run(images, ["labels", "logits"])
        return labels, logits

    return run


def program_runner(program: ExportedProgram) -> Run:
    module = program.module()

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        with torch.no_grad():
            labels, logits, *_ = module(torch.from_numpy(images))
        return labels.numpy(), logits.numpy()

    return run


@contextlib.contextmanager
def quiet() -> Any:
    """Silences what torch's exporter tells of its steps."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
