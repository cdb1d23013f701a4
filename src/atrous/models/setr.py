"""SETR: SETR-Naive, SETR-PUP, SETR-MLA.

Zheng, Lu, Zhao, Zhu, Luo, Wang, Fu, Feng, Xiang, Torr, Zhang (2021) "Rethinking Semantic Segmentation from a
Sequence-to-Sequence Perspective with Transformers", CVPR, https://arxiv.org/abs/2012.15840. Where the paper is silent this
follows the authors' release, https://github.com/fudan-zvg/SETR ("release" below).

Deviations:
- Resizing treats pixels as areas (`align_corners=False`) everywhere; the release aligns corners inside the MLA head.
- The class token runs along in all three; the release drops it before the first block of SETR-MLA.
- Convolutions before a batch norm have no bias, which the norm would take away; in Naive and PUP the release's have one.
- Position embeddings are resampled bicubically, by timm; the release resamples bilinearly, once.
- MLA has the release's layers: 1 x 1, 3 x 3 and two more 3 x 3 a stream, of 256, 256, 128 and 128 channels. The paper's text
  halves the channels twice from the encoder's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from atrous.encoders.vit import ViT
from atrous.errors import ConfigError
from atrous.layers.conv import ConvNormAct
from atrous.layers.upsample import Upsample, crop
from atrous.types import SegOutput


class SETR(nn.Module):
    """A vision transformer whose blocks' maps are decoded by convolutions, each map through its own layer norm.

    Args:
        num_classes: Channels of the logits.
        encoder: The vision transformer. Its final layer norm is taken away.
        decoder: "naive" is two 1 x 1 convolutions and one upsampling, "pup" alternates convolution and doubling, "mla"
            sums and concatenates the maps of several blocks (section 3.3).
        aux_blocks: Blocks with an auxiliary head, counted from 1; of MLA its streams. None takes the paper's (section 4.1):
            10, 15 and 20 of 24, for PUP the last, too; at other depths a quarter, a half and three quarters of it, as in
            the release's SETR-Naive-Base. For MLA all four quarters.
        decoder_channels: Of the decoder's convolutions; 256 in the release.
        upsample: How maps are enlarged, see `atrous.layers.upsample.Upsample`; bilinear in the paper.

    Raises:
        ConfigError: If there is no such decoder, or no such block.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: ViT,
        decoder: str = "pup",
        aux_blocks: Sequence[int] | None = None,
        decoder_channels: int = 256,
        upsample: str = "bilinear",
    ) -> None:
        super().__init__()
        if decoder not in ("naive", "pup", "mla"):
            raise ConfigError(f"decoder {decoder!r} is none of SETR's; use decoder=naive, decoder=pup or decoder=mla")
        depth, patch = encoder.depth, encoder.patch
        blocks = _paper_blocks(decoder, depth) if aux_blocks is None else list(aux_blocks)
        if not blocks or blocks != sorted(set(blocks) & set(range(1, depth + 1))):
            raise ConfigError(
                f"aux_blocks {blocks} must be some of the encoder's blocks 1 to {depth} in ascending order; give for "
                f"instance aux_blocks={_paper_blocks(decoder, depth)}"
            )
        self.encoder = encoder.without_norm()
        self.aux_blocks = blocks
        self.aggregate = None
        self.head: nn.Module
        heads: Sequence[nn.Module]
        ends: dict[str, Any] = {"num_classes": num_classes, "upsample": upsample}
        if decoder == "mla":
            self.aggregate = Aggregation(in_channels=encoder.channels, channels=decoder_channels, streams=len(blocks))
            self.head = MLAHead(channels=decoder_channels, streams=len(blocks), patch=patch, **ends)
            heads = [
                Scores(in_channels=decoder_channels, kernel_size=1, scale=patch, bias=False, **ends) for _ in blocks
            ]
        else:
            kernel_size, scales, aux_scales = (1, [1], [1]) if decoder == "naive" else (3, [2, 2, 2, 1], [4])
            self.head, *heads = (
                Head(encoder.channels, decoder_channels, kernel_size=kernel_size, scales=steps, patch=patch, **ends)
                for steps in [scales, *[aux_scales] * len(blocks)]
            )
        self.aux_heads = nn.ModuleList(heads)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits and one auxiliary map for each of `aux_blocks`, all (N, num_classes, H, W)."""
        height, width = images.shape[-2:]
        size = self.encoder.padded_size(images)
        last = self.encoder.depth
        if self.aggregate is not None:
            streams = self.aggregate(self.encoder(images, self.aux_blocks))  # each (N, 256, h, w)
            logits = self.head(streams, size)
        else:
            blocks = sorted({*self.aux_blocks, last})
            maps = dict(zip(blocks, self.encoder(images, blocks), strict=True))  # each (N, D, h, w)
            streams = [maps[block] for block in self.aux_blocks]
            logits = self.head(maps[last], size)
        aux = [head(stream, size) for head, stream in zip(self.aux_heads, streams, strict=True)]
        return SegOutput(crop(logits, (height, width)), tuple(crop(x, (height, width)) for x in aux))


def _paper_blocks(decoder: str, depth: int) -> list[int]:
    quarters = [depth * quarter // 4 for quarter in (1, 2, 3, 4)]
    if decoder == "mla":
        return quarters
    blocks = [10, 15, 20] if depth == 24 else quarters[:3]
    return [*blocks, depth] if decoder == "pup" else blocks


class Head(nn.Module):
    """Layer norm, convolutions each followed by an upsampling, scores, and what upsampling is left to the image's size.

    The decoders and auxiliary heads of Naive and PUP, `VisionTransformerUpHead` in the release.

    Args:
        in_channels: Of the map.
        channels: Of the convolutions.
        num_classes: Channels of the scores.
        kernel_size: Of the convolutions.
        scales: How much each convolution's result is enlarged.
        patch: Stride of the map.
        upsample: Way of enlarging.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        num_classes: int,
        kernel_size: int,
        scales: Sequence[int],
        patch: int,
        upsample: str,
    ) -> None:
        super().__init__()
        self.norm = LayerNorm2d(in_channels, eps=1e-6)
        widths = [in_channels, *[channels] * len(scales)]
        self.convs = nn.ModuleList(_conv(before, after, kernel_size) for before, after in itertools.pairwise(widths))
        self.upsamples = nn.ModuleList(Upsample(channels=channels, scale=scale, mode=upsample) for scale in scales)
        left = patch // math.prod(scales)
        self.scores = Scores(
            in_channels=channels, num_classes=num_classes, kernel_size=1, scale=left, upsample=upsample
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, in_channels, h, w) -> (N, num_classes, *size)."""
        x = self.norm(x)
        for conv, upsample in zip(self.convs, self.upsamples, strict=True):
            x = _enlarge(upsample, conv(x))
        scores: Tensor = self.scores(x, size)
        return scores


class Aggregation(nn.Module):
    """MLA's streams: each map reduced, added to those of later blocks, and convolved (`Conv_MLA` in the release).

    Args:
        in_channels: Of the maps.
        channels: Of the streams.
        streams: Number of maps.
    """

    def __init__(self, *, in_channels: int, channels: int, streams: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(
            nn.Sequential(LayerNorm2d(in_channels, eps=1e-6), _conv(in_channels, channels, 1)) for _ in range(streams)
        )
        self.refine = nn.ModuleList(_conv(channels, channels, 3) for _ in range(streams))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps (N, in_channels, h, w) -> streams (N, channels, h, w), both of ascending blocks."""
        sums = [reduce(x) for reduce, x in zip(self.reduce, maps, strict=True)]
        for i in reversed(range(len(sums) - 1)):
            sums[i] = sums[i] + sums[i + 1]
        return [refine(x) for refine, x in zip(self.refine, sums, strict=True)]


