"""Atrous spatial pyramid pooling, as of DeepLabv3."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from atrous.layers.conv import ConvNormAct, SeparableConv, check_batch
from atrous.layers.rates import check_dilations


class ASPP(nn.Module):
    """Looks at a map at several scales at once.

    Chen et al. (2017) "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.3,
    https://arxiv.org/abs/1706.05587. A 1 x 1 convolution, a 3 x 3 convolution at each rate and the image's mean, side by
    side; then a 1 x 1 convolution of them all.

    Args:
        in_channels: Of the map.
        channels: Of each branch and of the result, 256 in the paper.
        dilations: Rates of the 3 x 3 convolutions, (6, 12, 18) at output stride 16 in the paper.
        separable: Whether the 3 x 3 convolutions are depthwise separable, as in DeepLabv3+.
        norm_between: Of separable convolutions, see `atrous.layers.conv.SeparableConv`.
        dropout: After the projection; 0.1 in the authors' release (`keep_prob=0.9`).
        join_kernel: Size of the projection; 1 in the paper, 3 in mmsegmentation.

    Raises:
        ConfigError: If `dilations` is empty or holds something else than positive integers.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        dilations: Sequence[int],
        channels: int = 256,
        separable: bool = False,
        norm_between: bool = True,
        dropout: float = 0.1,
        join_kernel: int = 1,
    ) -> None:
        super().__init__()
        check_dilations(dilations)
        conv = partial(SeparableConv, norm_between=norm_between) if separable else ConvNormAct
        self.point = ConvNormAct(in_channels=in_channels, out_channels=channels, kernel_size=1)
        self.atrous = nn.ModuleList(
            conv(in_channels=in_channels, out_channels=channels, dilation=rate) for rate in dilations
        )
        self.image = ImagePool(in_channels=in_channels, out_channels=channels)
        self.project = ConvNormAct(
            in_channels=channels * (len(dilations) + 2), out_channels=channels, kernel_size=join_kernel
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, channels, h, w)."""
        branches = [self.point(x), *(conv(x) for conv in self.atrous), self.image(x)]
        fused: Tensor = self.dropout(self.project(torch.cat(branches, dim=1)))
        return fused


class ImagePool(nn.Module):
    """The mean of the whole map, through a 1 x 1 convolution, at every pixel.

    Args:
        in_channels: Of the map.
        out_channels: Of the result.
    """

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(in_channels=in_channels, out_channels=out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h, w).

        Raises:
            ConfigError: If it trains on a batch of one.
        """
        mean = x.mean(dim=(2, 3), keepdim=True)  # (N, in_channels, 1, 1)
        check_batch(self.conv, mean)
        pooled: Tensor = self.conv(mean)
        return pooled.expand(-1, -1, *x.shape[-2:])
