"""How much of an atrous convolution reads the map rather than its padding.

Chen et al. (2017) "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.3 and figure 4,
https://arxiv.org/abs/1706.05587: with the rate the number of valid weights falls, and a 3 x 3 filter at a rate as large as
the map is a 1 x 1 one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from atrous.layers.meta_copy import to_meta_copy


@dataclass(frozen=True)
class AtrousConvs:
    """Convolutions of one kind that read maps of one size.

    Args:
        names: Of the modules.
        size: Height and width of the map that they read.
        kernel: Height and width.
        dilation: Vertical and horizontal rate.
        valid: Share of their weights' readings that lie on the map, 0 to 1.
        all_valid: Share of places at which all weights do.
        one_valid: Share of places at which a single one does, which is figure 4's 1 x 1 convolution.
    """

    names: tuple[str, ...]
    size: tuple[int, int]
    kernel: tuple[int, int]
    dilation: tuple[int, int]
    valid: float
    all_valid: float
    one_valid: float

    @property
    def degenerate(self) -> bool:
        """Whether the kernel reads one place of the map wherever it lies."""
        return self.one_valid == 1


def valid_counts(length: int, *, kernel: int, dilation: int) -> Tensor:
    """How many of a kernel's weights lie on the map, int64 (length,), along one axis, for a kernel padded to keep size."""
    offsets = dilation * torch.arange(kernel) - dilation * (kernel - 1) // 2
    places = torch.arange(length)[:, None] + offsets
    return ((places >= 0) & (places < length)).sum(1)


def valid_shares(size: Sequence[int], *, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[float, float, float]:
    """What `AtrousConvs` tells of a kernel on a map of a size: `valid`, `all_valid` and `one_valid`."""
    axes = zip(size, kernel, dilation, strict=True)
    rows, columns = (valid_counts(length, kernel=k, dilation=rate) for length, k, rate in axes)
    counts = rows[:, None] * columns  # (h, w)
    weights = kernel[0] * kernel[1]
    return float(counts.double().mean()) / weights, _share(counts == weights), _share(counts == 1)


def atrous_convs(model: nn.Module, size: Sequence[int]) -> list[AtrousConvs]:
    """The convolutions with holes of a network, on an image of a size.

    Args:
        model: Takes images (N, 3, H, W).
        size: Height and width of the image.

    Returns:
        Convolutions of one kernel, rate and map together, in order of their first call. Empty where there are none or the
        network doesn't run without data.
    """
    if not any(_is_atrous(module) for module in model.modules()):
        return []
    copy = to_meta_copy(model)
    found: dict[tuple[Any, ...], list[str]] = {}
    for name, module in copy.named_modules():
        if _is_atrous(module):
            module.register_forward_hook(_recorder(name, found))
    try:
        with torch.no_grad():
            copy(torch.empty(1, 3, *size, device="meta"))
    except (NotImplementedError, RuntimeError):
        return []
    return [_counted(tuple(names), *key) for key, names in found.items()]


def wide_rates(model: nn.Module, size: Sequence[int]) -> str | None:
    """A warning of convolutions whose rate is as large as their map, None where there are none.

    Args:
        model: Takes images (N, 3, H, W).
        size: Height and width of the images it is about to train on.
    """
    wide = [convs for convs in atrous_convs(model, size) if convs.degenerate]
    if not wide:
        return None
    maps = Counter((convs.size, convs.kernel) for convs in wide)
    told = [
        f"rates {', '.join(str(max(c.dilation)) for c in wide if (c.size, c.kernel) == key)} on a map of {key[0][0]} x {key[0][1]}"
        for key in maps
    ]
    kernel = " x ".join(map(str, wide[0].kernel))
    return (
        f"{' and '.join(told)}, of images of {size[0]} x {size[1]}: a {kernel} convolution there reads one place and is a 1 x 1 "
        "convolution (DeepLabv3, section 3.3). Take larger crops, lower rates (model.dilations) or a smaller model.output_stride"
    )


def _is_atrous(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and any(
        rate > 1 and kernel > 1 for rate, kernel in zip(module.dilation, module.kernel_size, strict=True)
    )


def _recorder(name: str, found: dict[tuple[Any, ...], list[str]]) -> Any:
    def record(module: nn.Conv2d, args: tuple[Tensor], output: Tensor) -> None:
        # The output's size: where a hook pads beforehand, the input is larger than the map by just that.
        key = (tuple(output.shape[-2:]), tuple(module.kernel_size), tuple(module.dilation))
        names = found.setdefault(key, [])
        if name not in names:
            names.append(name)

    return record


def _counted(names: tuple[str, ...], size: Any, kernel: Any, dilation: Any) -> AtrousConvs:
    return AtrousConvs(names, size, kernel, dilation, *valid_shares(size, kernel=kernel, dilation=dilation))


def _share(which: Tensor) -> float:
    return float(which.double().mean())