class MLAHead(nn.Module):
    """Streams through two 3 x 3 convolutions of half the channels, enlarged four times, concatenated and scored.

    Args:
        channels: Of the streams.
        streams: Number of streams.
        num_classes: Channels of the scores.
        patch: Stride of the streams.
        upsample: Way of enlarging.
    """

    def __init__(self, *, channels: int, streams: int, num_classes: int, patch: int, upsample: str) -> None:
        super().__init__()
        half = channels // 2
        self.convs = nn.ModuleList(
            nn.Sequential(_conv(channels, half, 3), _conv(half, half, 3)) for _ in range(streams)
        )
        self.upsamples = nn.ModuleList(Upsample(channels=half, scale=4, mode=upsample) for _ in range(streams))
        self.scores = Scores(
            in_channels=streams * half, num_classes=num_classes, kernel_size=3, scale=patch // 4, upsample=upsample
        )

    def forward(self, streams: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Streams (N, channels, h, w) -> (N, num_classes, *size)."""
        enlarged = [
            _enlarge(upsample, conv(x)) for upsample, conv, x in zip(self.upsamples, self.convs, streams, strict=True)
        ]
        scores: Tensor = self.scores(torch.cat(enlarged, dim=1), size)
        return scores


class Scores(nn.Module):
    """A convolution to class scores, enlarged to the image.

    Args:
        in_channels: Of the map.
        num_classes: Channels of the scores.
        kernel_size: Of the convolution.
        scale: From the map to the image.
        upsample: Way of enlarging.
        bias: Of the convolution.
    """

    def __init__(
        self, *, in_channels: int, num_classes: int, kernel_size: int, scale: int, upsample: str, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, num_classes, kernel_size, padding=kernel_size // 2, bias=bias)
        self.upsample = Upsample(channels=num_classes, scale=scale, mode=upsample)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        enlarged: Tensor = self.upsample(self.conv(x), size)
        return enlarged


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> ConvNormAct:
    """The unit with torch's own initialisation, which the release leaves as it is."""
    unit = ConvNormAct(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
    for module in unit:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return unit


def _enlarge(upsample: nn.Module, x: Tensor) -> Tensor:
    """Enlarges a map by the upsampling's own scale."""
    scale = int(upsample.scale)  # type: ignore[arg-type]
    enlarged: Tensor = upsample(x, (scale * x.shape[-2], scale * x.shape[-1]))
    return enlarged
