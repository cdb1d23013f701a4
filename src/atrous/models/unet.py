"""U-Net.

Ronneberger, Fischer, Brox (2015) "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI,
https://arxiv.org/abs/1505.04597. Where the paper is silent this follows the authors' release,
https://lmb.informatik.uni-freiburg.de/people/ronneber/u-net ("release" below). With a timm encoder it is the U-Net of
https://github.com/qubvel-org/segmentation_models.pytorch.

Deviations:
- The paper's logits are 184 pixels smaller than the image. `forward` mirrors the image at its borders first (section 2,
  figure 2), so that the logits cover it; `valid` is the paper's raw net. `atrous.inference.tile` works tile by tile.
- Images have three channels, the paper's one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.mirror import mirrored
from atrous.layers.upsample import Upsample, crop, resize
from atrous.types import SegOutput


class UNet(nn.Module):
    """Contracting path, and an expanding path that concatenates the contracting path's maps.

    Args:
        num_classes: Channels of the logits.
        encoder: The paper's contracting path, or a timm encoder, whose scores then come from a 3 x 3 convolution in place
            of a 1 x 1, as in segmentation-models-pytorch.
        padded: Whether 3 x 3 convolutions keep a map's size. The paper's lose a pixel at each border. A timm encoder is padded.
        decoder_channels: Of each step of the expanding path, coarsest first. Each step halves the stride; fewer steps
            leave coarser logits. None mirrors the contracting path: (512, 256, 128, 64) in the paper (figure 1).
        batch_norm: Whether batch norm follows each 3 x 3 convolution of the expanding path; none in the paper.
        upsample: How each step enlarges its map. transposed is the paper's 2 x 2 up-convolution, with ReLU as in the
            release; the others keep the number of channels, see `atrous.layers.upsample.Upsample`.

    Attributes:
        border: Pixels that `valid` takes away at each side of the image, 92 in the paper; 0 when padded.
        stride: Of the coarsest map, 16 in the paper.

    Raises:
        ConfigError: If the encoder does not fit, or there are no or too many steps.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: ContractingPath | Encoder,
        padded: bool = False,
        decoder_channels: Sequence[int] | None = None,
        batch_norm: bool = False,
        upsample: str = "transposed",
    ) -> None:
        super().__init__()
        own = isinstance(encoder, ContractingPath)
        if padded != getattr(encoder, "padded", True):
            raise ConfigError(
                f"the model says padded={padded} but its {type(encoder).__name__} is {'not ' * padded}padded; let the contracting "
                "path follow the model: padded: ${model.padded}, and use padded=true with a timm encoder"
            )
        self.encoder, self.padded = encoder, padded
        self.stride = encoder.strides[-1]
        if decoder_channels is None:
            decoder_channels = encoder.channels[-2::-1]
        steps = len(decoder_channels)
        if not 1 <= steps <= math.log2(self.stride):
            raise ConfigError(
                f"decoder_channels {list(decoder_channels)} has {steps} steps, each halving the stride, and the encoder's last map is at "
                f"stride {self.stride}; give 1 to {int(math.log2(self.stride))} channel counts"
            )
        if not padded and steps != math.log2(self.stride):
            raise ConfigError(
                f"an unpadded U-Net's logits cover the image pixel by pixel, but decoder_channels {list(decoder_channels)} ends at stride "
                f"{self.stride >> steps}; give {int(math.log2(self.stride))} channel counts, or padded=true"
            )
        self.border = 0 if padded else 6 * self.stride - 4
        self.steps = [self.stride >> (i + 1) for i in range(steps)]  # strides
        self.skips = {stride: encoder.strides.index(stride) for stride in self.steps if stride in encoder.strides}
        self.decoder = nn.ModuleList()
        channels = encoder.channels[-1]
        settings: dict[str, Any] = {"padded": padded, "batch_norm": batch_norm, "upsample": upsample}
        for stride, after in zip(self.steps, decoder_channels, strict=True):
            skipped = encoder.channels[self.skips[stride]] if stride in self.skips else 0
            self.decoder.append(Expansion(in_channels=channels, skip_channels=skipped, out_channels=after, **settings))
            channels = after
        self.classifier = nn.Conv2d(channels, num_classes, 1) if own else nn.Conv2d(channels, num_classes, 3, padding=1)
        self.decoder.apply(_start)
        self.classifier.apply(_start)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W)."""
        height, width = images.shape[-2:]
        if self.padded:
            return SegOutput(self._covering(images))
        rows, columns = (
            mirrored(-self.border, self._input_size(size), size, images.device) for size in (height, width)
        )
        logits = self.valid(images.index_select(2, rows).index_select(3, columns))
        return SegOutput(crop(logits, (height, width)))

    def valid(self, images: Tensor) -> Tensor:
        """The unpadded net: (N, 3, H, W) -> logits (N, num_classes, H - 2 border, W - 2 border), 572 -> 388 in the paper.

        Raises:
            ConfigError: If the net is padded, or a map would have an odd side before a pooling (section 2, last paragraph).
        """
        if self.padded:
            raise ConfigError("a padded U-Net's logits cover the image; use padded=false for those that don't")
        for size in images.shape[-2:]:
            if size != self._input_size(size - 2 * self.border) or size <= 2 * self.border:
                near = self._input_size(max(1, size - 2 * self.border))
                raise ConfigError(
                    f"an unpadded U-Net can't take a side of {size} pixels, whose maps don't halve evenly; the next that it can is {near}"
                )
        return self._logits(images)

    def _covering(self, images: Tensor) -> Tensor:
        """The padded net, where an image has too few pixels for the poolings on one with its last row and column repeated."""
        height, width = images.shape[-2:]
        if torch.compiler.is_exporting() or min(height, width) >= self.stride or isinstance(self.encoder, Encoder):
            return self._logits(images)
        right, bottom = max(0, self.stride - width), max(0, self.stride - height)
        logits = self._logits(F.pad(images, (0, right, 0, bottom), mode="replicate"))
        return crop(logits, (math.ceil(height / self.steps[-1]), math.ceil(width / self.steps[-1])))

    def _logits(self, images: Tensor) -> Tensor:
        features = self.encoder(images)
        x = features[-1]
        for stride, step in zip(self.steps, self.decoder, strict=True):
            skip = features[self.skips[stride]] if stride in self.skips else None
            size = (math.ceil(images.shape[-2] / stride), math.ceil(images.shape[-1] / stride))
            x = step(x, skip, size)  # (N, channels, H/stride, W/stride)
        logits: Tensor = self.classifier(x)
        return logits

    def _input_size(self, size: int) -> int:
        """The smallest valid input whose logits are at least so large."""
        lost = 4 * (self.stride - 1)  # by the contracting path's convolutions, counted at stride 1
        return math.ceil((size + 2 * self.border - lost) / self.stride) * self.stride + lost


class ContractingPath(nn.Module):
    """The paper's encoder: pairs of 3 x 3 convolutions with ReLU, 2 x 2 max pooling between them (figure 1).

    Args:
        channels: Of the map at each stride 1, 2, 4 ...
        padded: Whether convolutions keep a map's size.
        batch_norm: Whether batch norm follows each convolution; none in the paper.
        dropout: After the last two stages, "at the end of the contracting path" (section 3.1); 0.5 in the release.

    Attributes:
        strides: Of each map.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        padded: bool = False,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.channels, self.padded = list(channels), padded
        self.strides = [2**i for i in range(len(channels))]
        stages = [
            _convs(before, after, padded, batch_norm)
            for before, after in zip([3, *channels[:-1]], channels, strict=True)
        ]
        for stage in stages[-2:]:
            stage.append(nn.Dropout(dropout))
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2)
        self.apply(_start)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns one map (N, channels[i], ~H/strides[i], ~W/strides[i]) for each stride, sizes rounded down."""
        features: list[Tensor] = []
        for stage in self.stages:
            features.append(stage(self.pool(features[-1]) if features else images))
        return features


class Expansion(nn.Module):
    """A step of the expanding path: upsampling, concatenation, two 3 x 3 convolutions.

    Args:
        in_channels: Of the coarser map.
        skip_channels: Of the encoder's map, 0 for none.
        out_channels: Of the result.
        padded: Whether convolutions keep a map's size. Otherwise the encoder's map is cropped to the upsampled one.
        batch_norm: Whether batch norm follows each convolution.
        upsample: As in `UNet`.
    """

    def __init__(
        self, *, in_channels: int, skip_channels: int, out_channels: int, padded: bool, batch_norm: bool, upsample: str
    ) -> None:
        super().__init__()
        self.padded, self.transposed = padded, upsample == "transposed"
        self.up: nn.Module
        if self.transposed:
            self.up = nn.Sequential(nn.ConvTranspose2d(in_channels, out_channels, 2, 2), nn.ReLU(inplace=True))
            in_channels = out_channels
        else:
            self.up = Upsample(channels=in_channels, scale=2, mode=upsample)
        self.convs = _convs(in_channels + skip_channels, out_channels, padded, batch_norm)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Goes one step finer.

        Args:
            x: (N, in_channels, h, w).
            skip: (N, skip_channels, ~2 h, ~2 w), or None.
            size: (height, width) of a padded step without `skip`.

        Returns:
            (N, out_channels, *size), or (N, out_channels, 2 h - 4, 2 w - 4) unpadded.
        """
        if skip is not None:
            size = (skip.shape[-2], skip.shape[-1])
        if not self.padded:
            size = (2 * x.shape[-2], 2 * x.shape[-1])
        x = resize(self.up(x), size) if self.transposed else self.up(x, size)
        if skip is not None:
            top, left = (skip.shape[-2] - size[0]) // 2, (skip.shape[-1] - size[1]) // 2
            x = torch.cat([x, skip[..., top : top + size[0], left : left + size[1]]], dim=1)
        convolved: Tensor = self.convs(x)
        return convolved


def _convs(in_channels: int, out_channels: int, padded: bool, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=int(padded), bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _start(module: nn.Module) -> None:
    """A normal of variance 2 / N with N the values that an output reads (section 3, after He et al.)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        taps = 1 if isinstance(module, nn.ConvTranspose2d) else math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2 * module.groups / (module.in_channels * taps)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
