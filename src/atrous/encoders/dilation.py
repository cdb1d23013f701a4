"""Strides rewritten as dilations: a denser feature map from the same weights.

Holschneider et al. (1989) "A real-time algorithm for signal analysis with the help of the wavelet transform" (algorithme
à trous); Chen et al. (2018) "DeepLab", TPAMI, section 3.1, https://arxiv.org/abs/1606.00915. Multi-grid: Chen et al.
(2017) "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.2.1, https://arxiv.org/abs/1706.05587.

A layer that reads a map `r` times denser than it was made for reads it `r` pixels apart. Every output of the strided
network is then still computed, on every `r`-th pixel, and the pixels between are new. This holds for convolutions and
poolings. It can't hold for a layer that looks at the whole map, such as squeeze-excite or a group norm: that one is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.errors import ConfigError
from atrous.layers.meta_copy import to_meta_copy
from atrous.layers.rates import is_rates

_PROBE_SIZE = 512  # pixels; the probe runs on the meta device, where size costs nothing


def dilate(
    module: nn.Module, output_stride: int, multi_grid: Sequence[int] | None = None, *, dilate_strided: bool = False
) -> nn.Module:
    """Rewrites a CNN in place so that no map is coarser than `output_stride`.

    Parameters and the state dict's keys stay as they are. On images whose sides the network's own stride divides, the new
    maps subsampled equal the old ones; on others they differ at the right and bottom border, where the strided network
    drops a row.

    Args:
        module: Takes images (N, C, H, W), with C the input channels of its first convolution.
        output_stride: The coarsest stride that may remain, a power of two.
        multi_grid: Unit rates, one for each block of the last stage, the first block included. A block's convolutions
            larger than 1 x 1 get the rate `unit * (the network's own stride / output_stride)`. Without it, a layer that
            loses its stride keeps the rate of the map it reads.
        dilate_strided: Whether such a layer takes the rate of the map it writes instead, as in
            segmentation-models-pytorch. The first sentence on maps then no longer holds.

    Returns:
        The same module.

    Raises:
        ConfigError: If a layer that must change can't, or `multi_grid` does not fit the last stage.
    """
    if output_stride < 1 or output_stride & (output_stride - 1):
        raise ConfigError(f"output stride {output_stride} is not a power of two; use 8, 16 or 32")
    layers = _probe(module)
    strides = {layer.name: layer.stride_out if dilate_strided else layer.stride_in for layer in layers}
    rates = {name: stride // output_stride for name, stride in strides.items() if stride > output_stride}
    if multi_grid is not None:
        rates |= _multi_grid_rates(layers, output_stride, multi_grid)
    for layer in layers:
        if layer.stride_out > output_stride or layer.name in rates:
            _rewrite(module, layer, output_stride, rates.get(layer.name, 1))
    coarsest = max((layer.stride_out for layer in _probe(module)), default=1)
    if coarsest > output_stride:
        raise ConfigError(
            f"a {type(module).__name__} still has stride {coarsest} after rewriting to {output_stride}: it strides outside "
            f"convolutions and poolings; use output_stride={coarsest} or another encoder"
        )
    return module


@dataclass
class _Layer:
    """A convolution, pooling or upsampling, and where it stands in the strided network."""

    name: str
    module: Any
    stride_in: int
    stride_out: int


def _probe(module: nn.Module) -> list[_Layer]:
    """The layers in the order they run, with the strides of the maps that they read and write."""
    copy = to_meta_copy(module)
    modules = dict(module.named_modules())
    layers: dict[str, _Layer] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def hook(_: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
            if args[0].shape[-1] > 1:  # else it follows a global pooling
                layers.setdefault(name, _Layer(name, modules[name], _stride(args[0]), _stride(output)))

        return hook

    for name, layer in copy.named_modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.Upsample | nn.ConvTranspose2d):
            layer.register_forward_hook(watch(name))
    channels = next((layer.in_channels for layer in copy.modules() if isinstance(layer, nn.Conv2d)), 3)
    try:
        with torch.no_grad():
            copy(torch.empty(1, channels, _PROBE_SIZE, _PROBE_SIZE, device="meta"))
    except Exception as error:  # whatever a network raises when its maps don't fit together
        raise ConfigError(
            f"a {type(module).__name__} can't be dilated to another output stride: its maps don't fit together ({error}); use output_stride=32 or another encoder"
        ) from None
    return list(layers.values())


def _stride(x: Tensor) -> int:
    """The power of two nearest to a map's stride: unpadded layers make maps a little smaller than their stride says."""
    return int(2 ** max(0, round(math.log2(_PROBE_SIZE / x.shape[-1]))))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _rewrite(root: nn.Module, layer: _Layer, output_stride: int, rate: int) -> None:
    """Takes away the stride that passes `output_stride` and spreads the kernel by `rate`."""
    module, kind = layer.module, type(layer.module).__name__
    if isinstance(module, nn.Upsample | nn.ConvTranspose2d):
        raise ConfigError(
            f"layer {layer.name} ({kind}) upsamples inside the network, which a dilation can't keep; use output_stride=32"
        )
    pads_by_size = getattr(module, "same_pad", kind.endswith("Same")) or isinstance(module.padding, str)
    if pads_by_size or getattr(module, "padding_mode", "zeros") != "zeros":
        raise ConfigError(
            f"layer {layer.name} ({kind}) pads by the image's size, as TensorFlow does, or by other values than zeros, which a "
            "dilation can't keep; use output_stride=32 or an encoder without 'tf_' in its name"
        )
    loses_stride = layer.stride_out > layer.stride_in and layer.stride_out > output_stride
    if loses_stride and layer.stride_in < output_stride:
        raise ConfigError(
            f"layer {layer.name} ({kind}) goes from stride {layer.stride_in} to {layer.stride_out} in one step, past output "
            f"stride {output_stride}; use output_stride={layer.stride_out} or another encoder"
        )
    kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
    own_rate = _pair(getattr(module, "dilation", 1))
    before = [rate * p for p in padding]
    after = list(before)
    if loses_stride:
        for axis in (0, 1):
            span = own_rate[axis] * (kernel[axis] - 1)
            # A layer that halves an even map keeps its size once unstrided, also where its kernel is even or unpadded.
            if getattr(module, "ceil_mode", False) or span + 1 - 2 * padding[axis] <= stride[axis]:
                after[axis] = rate * span - before[axis]
        stride = (1, 1)
    if isinstance(module, nn.AvgPool2d):
        pool = DilatedAvgPool2d(module, stride=stride, rate=rate, after=(after[0], after[1]))
        parent, _, child = layer.name.rpartition(".")
        setattr(root.get_submodule(parent), child, pool)
        return
    module.stride, module.dilation = stride, (rate * own_rate[0], rate * own_rate[1])
    pools = isinstance(module, nn.MaxPool2d)  # torch bounds their padding by the kernel as it was
    if pools or after != before:
        module.padding = (0, 0)
        value = -math.inf if pools else 0.0
        module.register_forward_pre_hook(_Pad((before[1], after[1], before[0], after[0]), value))
    else:
        module.padding = (before[0], before[1])


