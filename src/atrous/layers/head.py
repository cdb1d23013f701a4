"""The head that many nets end in: a convolution, dropout, scores."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from atrous.layers.conv import ConvNormAct


class ScoreHead(nn.Sequential):
    """3 x 3 convolution, batch norm, ReLU, dropout, 1 x 1 convolution to class scores; keeps height and width.

    Args:
        in_channels: Of the input.
        channels: Between the two convolutions.
        num_classes: Channels of the scores.
        dropout: Before the scores.
        kernel_sizes: Of the two convolutions, where they are not 3 and 1.
    """

    def __init__(
        self, *, in_channels: int, channels: int, num_classes: int, dropout: float, kernel_sizes: Sequence[int] = (3, 1)
    ) -> None:
        first, last = kernel_sizes
        super().__init__(
            ConvNormAct(in_channels=in_channels, out_channels=channels, kernel_size=first),
            nn.Dropout(dropout),
            nn.Conv2d(channels, num_classes, last, padding=last // 2),
        )
