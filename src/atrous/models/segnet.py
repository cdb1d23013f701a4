"""SegNet and SegNet-Basic.

Badrinarayanan, Kendall, Cipolla (2017) "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", TPAMI, https://arxiv.org/abs/1511.00561. Where the paper is silent this follows the authors' release,
https://github.com/alexgkendall/SegNet-Tutorial ("release" below): `segnet_train.prototxt`, `segnet_basic_train.prototxt`.

Deviations:
- The decoders' convolutions before a batch norm have no bias, as the paper says of SegNet-Basic (section 3.1); the
  release's have one, which the norm takes away again.
- SegNet-Basic's local response normalisation of the image is left out. It works on values from 0 to 255; on images that
  are normalised by mean and deviation it changes less than 0.1 %.
"""

from __future__ import annotations

from torch import Tensor, nn

from atrous.encoders.encoder import Encoder
from atrous.encoders.vgg import encode, mirrored_channels
from atrous.errors import ConfigError
from atrous.layers.conv import ConvNormAct
from atrous.layers.unpool import Unpool, max_pool
from atrous.types import SegOutput


class SegNet(nn.Module):
    """VGG without its fully connected layers, and a decoder that mirrors it and unpools by the stored indices.

    Args:
        num_classes: Channels of the logits.
        encoder: A VGG at output stride 32; vgg16_bn in the paper (section 3).
        upsample: How the decoder enlarges its maps, see `atrous.layers.unpool.Unpool`; unpooling in the paper, which
            compares it with bilinear interpolation (table 1).

    Raises:
        ConfigError: If the encoder is no VGG, or there is no such way of upsampling.
    """

    def __init__(self, *, num_classes: int, encoder: Encoder, upsample: str = "unpooling") -> None:
        super().__init__()
        stages = mirrored_channels(encoder)
        width, _ = stages[-1].pop()  # of the last convolution, which makes the scores
        self.encoder = encoder
        self.unpool = nn.ModuleList(Unpool(channels=stage[0][0] if stage else width, mode=upsample) for stage in stages)
        self.decoder = nn.ModuleList(
            nn.Sequential(*(ConvNormAct(in_channels=i, out_channels=o) for i, o in stage)) for stage in stages
        )
        self.classifier = nn.Conv2d(width, num_classes, kernel_size=3, padding=1)
        start_convs(self.decoder, self.classifier)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W)."""
        x, pooled = encode(self.encoder, images)  # (N, 512, H/32, W/32)
        for unpool, convs, taken in zip(self.unpool, self.decoder, reversed(pooled), strict=True):
            x = convs(unpool(x, taken))
        return SegOutput(self.classifier(x))


class SegNetBasic(nn.Module):
    """Four convolutions and poolings, four unpoolings and convolutions; no ReLU in the decoder (section 3.1).

    Args:
        num_classes: Channels of the logits.
        channels: Of every map (section 3.1).
        kernel_size: Of every convolution; 7 in the paper, for a wide context (section 3.1).
        upsample: As for `SegNet`.

    Raises:
        ConfigError: If the kernel's size is even, or there is no such way of upsampling.
    """

    def __init__(
        self, *, num_classes: int, channels: int = 64, kernel_size: int = 7, upsample: str = "unpooling"
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ConfigError(
                f"kernel_size {kernel_size} must be odd, so that maps keep their size; use for instance 7"
            )
        self.down = nn.ModuleList(
            ConvNormAct(in_channels=i, out_channels=channels, kernel_size=kernel_size)
            for i in (3, channels, channels, channels)
        )
        self.unpool = nn.ModuleList(Unpool(channels=channels, mode=upsample) for _ in self.down)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, bias=False),
                nn.BatchNorm2d(channels),
            )
            for _ in self.down
        )
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size=1)
        start_convs(self.down, self.up, self.classifier)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W)."""
        x, pooled = images, []
        for conv in self.down:
            x, taken = max_pool(conv(x))
            pooled.append(taken)
        # (N, 64, H/16, W/16)
        for unpool, conv, taken in zip(self.unpool, self.up, reversed(pooled), strict=True):
            x = conv(unpool(x, taken))
        return SegOutput(self.classifier(x))


def start_convs(*parts: nn.Module) -> None:
    """Starts convolutions as He et al. (2015), https://arxiv.org/abs/1502.01852 (section 3.2), and biases at zero."""
    for part in parts:
        for conv in part.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight)
                if conv.bias is not None:
                    nn.init.zeros_(conv.bias)
