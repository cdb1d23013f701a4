"""Features of networks for methods that cluster: one of an encoder's maps."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from atrous.classical.method import described
from atrous.data.transforms import IMAGENET_MEAN, IMAGENET_STD, normalise
from atrous.encoders.encoder import Encoder
from atrous.engine.checkpoint import restore
from atrous.errors import ConfigError


@dataclass(kw_only=True)
class NetworkFeatures:
    """uint8 (H, W, 3) -> float32 (H / stride, W / stride, D): a map of an encoder, resized, each pixel of length 1.

    Args:
        ckpt: A checkpoint of ours, or its run folder, whose encoder is taken; None: one by its name.
        encoder: timm's name of one.
        weights: Its weights: None for random ones, imagenet, or a file.
        level: Which of its maps, from 0, the finest, on.
        stride: What the map is resized to.
        seed: Of random weights.

    Raises:
        ConfigError: If there is no such encoder or map.
    """

    ckpt: str | None
    encoder: str
    weights: str | None
    level: int
    stride: int
    seed: int

    @functools.cached_property
    def net(self) -> nn.Module:
        """The encoder, on the CPU."""
        if self.ckpt is None:
            torch.manual_seed(self.seed)
            return Encoder(name=self.encoder, weights=self.weights).eval()
        model = restore(Path(self.ckpt), accelerator="cpu").scorer.model
        found = getattr(model, "encoder", None)
        if not isinstance(found, Encoder):
            raise ConfigError(
                f"method.features.ckpt={self.ckpt}: {type(model).__name__} has no encoder of several maps; take the checkpoint of "
                "another model, such as deeplabv3plus."
            )
        return found.eval()

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        maps = self.net(normalise(image, IMAGENET_MEAN, IMAGENET_STD)[None])
        if not 0 <= self.level < len(maps):
            raise ConfigError(
                f"method.features.level={self.level}: the encoder has maps 0 to {len(maps) - 1}; give one of them."
            )
        size = [-(-length // self.stride) for length in image.shape[:2]]
        resized = functional.interpolate(maps[self.level].float(), size, mode="bilinear", align_corners=False)
        features: NDArray[np.float32] = functional.normalize(resized[0], dim=0).permute(1, 2, 0).contiguous().numpy()
        return features

    def __str__(self) -> str:
        return described(self)
