"""RefineNet.

Lin, Milan, Shen, Reid (2017) "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation", CVPR,
https://arxiv.org/abs/1611.06612. Where the paper is silent this follows the authors' release,
https://github.com/guosheng/refinenet ("release" below), and its PyTorch port by one of the same group,
https://github.com/DrSleep/refinenet-pytorch ("port").

Deviations:
- Chained pooling pools before it convolves, twice, as the paper draws it (figure 3d). The released models convolve first
  ("improved version" in the release), the port pools first, both four times.
- A block's output passes three residual units and is fused without two more, as in the release. That is the same as the
  paper's one unit there and two where the next block reads it.
- Batch norms of the encoder train; the release holds their averages fixed.
- Resizing treats pixels as areas (`align_corners=False`); the port aligns corners.
- The paper's 2-scale variant with two encoders (figure 7c) is not built.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.init import gaussian_
from atrous.layers.upsample import Upsample
from atrous.types import SegOutput

_STRIDES = (32, 16, 8, 4)
_GROUPS = {4: ((32,), (16,), (8,), (4,)), 2: ((32, 16), (8, 4)), 1: (_STRIDES,)}  # strides that each block reads


class RefineNet(nn.Module):
    """RefineNet blocks in cascade, from the coarsest map to the finest.

    Args:
        num_classes: Channels of the logits.
        encoder: At output stride 32, with maps at strides 4, 8, 16 and 32.
        cascades: Number of blocks: 4 with one map each, 2 with two maps each, 1 with all maps (section 4.3, figure 7).
        decoder_channels: That the maps at strides 32, 16, 8 and 4 are brought to: 512, then 256 (section 3.2).
        pools: Poolings in a chain; 2 in the paper (figure 3), 4 in the released models.
        upsample: How coarser maps are enlarged before fusion, see `atrous.layers.upsample.Upsample`.
        dropout: Of the two coarsest maps and before the scores; 0.5 in the release.

    Raises:
        ConfigError: If the encoder's strides are others, or a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        cascades: int = 4,
        decoder_channels: Sequence[int] = (512, 256, 256, 256),
        pools: int = 2,
        upsample: str = "bilinear",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if cascades not in _GROUPS:
            raise ConfigError(f"cascades {cascades} is none of the paper's; use 4, 2 or 1")
        if len(decoder_channels) != len(_STRIDES):
            raise ConfigError(
                f"decoder_channels {list(decoder_channels)} must be four numbers, for the maps at strides 32, 16, 8 and 4; "
                "the paper's are [512,256,256,256]"
            )
        if pools < 1:
            raise ConfigError(f"pools {pools} must be 1 or more; the paper's are 2")
        encoder.expect(output_stride=32)
        self.encoder = encoder
        self.maps = {stride: encoder.at_stride(stride) for stride in _STRIDES}
        self.groups = _GROUPS[cascades]
        channels = dict(zip(_STRIDES, decoder_channels, strict=True))
        self.adapt = nn.ModuleDict(
            {
                str(stride): nn.Sequential(
                    nn.Dropout(dropout if stride > 8 else 0.0),
                    conv3(encoder.channels[i], channels[stride], bias=False),
                    ResidualConvUnit(channels=channels[stride]),
                    ResidualConvUnit(channels=channels[stride]),
                )
                for stride, i in self.maps.items()
            }
        )
        self.blocks = nn.ModuleList()
        paths: list[tuple[int, int]] = []  # (stride, channels) of what the next block reads
        for group in self.groups:
            paths += [(stride, channels[stride]) for stride in group]
            block = RefineNetBlock(paths=paths, pools=pools, upsample=upsample)
            self.blocks.append(block)
            paths = [(group[-1], block.channels)]
        self.dropout = nn.Dropout(dropout)
        self.classifier = conv3(paths[0][1], num_classes)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H/4, W/4), sizes rounded up."""
        features = self.encoder(images)
        paths: list[Tensor] = []
        for group, block in zip(self.groups, self.blocks, strict=True):
            paths += [self.adapt[str(stride)](features[self.maps[stride]]) for stride in group]
            paths = [block(paths)]  # (N, 256, H/stride, W/stride) at the group's finest stride
        return SegOutput(self.classifier(self.dropout(paths[0])))


class RefineNetBlock(nn.Module):
    """Multi-resolution fusion, chained residual pooling, and three residual units (section 3.2, figure 3).

    Args:
        paths: (stride, channels) of each map to fuse, coarsest first.
        pools: Poolings in the chain.
        upsample: How coarser maps are enlarged.

    Attributes:
        channels: Of the result, the fewest of the paths'.
    """

    def __init__(self, *, paths: Sequence[tuple[int, int]], pools: int, upsample: str) -> None:
        super().__init__()
        finest = paths[-1][0]
        self.channels = min(channels for _, channels in paths)
        alone = len(paths) == 1  # one path passes through the fusion unchanged
        self.fuse = nn.ModuleList(
            nn.Identity() if alone else conv3(channels, self.channels, bias=False) for _, channels in paths
        )
        self.enlarge = nn.ModuleList(
            Upsample(channels=self.channels, scale=stride // finest, mode=upsample) for stride, _ in paths[:-1]
        )
        self.pool = ChainedResidualPooling(channels=self.channels, pools=pools)
        self.output = nn.Sequential(*(ResidualConvUnit(channels=self.channels) for _ in range(3)))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (N, C_i, h_i, w_i), coarsest first -> (N, channels, h, w) of the finest."""
        *coarse, x = [fuse(path) for fuse, path in zip(self.fuse, maps, strict=True)]
        for enlarge, path in zip(self.enlarge, coarse, strict=True):
            x = x + enlarge(path, maps[-1].shape[-2:])
        refined: Tensor = self.output(self.pool(x))
        return refined


class ChainedResidualPooling(nn.Module):
    """ReLU, then 5 x 5 max poolings of stride 1, each with a 3 x 3 convolution and fed by the one before, all summed.

    Args:
        channels: Of the map.
        pools: Number of poolings.
    """

    def __init__(self, *, channels: int, pools: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv3(channels, channels, bias=False) for _ in range(pools))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) -> the same shape."""
        x = F.relu(x)
        total = x
        for conv in self.convs:
            x = conv(F.max_pool2d(x, 5, stride=1, padding=2))
            total = total + x
        return total


class ResidualConvUnit(nn.Module):
    """A map plus ReLU, 3 x 3, ReLU, 3 x 3 of it: a ResNet block without batch norm. The second has no bias in the release.

    Args:
        channels: Of the map.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels)
        self.conv2 = conv3(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) -> the same shape."""
        unit: Tensor = x + self.conv2(F.relu(self.conv1(F.relu(x))))
        return unit


def conv3(in_channels: int, out_channels: int, bias: bool = True) -> nn.Conv2d:
    """A 3 x 3 convolution that starts as in the release: normal with deviation 0.01, bias zero."""
    return gaussian_(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias))
