"""Initialisations that torch doesn't have under the papers' conventions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def truncated_normal_(conv: nn.Conv2d, std: float) -> nn.Conv2d:
    """Starts a convolution's weights as TensorFlow's truncated_normal does, cut at two deviations, and its bias at zero."""
    nn.init.trunc_normal_(conv.weight, std=std, a=-2 * std, b=2 * std)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def gaussian_(conv: nn.Conv2d, std: float = 0.01) -> nn.Conv2d:
    """Starts a convolution as Caffe's nets start their scores: weights Gaussian with this deviation, bias zero."""
    nn.init.normal_(conv.weight, std=std)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def bilinear_(weight: Tensor) -> Tensor:
    """Fills the kernel of a transposed convolution in place so that it interpolates bilinearly.

    Channel i of the output reads channel i of the input. Long et al. (2015), section 3.3, and `surgery.interp` in
    https://github.com/shelhamer/fcn.berkeleyvision.org.

    Args:
        weight: (in, out / groups, k, k) with as many input as output channels; the kernel's size is twice the stride.
    """
    size = weight.shape[-1]
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    ramp = 1 - (torch.arange(size, dtype=weight.dtype, device=weight.device) - centre).abs() / factor
    with torch.no_grad():
        weight.zero_()
        for i in range(weight.shape[0]):
            weight[i, i % weight.shape[1]] = torch.outer(ramp, ramp)
    return weight
