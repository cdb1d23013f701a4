"""GCN, the Global Convolutional Network.

Peng, Zhang, Yu, Luo, Sun (2017) "Large Kernel Matters: Improve Semantic Segmentation by Global Convolutional Network", CVPR,
https://arxiv.org/abs/1703.02719. The authors released no code. The pipeline is figure 2's.

Deviations:
- ResNet-GCN, whose bottlenecks hold the block too, is not built: encoders are timm's.
- The paper doesn't say how its layers start. Transposed convolutions start as bilinear interpolation, as in the FCN that it
  builds on (section 3.2), and the others by torch's default.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.upsample import Upsample
from atrous.types import SegOutput


class GCN(nn.Module):
    """Scores of four maps by large kernels, upsampled and summed as in FCN, refined at every step.

    Args:
        num_classes: Channels of the logits.
        encoder: At output stride 32, with maps at strides 4, 8, 16 and 32.
        kernel_size: Of the blocks, odd; 3 to 15 in table 1, where 15 is best and 1 with `block="plain"` the baseline.
        block: What scores a map: "gcn" (1 x k and k x 1 in both orders), or the controls "plain" (one k x k convolution,
            table 2) and "stacked" (3 x 3 convolutions that see k x k, tables 3 and 4).
        stack_channels: Between the convolutions of "stacked". None is as many as the map has.
        boundary_refinement: Whether each score map is refined (section 3.2, table 5).
        upsample: How score maps are doubled, see `atrous.layers.upsample.Upsample`; transposed in the paper.

    Raises:
        ConfigError: If the encoder's strides are others, or a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        kernel_size: int = 15,
        block: str = "gcn",
        stack_channels: int | None = None,
        boundary_refinement: bool = True,
        upsample: str = "transposed",
    ) -> None:
        super().__init__()
        encoder.expect(output_stride=32)
        self.encoder = encoder
        self.maps = {stride: encoder.at_stride(stride) for stride in (32, 16, 8, 4)}
        self.score = nn.ModuleDict(
            {
                str(stride): score_block(block, encoder.channels[i], num_classes, kernel_size, stack_channels)
                for stride, i in self.maps.items()
            }
        )

        def refinements(strides: tuple[int, ...]) -> nn.ModuleDict:
            refine = BoundaryRefinement if boundary_refinement else nn.Identity
            return nn.ModuleDict({str(stride): refine(channels=num_classes) for stride in strides})

        self.refine_score = refinements((32, 16, 8, 4))
        self.refine_sum = refinements((16, 8, 4, 2, 1))
        self.upscore = nn.ModuleDict(
            {
                str(stride): Upsample(channels=num_classes, scale=2, mode=upsample, per_channel=False)
                for stride in (16, 8, 4, 2, 1)
            }
        )

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W)."""
        features = self.encoder(images)
        scores = {
            stride: self.refine_score[str(stride)](self.score[str(stride)](features[i]))  # (N, C, H/stride, W/stride)
            for stride, i in self.maps.items()
        }
        x = scores[32]
        for stride in (16, 8, 4):
            x = self.upscore[str(stride)](x, scores[stride].shape[-2:]) + scores[stride]
            x = self.refine_sum[str(stride)](x)
        for stride in (2, 1):
            size = [math.ceil(side / stride) for side in images.shape[-2:]]
            x = self.refine_sum[str(stride)](self.upscore[str(stride)](x, (size[0], size[1])))
        return SegOutput(x)


def score_block(
    block: str, in_channels: int, num_classes: int, kernel_size: int, stack_channels: int | None
) -> nn.Module:
    """Builds what turns a map (N, in_channels, h, w) into scores (N, num_classes, h, w); no block has a nonlinearity.

    Args:
        block: "gcn", "plain" or "stacked".
        in_channels: Of the map.
        num_classes: Channels of the scores.
        kernel_size: Pixels along each side that a score sees; odd.
        stack_channels: Between stacked convolutions; None is `in_channels`.

    Raises:
        ConfigError: If there is no such block, or it can't have this kernel size.
    """
    if block not in ("gcn", "plain", "stacked"):
        raise ConfigError(f"block {block!r} is none that scores a map; choose gcn, plain or stacked")
    if kernel_size % 2 == 0 or kernel_size < (3 if block == "stacked" else 1):
        raise ConfigError(
            f"kernel_size {kernel_size} must be odd and positive, 3 or more for block=stacked; the paper's are 3 to 15"
        )
    if block == "gcn":
        return GlobalConv(in_channels=in_channels, out_channels=num_classes, kernel_size=kernel_size)
    if block == "plain":
        return nn.Conv2d(in_channels, num_classes, kernel_size, padding=kernel_size // 2)
    between = [stack_channels or in_channels] * (kernel_size // 2 - 1)
    widths = [in_channels, *between, num_classes]
    return nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)))


class GlobalConv(nn.Module):
    """k x 1 then 1 x k, plus 1 x k then k x 1: each output sees k x k pixels (section 3.1, figure 2B).

    Args:
        in_channels: Of the map.
        out_channels: Of the result.
        kernel_size: k, odd.
    """

    def __init__(self, *, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()

        def conv(channels: int, tall: bool) -> nn.Conv2d:
            kernel = (kernel_size, 1) if tall else (1, kernel_size)
            return nn.Conv2d(channels, out_channels, kernel, padding=(kernel[0] // 2, kernel[1] // 2))

        self.tall_first = nn.Sequential(conv(in_channels, True), conv(out_channels, False))
        self.wide_first = nn.Sequential(conv(in_channels, False), conv(out_channels, True))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h, w)."""
        both: Tensor = self.tall_first(x) + self.wide_first(x)
        return both


class BoundaryRefinement(nn.Module):
    """A score map plus what two 3 x 3 convolutions correct in it (section 3.2, figure 2C).

    Args:
        channels: Of the score map.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) -> the same shape."""
        refined: Tensor = x + self.conv2(F.relu(self.conv1(x)))
        return refined
