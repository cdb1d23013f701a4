"""The head that many nets end in: a convolution, dropout, scores."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from atrous.layers.conv import ConvNormAct


class ScoreHead(nn.Sequential):
    """3 x 3 convolution, batch norm, ReLU, dropout, 1 x 1 convolution to class scores; keeps height and width.

    Args:
        in_channels: Of the input.
        num_classes: Channels of the scores.
        dropout: Before the scores.
        channels: Between the two convolutions; None: a quarter of the input's, 256 of ResNet's 1024.
        kernel_sizes: Of the two convolutions, where they are not 3 and 1.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        dropout: float,
        channels: int | None = None,
        kernel_sizes: Sequence[int] = (3, 1),
    ) -> None:
        first, last = kernel_sizes
        channels = channels or in_channels // 4
        super().__init__(
            ConvNormAct(in_channels=in_channels, out_channels=channels, kernel_size=first),
            nn.Dropout(dropout),
            nn.Conv2d(channels, num_classes, last, padding=last // 2),
        )
