"""PSPNet.

Zhao, Shi, Qi, Wang, Jia (2017) "Pyramid Scene Parsing Network", CVPR, https://arxiv.org/abs/1612.01105. Where the paper is
silent this follows the authors' releases, https://github.com/hszhao/PSPNet (Caffe) and https://github.com/hszhao/semseg
(PyTorch) ("releases" below), whose ResNets have a stem of three 3 x 3 convolutions, timm's `resnet50s` and `resnet101s`.

Deviations:
- timm's ResNets stride in the first 3 x 3 convolution of a stage, as the Caffe release's ResNet-101; its ResNet-50 strides in
  the 1 x 1 before. The first 3 x 3 of a dilated stage reads at the rate of the stage before here, which keeps pretrained
  weights valid, and at its own stage's in the Caffe release.
- Logits are left at stride 8; the task resizes them by areas, where the releases align corners of 8 k + 1 pixels. Inside the
  pyramid corners are aligned as in the releases.
- Batch norms average with torch's momentum 0.1, as in the PyTorch release; the Caffe release's is 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.conv import ConvNormAct, check_batch
from atrous.layers.head import ScoreHead
from atrous.layers.rates import is_rates
from atrous.types import SegOutput


class PSPNet(nn.Module):
    """Dilated encoder, its map beside its averages over grids of a few sizes, and an auxiliary head.

    Args:
        num_classes: Channels of the logits.
        encoder: Built at `output_stride`.
        output_stride: Of the encoder, 8 in the paper (section 3.3).
        pool_sizes: Cells along each side of the pyramid's grids (section 3.2).
        upsample: How the pyramid's maps are enlarged: nearest, bilinear or bicubic.
        decoder_channels: Of the convolution before the scores; 512 in the releases.
        kernel_sizes: Of that convolution and of the one to the scores. (1, 3) in segmentation-models-pytorch, whose PSPNet
            has an encoder of three maps and no auxiliary head.
        dropout: Before the scores, those of the auxiliary head too; 0.1 in the releases.
        aux: Whether an auxiliary head scores the last stage but one, res4b22 in the paper (section 4). Its loss weighs
            0.4 (section 5.1).

    Raises:
        ConfigError: If the encoder was not built as the model says, or a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        output_stride: int = 8,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        upsample: str = "bilinear",
        decoder_channels: int = 512,
        kernel_sizes: Sequence[int] = (3, 1),
        dropout: float = 0.1,
        aux: bool = True,
    ) -> None:
        super().__init__()
        encoder.expect(output_stride)
        if len(kernel_sizes) != 2 or any(
            not isinstance(size, int) or size < 1 or size % 2 == 0 for size in kernel_sizes
        ):
            raise ConfigError(
                f"kernel_sizes {kernel_sizes} must be two odd numbers; give for instance kernel_sizes=[3,1]"
            )
        before, last = encoder.channels[-2:]
        self.encoder = encoder
        self.pyramid = PyramidPooling(in_channels=last, pool_sizes=pool_sizes, upsample=upsample)
        self.head = ScoreHead(
            in_channels=self.pyramid.out_channels,
            channels=decoder_channels,
            num_classes=num_classes,
            dropout=dropout,
            kernel_sizes=kernel_sizes,
        )
        self.aux = ScoreHead(in_channels=before, num_classes=num_classes, dropout=dropout) if aux else None
        for part in (self.pyramid, self.head, self.aux):
            if part is not None:
                part.apply(_start)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits and aux (N, num_classes, H/8, W/8), sizes rounded up.

        Raises:
            ConfigError: If it trains on a batch of one with a pool size of 1.
        """
        features = self.encoder(images)
        logits = self.head(self.pyramid(features[-1]))  # (N, C, H/8, W/8)
        return SegOutput(logits, () if self.aux is None else (self.aux(features[-2]),))


class PyramidPooling(nn.Module):
    """A map beside its averages over grids of cells (section 3.2, figure 3).

    Each grid is reduced to 1/N of the map's channels by a 1 x 1 convolution, with N grids, and enlarged to the map's size.

    Args:
        in_channels: Of the map.
        pool_sizes: Cells along each side of the grids.
        upsample: How the grids are enlarged: nearest, bilinear or bicubic.

    Attributes:
        out_channels: Of the result.

    Raises:
        ConfigError: If `pool_sizes` or `upsample` are impossible.
    """

    def __init__(self, *, in_channels: int, pool_sizes: Sequence[int], upsample: str = "bilinear") -> None:
        super().__init__()
        if not is_rates(pool_sizes):
            raise ConfigError(
                f"pool_sizes {pool_sizes} must be positive integers, at least one; give for instance pool_sizes=[1,2,3,6]"
            )
        if upsample not in ("nearest", "bilinear", "bicubic"):
            raise ConfigError(
                f"upsample {upsample!r} can't enlarge a grid by a factor that follows the image's size; "
                "choose nearest, bilinear or bicubic"
            )
        self.pool_sizes, self.upsample = list(pool_sizes), upsample
        reduced = in_channels // len(pool_sizes)
        self.reduce = nn.ModuleList(
            ConvNormAct(in_channels=in_channels, out_channels=reduced, kernel_size=1) for _ in pool_sizes
        )
        self.out_channels = in_channels + reduced * len(pool_sizes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h, w), the map itself first.

        Raises:
            ConfigError: If it trains on a batch of one with a pool size of 1.
        """
        maps = [x]
        for size, reduce in zip(self.pool_sizes, self.reduce, strict=True):
            cells = _cells(x, size)  # (N, in_channels, size, size)
            check_batch(reduce, cells)
            align = None if self.upsample == "nearest" else True
            maps.append(F.interpolate(reduce(cells), size=x.shape[-2:], mode=self.upsample, align_corners=align))
        return torch.cat(maps, dim=1)


def _cells(x: Tensor, size: int) -> Tensor:
    """The means of maps (N, C, h, w) over a grid, (N, C, size, size)."""
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, size)
    # An exported adaptive pooling reads as far as its example's cells do, beyond the end of a smaller map in ONNX.
    rows, columns = (_averages(side, size).to(x) for side in x.shape[-2:])  # (size, h), (size, w)
    return rows @ x @ columns.T


def _averages(side: int, size: int) -> Tensor:
    """(size, side): each row weighs the pixels of a cell, from floor(i side / size) to ceil((i + 1) side / size)."""
    cell, pixel = torch.arange(size)[:, None], torch.arange(side)
    inside = (pixel >= cell * side // size) & (pixel < ((cell + 1) * side + size - 1) // size)
    return inside / inside.sum(1, keepdim=True)


def _start(module: nn.Module) -> None:
    """He et al.'s normal, "msra" in the Caffe release."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
