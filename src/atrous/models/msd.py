"""Mixed-scale dense network (MS-D).

Pelt, Sethian (2018) "A mixed-scale dense convolutional neural network for image analysis", PNAS 115(2),
https://doi.org/10.1073/pnas.1715832114. Where the paper is silent this follows https://github.com/ahendriksen/msd_pytorch
and the first author's https://github.com/dmpelt/msdnet ("release" below).

Deviations:
- Every layer's convolution is computed as one product of its 9 taps with the channels so far, whose 9 results are shifted by
  the dilation and summed. It is the same convolution; nothing is copied or padded but those results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from atrous.errors import ConfigError
from atrous.layers.rates import check_dilations
from atrous.types import SegOutput


class MSD(nn.Module):
    """Layers of one or two channels at full resolution, each reading all channels before it.

    Each channel has its own dilation, which cycles: channel j of layer i has s_ij = ((i w + j) mod 10) + 1. Convolutions
    are 3 x 3 with reflected borders, followed by ReLU. Memory grows linearly with the depth.

    Args:
        num_classes: Channels of the logits.
        depth: Number of layers; 100 in the paper's CamVid network.
        width: Channels of each layer; 1 or 2 in the paper.
        dilations: Through which the channels cycle; 1 to 10 in the paper.

    Raises:
        ConfigError: If a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        depth: int = 100,
        width: int = 1,
        dilations: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    ) -> None:
        super().__init__()
        if depth < 1 or width < 1:
            raise ConfigError(f"depth {depth} and width {width} must be 1 or more; the paper's are depth=100, width=1")
        check_dilations(dilations)
        self.dilations = [dilations[i % len(dilations)] for i in range(depth * width)]  # of each channel
        # Incoming and outgoing connections of the last layer (release, init_convolution_weights).
        std = math.sqrt(2 / (9 * (3 + width * (depth - 1)) + num_classes))
        self.weights = nn.ParameterList(torch.randn(width, 3 + width * i, 3, 3) * std for i in range(depth))
        self.bias = nn.Parameter(torch.zeros(depth * width))
        self.classifier = nn.Conv2d(3 + depth * width, num_classes, kernel_size=1)
        for parameter in self.classifier.parameters():  # starts at zero (release, MSDFinalLayer)
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W).

        Raises:
            ConfigError: If the image is not larger than the largest dilation, by which it is mirrored at its border.
        """
        if min(images.shape[-2:]) <= max(self.dilations):
            raise ConfigError(
                f"an image of {images.shape[-2]} x {images.shape[-1]} can't be mirrored by {max(self.dilations)} pixels, the largest "
                f"dilation; use images of {max(self.dilations) + 1} pixels a side or more, or smaller dilations"
            )
        inputs = [images, self.bias, *self.weights]
        device = images.device.type
        # Cast once, not at each layer all channels before it.
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            inputs = [x.to(torch.get_autocast_dtype(device)) for x in inputs]
        features: Tensor = _DenseLayers.apply(self.dilations, *inputs)
        return SegOutput(self.classifier(features))  # from (N, 3 + depth * width, H, W)


class _DenseLayers(torch.autograd.Function):
    """All layers but the last, in one buffer, which autograd would copy for each layer.

    forward(dilations, images, bias, *weights): images (N, 3, H, W), bias (depth * width,), weights (width, channels before,
    3, 3) -> (N, 3 + depth * width, H, W), the images first.
    """

    @staticmethod
    def forward(ctx: Any, dilations: list[int], images: Tensor, bias: Tensor, *weights: Tensor) -> Tensor:
        batch, first, height, width = images.shape
        features = images.new_empty(batch, first + len(dilations), height, width)
        features[:, :first] = images
        for weight in weights:
            before, after = weight.shape[1], weight.shape[1] + weight.shape[0]
            taps = _taps(weight).expand(batch, -1, -1)
            products = torch.bmm(taps, features[:, :before].flatten(2)).view(batch, -1, height, width)  # (N, 9 w, H, W)
            for channel in range(before, after):
                own = products[:, 9 * (channel - before) :][:, :9]
                total = _gather(own, dilations[channel - first]) + bias[channel - first]
                features[:, channel] = total.relu_()
        ctx.save_for_backward(features, *weights)
        ctx.dilations = dilations
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        features, *weights = ctx.saved_tensors
        grad = grad_output.clone(memory_format=torch.contiguous_format)
        batch, _, height, width = features.shape
        first = weights[0].shape[1]
        grad_bias = grad.new_empty(len(ctx.dilations))
        grad_weights: list[Tensor | None] = []
        for weight in reversed(weights):
            before, after = weight.shape[1], weight.shape[1] + weight.shape[0]
            own = grad[:, before:after].mul_(features[:, before:after] > 0)
            grad_bias[before - first : after - first] = own.sum((0, 2, 3))
            rates = ctx.dilations[before - first : after - first]
            products = torch.cat([_spread(own[:, j], rate) for j, rate in enumerate(rates)], dim=1).flatten(2)
            sums = torch.bmm(products, features[:, :before].flatten(2).transpose(1, 2)).sum(0)  # (9 w, before)
            grad_weights.insert(0, sums.view(-1, 3, 3, before).permute(0, 3, 1, 2))
            taps = _taps(weight).t().expand(batch, -1, -1)
            grad[:, :before].view(batch, before, height * width).baddbmm_(taps, products)
        return None, grad[:, :first], grad_bias, *grad_weights


def _taps(weight: Tensor) -> Tensor:
    """(w, n, 3, 3) -> (9 w, n), a channel's 9 taps together."""
    return weight.permute(0, 2, 3, 1).flatten(0, 2)


def _gather(products: Tensor, dilation: int) -> Tensor:
    """Sums 9 maps, each shifted to its place in a 3 x 3 kernel, mirrored at the border: (N, 9, H, W) -> (N, H, W)."""
    height, width = products.shape[-2:]
    padded = F.pad(products, (dilation,) * 4, mode="reflect")
    total = products[:, 4].clone()  # the kernel's centre
    for i in (0, 1, 2, 3, 5, 6, 7, 8):
        top, left = dilation * (i // 3), dilation * (i % 3)
        total += padded[:, i, top : top + height, left : left + width]
    return total


def _spread(grad: Tensor, dilation: int) -> Tensor:
    """The transpose of `_gather`: (N, H, W) -> (N, 9, H, W)."""
    batch, height, width = grad.shape
    padded = grad.new_zeros(batch, 9, height + 2 * dilation, width + 2 * dilation)
    for i in range(9):
        top, left = dilation * (i // 3), dilation * (i % 3)
        padded[:, i, top : top + height, left : left + width] = grad
    like = grad[:, None].expand(-1, 9, -1, -1)
    spread: Tensor = torch.ops.aten.reflection_pad2d_backward(padded, like, [dilation] * 4)
    return spread
