"""ESPNet and ESPNet-C.

Mehta, Rastegari, Caspi, Shapiro, Hajishirzi (2018) "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic
Segmentation", ECCV 2018, https://arxiv.org/abs/1803.06815. Where the paper is silent this follows the authors' release,
https://github.com/sacmehta/ESPNet at afe71c3 ("release" below), `train/Model.py`.

Deviations:
- The release trains void as a class of its own; here it is no target, and `void_output` has its output for their weights.
- The release trains ESPNet-C on labels at an eighth of the size; here logits are resized to the mask, as everywhere.
- Maps of odd sizes are cropped where the release needs multiples of 8.
- The decoder's maps have as many channels as there are outputs, but at least 5, one for each branch of a pyramid; with 5
  outputs and more the networks are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.layers.upsample import crop
from atrous.types import SegOutput

RATES = (1, 2, 4, 8, 16)  # of a pyramid (section 3)
EPS = 1e-3  # of every batch norm in the release


class NormAct(nn.Sequential):
    """Batch norm and PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels, eps=EPS), nn.PReLU(channels))


class ESP(nn.Module):
    """Efficient spatial pyramid: reduce, split into dilated convolutions, transform, merge (section 3, figure 1).

    The branches' sums are concatenated, not the branches, against gridding (hierarchical feature fusion, section 3.2).

    Args:
        in_channels: Of the input.
        out_channels: Of the output, 5 or more.
        stride: 1: reduced by 1 x 1; 2: by 3 x 3 at stride 2 (section 3.4).
        residual: Whether the input is added, which needs as many channels.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        narrow = out_channels // len(RATES)
        widths = [out_channels - (len(RATES) - 1) * narrow] + [narrow] * (len(RATES) - 1)
        kernel = 1 if stride == 1 else 3
        self.residual = residual
        self.reduce = nn.Conv2d(in_channels, narrow, kernel, stride, padding=kernel // 2, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv2d(narrow, width, 3, padding=rate, dilation=rate, bias=False)
            for width, rate in zip(widths, RATES, strict=True)
        )
        self.norm = NormAct(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up."""
        reduced = self.reduce(x)
        first, *others = (branch(reduced) for branch in self.branches)
        merged = [first, others[0]]
        for branch in others[1:]:
            merged.append(merged[-1] + branch)
        joined = torch.cat(merged, 1)
        normed: Tensor = self.norm(x + joined if self.residual else joined)
        return normed


class ESPNet(nn.Module):
    """A pyramid of dilated convolutions in every block, and the image itself at two coarser scales (section 3.4, figure 4).

    Args:
        num_classes: Channels of the logits, but for void.
        alpha2: ESP blocks at a quarter of the size beside the one that halves it; 2 in the paper.
        alpha3: The same at an eighth; 8 in the paper's best.
        decoder: Whether the logits of ESPNet-C, at an eighth of the size, are enlarged by a decoder that mixes in finer maps.
        image_in_decoder: Whether the decoder's finest map has the halved image, too, as in `train/Model.py`; the weights of
            Cityscapes are of `test/Model.py`, which lacks it.
        void_output: Whether there is an output for void, see `atrous.types.has_void_output`.
    """

    stage_keys = ("decoder.",)  # the whole net starts from ESPNet-C's weights (section 4.1)
    follow_classes = ("decoder.",)  # starts anew where weights have other classes

    def __init__(
        self,
        *,
        num_classes: int,
        alpha2: int = 2,
        alpha3: int = 8,
        decoder: bool = True,
        image_in_decoder: bool = True,
        void_output: bool = False,
    ) -> None:
        super().__init__()
        self.image_in_decoder = image_in_decoder
        self.void_output = void_output
        outputs = num_classes + void_output
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), NormAct(16))
        self.norm1 = NormAct(16 + 3)
        self.down2 = ESP(in_channels=16 + 3, out_channels=64, stride=2)
        self.level2 = _blocks(alpha2, 64)
        self.norm2 = NormAct(2 * 64 + 3)
        self.down3 = ESP(in_channels=2 * 64 + 3, out_channels=128, stride=2)
        self.level3 = _blocks(alpha3, 128)
        self.norm3 = NormAct(2 * 128)
        self.classifier = nn.Conv2d(2 * 128, outputs, 1, bias=False)
        self.decoder = Decoder(outputs, 16 + 3 if image_in_decoder else 16) if decoder else None

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, C, H, W); of ESPNet-C (N, C, H/8, W/8)."""
        half = _halved(images)
        quarter = _halved(half)
        stem = self.stem(images)
        level1 = self.norm1(torch.cat([stem, half], 1))  # (N, 19, H/2, W/2)
        x = self.down2(level1)
        level2 = self.norm2(torch.cat([self.level2(x), x, quarter], 1))  # (N, 131, H/4, W/4)
        x = self.down3(level2)
        scores = self.classifier(self.norm3(torch.cat([x, self.level3(x)], 1)))  # (N, C, H/8, W/8)
        if self.decoder is None:
            return SegOutput(scores)
        finest = level1 if self.image_in_decoder else stem
        return SegOutput(crop(self.decoder(scores, level2, finest), (images.shape[-2], images.shape[-1])))


class Decoder(nn.Module):
    """Doubles the size three times, and mixes in maps of the encoder twice, in about as many channels as there are classes.

    Args:
        outputs: C, channels of the logits.
        finest: D, channels of the map at half the size.
    """

    def __init__(self, outputs: int, finest: int) -> None:
        super().__init__()
        width = max(outputs, len(RATES))
        self.norm3 = nn.BatchNorm2d(outputs, eps=EPS)
        self.up3 = _doubling(outputs, width)
        self.skip2 = nn.Conv2d(2 * 64 + 3, width, 1, bias=False)
        self.mix2 = nn.Sequential(NormAct(2 * width), ESP(in_channels=2 * width, out_channels=width))
        self.up2 = nn.Sequential(_doubling(width, width), NormAct(width))
        self.mix1 = nn.Sequential(nn.Conv2d(finest + width, width, 3, padding=1, bias=False), NormAct(width))
        self.up1 = _doubling(width, outputs)

    def forward(self, scores: Tensor, level2: Tensor, finest: Tensor) -> Tensor:
        """Logits (N, C, H, W), up to 7 rows and columns more, of scores (N, C, H/8, W/8), (N, 131, H/4, W/4), (N, D, H/2, W/2)."""
        x = crop(self.up3(self.norm3(scores)), (level2.shape[-2], level2.shape[-1]))
        x = self.up2(self.mix2(torch.cat([self.skip2(level2), x], 1)))
        x = crop(x, (finest.shape[-2], finest.shape[-1]))
        logits: Tensor = self.up1(self.mix1(torch.cat([x, finest], 1)))
        return logits


def _blocks(number: int, channels: int) -> nn.Sequential:
    return nn.Sequential(*(ESP(in_channels=channels, out_channels=channels, residual=True) for _ in range(number)))


def _doubling(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False)


def _halved(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 3, stride=2, padding=1)
