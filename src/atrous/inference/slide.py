"""Sliding window: an image of any size in windows of one size, the scores of neighbouring windows blended.

The windows lie as in mmsegmentation's `EncoderDecoder.slide_inference`
(https://github.com/open-mmlab/mmsegmentation/blob/main/mmseg/models/segmentors/encoder_decoder.py), and with
`blend="uniform"` the scores are its as well. The Gaussian is nnU-Net's (Isensee et al. 2021, Nature Methods,
`compute_gaussian` of https://github.com/MIC-DKFZ/nnUNet: a standard deviation of an eighth of the window).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atrous.errors import ConfigError
from atrous.inference.accumulator import ScoreAccumulator
from atrous.inference.image import Image
from atrous.inference.labels import resize
from atrous.inference.mode import Network

BLENDS = ("gaussian", "hann", "uniform")


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """Windows on a grid, the last ones of a row or column shifted inside; logits are averaged with weights.

    No more scores are held than those of one row of windows, and those in a file where they are many
    (`atrous.inference.accumulator`).

    Args:
        window: Height and width in pixels, such as the training's crop. A smaller image is one smaller window.
        stride: Steps down and across, at most the window. None: two thirds of the window.
        blend: How a window's pixels count: gaussian and hann fall off to its borders, where a network sees little
            around a pixel and seams would show; uniform: all alike.
        batch: Windows in one pass of the network.

    Raises:
        ConfigError: If a setting is impossible.
    """

    window: Sequence[int] = (512, 512)
    stride: Sequence[int] | None = None
    blend: str = "gaussian"
    batch: int = 4

    def __post_init__(self) -> None:
        for name, pair in (("window", self.window), ("stride", self._stride())):
            whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in pair)
            if not whole or len(pair) != 2:
                raise ConfigError(
                    f"inference.{name}={list(pair)} is impossible; give height and width in pixels, such as 'inference.{name}=[512,512]'."
                )
        if any(step > side for step, side in zip(self._stride(), self.window, strict=True)):
            raise ConfigError(
                f"inference.stride={list(self._stride())} is larger than inference.window={list(self.window)} and would leave gaps "
                "between windows; give a stride up to the window."
            )
        if self.blend not in BLENDS:
            raise ConfigError(f"inference.blend={self.blend} is unknown; choose one of {', '.join(BLENDS)}.")
        if not isinstance(self.batch, int) or self.batch < 1:
            raise ConfigError(f"inference.batch={self.batch} is impossible; give a number of windows from 1 on.")

    def __call__(self, net: Network, image: Image) -> Iterator[Tensor]:
        (height, width), (down, across) = image.size, self._stride()
        h, w = min(self.window[0], height), min(self.window[1], width)
        tops, lefts = starts(height, h, down), starts(width, w, across)
        row_shares, column_shares = shares(height, h, tops, self.blend), shares(width, w, lefts, self.blend)
        sums = ScoreAccumulator(height=h, width=width)  # of one row of windows
        for row, top in enumerate(tops):
            for first in range(0, len(lefts), self.batch):
                group = lefts[first : first + self.batch]
                windows = torch.cat([image.part(slice(top, top + h), slice(left, left + w)) for left in group])
                scores = net(windows).logits.chunk(len(group))  # each (N, C, h', w')
                for column, (left, part) in enumerate(zip(group, scores, strict=True), first):
                    logits = resize(part, (h, w))
                    weights = row_shares[row][:, None] * column_shares[column]  # (h, w)
                    sums.add(logits * weights.to(logits.device), left)
            yield from sums.finish(tops[row + 1] - top if row + 1 < len(tops) else h)

    def __str__(self) -> str:
        size, step = (" x ".join(map(str, pair)) for pair in (self.window, self._stride()))
        return f"slide, windows of {size} every {step}, logits averaged ({self.blend})"

    def _stride(self) -> Sequence[int]:
        return [max(1, 2 * side // 3) for side in self.window] if self.stride is None else self.stride


def starts(size: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side of `size` pixels, each of them inside."""
    count = -(-max(size - window, 0) // stride) + 1
    return [min(index * stride, size - window) for index in range(count)]


def shares(size: int, window: int, tops: list[int], blend: str) -> list[Tensor]:
    """What each window contributes to its pixels along a side; over the windows the shares of a pixel sum to one.

    The windows form a grid, so that the share of a pixel is the product of its row's and its column's.

    Returns:
        One float32 (window,) for each of `tops`.
    """
    pixel = torch.arange(window, dtype=torch.float64)
    if blend == "gaussian":
        weights = torch.exp(-0.5 * ((pixel - (window - 1) / 2) / (window / 8)) ** 2)
    elif blend == "hann":
        weights = torch.sin(torch.pi * (pixel + 0.5) / window) ** 2
    else:
        weights = torch.ones(window, dtype=torch.float64)
    total = torch.zeros(size, dtype=torch.float64)
    for top in tops:
        total[top : top + window] += weights
    return [(weights / total[top : top + window]).float() for top in tops]