class _Pad:
    """Forward pre-hook that pads (left, right, top, bottom), for layers whose own padding is symmetric."""

    def __init__(self, padding: tuple[int, int, int, int], value: float) -> None:
        self.padding, self.value = padding, value

    def __call__(self, _: nn.Module, args: tuple[Tensor]) -> Tensor:
        return F.pad(args[0], self.padding, value=self.value)


class DilatedAvgPool2d(nn.Module):
    """Average pooling of pixels `rate` apart, which torch has for maxima only.

    Args:
        pool: Whose kernel, padding and `count_include_pad` are kept.
        stride: Of the output, (vertical, horizontal).
        rate: Pixels between neighbours of the kernel.
        after: Pixels below and to the right that the window may reach over; what exceeds the pool's own padding is
            left out of the average.
    """

    def __init__(self, pool: nn.AvgPool2d, *, stride: tuple[int, int], rate: int, after: tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.rate = _pair(pool.kernel_size), stride, rate
        self.count_padding = float(pool.count_include_pad)
        top, left = (rate * p for p in _pair(pool.padding))
        bottom, right = after
        self.counted = (left, min(left, right), top, min(top, bottom))
        self.left_out = (0, max(0, right - left), 0, max(0, bottom - top))

    def forward(self, x: Tensor) -> Tensor:
        weight = x.new_ones(1, 1, *x.shape[-2:])
        weight = F.pad(F.pad(weight, self.counted, value=self.count_padding), self.left_out)
        x = F.pad(F.pad(x, self.counted), self.left_out)
        return self._window_sum(x) / self._window_sum(weight)

    def _window_sum(self, x: Tensor) -> Tensor:
        (rows, columns), rate = self.kernel_size, self.rate
        height, width = x.shape[-2] - rate * (rows - 1), x.shape[-1] - rate * (columns - 1)
        shifts = [(rate * i, rate * j) for i in range(rows) for j in range(columns)]
        total = sum(x[..., i : i + height, j : j + width] for i, j in shifts)
        return total[..., :: self.stride[0], :: self.stride[1]]  # type: ignore[index]


def _multi_grid_rates(layers: list[_Layer], output_stride: int, multi_grid: Sequence[int]) -> dict[str, int]:
    """The rate of each of the last stage's convolutions by name."""
    if not is_rates(multi_grid):
        raise ConfigError(
            f"multi_grid {multi_grid} must be positive integers, one for each block of the last stage, such as [1, 2, 4]"
        )
    native = max(layer.stride_out for layer in layers)
    convs = [layer for layer in layers if isinstance(layer.module, nn.Conv2d) and max(layer.module.kernel_size) > 1]
    last = [layer.name for layer in convs if layer.stride_out == native]
    earlier = [layer.name for layer in convs if layer.stride_out < native]
    blocks = _blocks(last)
    # A block whose last convolution carries the stride belongs to the stage before, as in Xception.
    last = [
        name for block, names in blocks.items() if not any(n.startswith(f"{block}.") for n in earlier) for name in names
    ]
    blocks = _blocks(last)
    if len(blocks) != len(multi_grid):
        raise ConfigError(
            f"multi_grid {list(multi_grid)} has {len(multi_grid)} unit rates but the encoder's last stage has {len(blocks)} blocks "
            f"({', '.join(blocks) or 'none with a convolution larger than 1 x 1'}); give one rate a block"
        )
    base = max(1, native // output_stride)
    return {name: base * unit for unit, names in zip(multi_grid, blocks.values(), strict=True) for name in names}


def _blocks(names: list[str]) -> dict[str, list[str]]:
    """Groups layer names by the child of their smallest common parent: layer4.0.conv2 is in block layer4.0."""
    paths = [name.split(".") for name in names]
    depth = 0
    while paths and all(len(path) > depth + 1 and path[depth] == paths[0][depth] for path in paths):
        depth += 1
    blocks: dict[str, list[str]] = {}
    for name, path in zip(names, paths, strict=True):
        blocks.setdefault(".".join(path[: depth + 1]), []).append(name)
    return blocks
