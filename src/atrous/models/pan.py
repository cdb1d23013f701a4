"""Pyramid Attention Network (PAN).

Li, Xiong, An, Wang (2018) "Pyramid Attention Network for Semantic Segmentation", BMVC, https://arxiv.org/abs/1805.10180.
The authors released no code. Where the paper is silent this follows https://github.com/qubvel-org/segmentation_models.pytorch
("smp" below): channels of the pyramid (1) and of the decoder (32), and the 3 x 3 convolution that scores.

Deviations:
- timm's ResNets stride in the first 3 x 3 convolution of a stage. It therefore reads at the rate of the stage before, which
  keeps pretrained weights valid; multi_grid [1, 1, 1] gives all three blocks of res5 rate 2.
- The global pooling branch is added to the attended map, as in smp; the paper's text says concatenated.
- Poolings round sizes up, so that images need not be large.
- Convolutions before a batch norm have no bias, and resizing treats pixels as areas; smp has biases and aligns corners.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.aspp import ImagePool
from atrous.layers.conv import ConvNormAct, check_batch
from atrous.layers.upsample import Upsample, resize
from atrous.types import SegOutput


class PAN(nn.Module):
    """Dilated encoder, feature pyramid attention, and a decoder in which the coarser map's mean gates the finer map.

    Args:
        num_classes: Channels of the logits.
        encoder: Built at `output_stride` and with `multi_grid`; its last four maps are used.
        output_stride: Of the encoder, 16 in the paper.
        multi_grid: Unit rates of the encoder's last blocks.
        decoder_channels: Of all maps after the encoder.
        pooling: Of the pyramid: average, or max, as in smp.
        gate: The nonlinearity of the mean that weighs low-level features, which the paper leaves open: relu, or sigmoid,
            as in smp.
        upsample: How a coarser map is brought to the finer one's size, see `atrous.layers.upsample.Upsample`.

    Raises:
        ConfigError: If the encoder was not built as the model says or has too few maps, or a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = None,
        decoder_channels: int = 32,
        pooling: str = "average",
        gate: str = "relu",
        upsample: str = "bilinear",
    ) -> None:
        super().__init__()
        encoder.expect(output_stride, multi_grid)
        if len(encoder.channels) < 4:
            raise ConfigError(
                f"encoder {encoder.name!r} has {len(encoder.channels)} maps and PAN reads four; choose one with more, such as resnet18"
            )
        self.encoder = encoder
        self.attention = FeaturePyramidAttention(
            in_channels=encoder.channels[-1], channels=decoder_channels, pooling=pooling
        )
        self.decoder = nn.ModuleList(
            GlobalAttentionUpsample(
                low_channels=encoder.channels[i],
                channels=decoder_channels,
                scale=encoder.strides[i + 1] // encoder.strides[i],
                gate=gate,
                upsample=upsample,
            )
            for i in (-2, -3, -4)
        )
        self.classifier = nn.Conv2d(decoder_channels, num_classes, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H/4, W/4), sizes rounded up.

        Raises:
            ConfigError: If it trains on a batch of one.
        """
        *_, low4, low8, low16, high = self.encoder(images)
        x = self.attention(high)  # (N, 32, H/16, W/16)
        for step, low in zip(self.decoder, (low16, low8, low4), strict=True):
            x = step(x, low)  # (N, 32, H/4, W/4) at last
        return SegOutput(self.classifier(x))


class FeaturePyramidAttention(nn.Module):
    """Weighs a map by a pyramid of its poolings, seen through 7 x 7, 5 x 5 and 3 x 3 kernels, and adds its mean.

    Args:
        in_channels: Of the map.
        channels: Of the result.
        pooling: average or max.

    Raises:
        ConfigError: If there is no such pooling.
    """

    def __init__(self, *, in_channels: int, channels: int, pooling: str) -> None:
        super().__init__()
        pools: dict[str, nn.Module] = {
            "average": nn.AvgPool2d(2, ceil_mode=True),
            "max": nn.MaxPool2d(2, ceil_mode=True),
        }
        if pooling not in pools:
            raise ConfigError(f"pooling {pooling!r} is none of the pyramid's; choose average or max")
        self.pool = pools[pooling]
        self.image = ImagePool(in_channels=in_channels, out_channels=channels)
        self.point = ConvNormAct(in_channels=in_channels, out_channels=channels, kernel_size=1)
        self.down = nn.ModuleList(
            ConvNormAct(in_channels=before, out_channels=1, kernel_size=size)
            for before, size in ((in_channels, 7), (1, 5), (1, 3))
        )
        self.across = nn.ModuleList(ConvNormAct(in_channels=1, out_channels=1, kernel_size=size) for size in (7, 5, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, channels, h, w).

        Raises:
            ConfigError: If it trains on a batch of one.
        """
        image = self.image(x)  # (N, channels, h, w)
        levels, level = [], x
        for down in self.down:
            level = down(self.pool(level))
            levels.append(level)  # (N, 1, h/2, w/2), (N, 1, h/4, w/4), (N, 1, h/8, w/8)
        seen = [across(level) for across, level in zip(self.across, levels, strict=True)]
        weight = seen[2]
        for finer in (seen[1], seen[0]):
            weight = resize(weight, (finer.shape[-2], finer.shape[-1])) + finer
        weight = resize(weight, (x.shape[-2], x.shape[-1]))  # (N, 1, h, w)
        weighed: Tensor = self.point(x) * weight + image
        return weighed


class GlobalAttentionUpsample(nn.Module):
    """Adds the low-level map, weighed channel by channel by the high-level map's mean.

    Args:
        low_channels: Of the low-level map.
        channels: Of the high-level map and the result.
        scale: Of the low-level map's sides to the high-level map's.
        gate: relu or sigmoid.
        upsample: As in `PAN`.

    Raises:
        ConfigError: If there is no such gate.
    """

    def __init__(self, *, low_channels: int, channels: int, scale: int, gate: str, upsample: str) -> None:
        super().__init__()
        gates: dict[str, nn.Module] = {"relu": nn.ReLU(inplace=True), "sigmoid": nn.Sigmoid()}
        if gate not in gates:
            raise ConfigError(f"gate {gate!r} is no nonlinearity of PAN's; choose relu or sigmoid")
        self.reduce = ConvNormAct(in_channels=low_channels, out_channels=channels)
        self.gate = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), gates[gate])
        self.upsample = Upsample(channels=channels, scale=scale, mode=upsample)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """(N, channels, h, w) and (N, low_channels, scale h, scale w) -> (N, channels, scale h, scale w).

        Raises:
            ConfigError: If it trains on a batch of one.
        """
        mean = high.mean(dim=(2, 3), keepdim=True)  # (N, channels, 1, 1)
        check_batch(self.gate, mean)
        gated: Tensor = self.upsample(high, (low.shape[-2], low.shape[-1])) + self.reduce(low) * self.gate(mean)
        return gated
