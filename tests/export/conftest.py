import json

import pytest
import torch
from tiny import Coarse, make

from atrous.export import files
from atrous.export.graph import trace


@pytest.fixture(scope="session")
def coarse():
    torch.manual_seed(0)
    return make(Coarse(), probabilities=True)


@pytest.fixture(scope="session")
def traced(coarse):
    """The program of `coarse` and the sizes that it takes."""
    return trace(coarse, (50, 70))


@pytest.fixture(scope="session")
def description(traced):
    return {
        "classes": {
            "names": ["sky", "building", "road", "\x1b[31mtree", "car"],
            "palette": [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [250, 250, 10]],
            "ids": [7, 11, 300, 21, 26],
            "ignore_index": 255,
        },
        "sizes": {name: list(found) for name, found in traced[1].items()},
        "probabilities": True,
    }


@pytest.fixture(scope="session")
def onnx_model(coarse, traced):
    return files.to_onnx(traced[0], coarse, 20)


@pytest.fixture(scope="session")
def onnx_file(onnx_model, description, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    files.write_onnx(onnx_model, path, json.loads(json.dumps(description)))
    return path
