"""DUC-HDC: dense upsampling convolution and hybrid dilated convolution.

Wang, Chen, Yuan, Liu, Huang, Hou, Cottrell (2018) "Understanding Convolution for Semantic Segmentation", WACV,
https://arxiv.org/abs/1702.08502. Where the paper is silent this follows the authors' release,
https://github.com/TuSimple/TuSimple-DUC ("release" below), whose ResNet has a stem of three 3 x 3 convolutions, timm's
`resnet101s`.

Deviations:
- timm's ResNets stride in the 3 x 3 convolution of a block, the release's in the 1 x 1 before.
- The first block of res4 has rate 1 in the `bigger` schedule, where the paper's cycle begins; 2 in the release.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.rates import check_dilations, is_rates
from atrous.layers.upsample import Upsample, crop
from atrous.types import SegOutput


class DUCHDC(nn.Module):
    """A ResNet at stride 8 whose blocks' rates differ, and scores of all pixels of a cell at once.

    Args:
        num_classes: Channels of the logits.
        encoder: A ResNet at output stride 8.
        dilation_schedule: Rates of the blocks of ResNet's last two stages, res4 and res5. duc: 2 and 4, as DeepLab, which
            leaves a grid of holes. hdc: 1, 2, 3 in turn, 2 for what is left, then 3, 4, 5 ("Dilation-RF"). bigger: 1, 2, 5,
            9 in turn, then 5, 9, 17 ("Dilation-bigger", the release). Or two lists of one rate a block.
        dilations: Rates of the 3 x 3 convolutions whose scores are summed, as in DeepLabv2; those of the release.
        upsample: duc (section 3.1), or as in `atrous.layers.upsample.Upsample`; the paper's baseline is bilinear.
        cell: Side in pixels of what one score stands for: 1, 2, 4 or 8; 2 in the release (`cell_width`).

    Raises:
        ConfigError: If the encoder is no ResNet at stride 8, or a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        dilation_schedule: str | Sequence[Sequence[int]] = "bigger",
        dilations: Sequence[int] = (6, 12, 18, 24),
        upsample: str = "duc",
        cell: int = 1,
    ) -> None:
        super().__init__()
        encoder.expect(output_stride=8)
        check_dilations(dilations)
        if cell not in (1, 2, 4, 8):
            raise ConfigError(f"cell {cell} does not divide a stride of 8 pixels; use cell=1, 2, 4 or 8")
        set_rates(encoder, dilation_schedule)
        self.encoder, self.cell, self.scale = encoder, cell, 8 // cell
        self.upsample = None if upsample == "duc" else Upsample(channels=num_classes, scale=self.scale, mode=upsample)
        channels = num_classes * self.scale**2 if self.upsample is None else num_classes
        self.scores = nn.ModuleList(
            nn.Conv2d(encoder.channels[-1], channels, 3, padding=rate, dilation=rate) for rate in dilations
        )
        for name, parameter in self.scores.named_parameters():  # as DeepLabv2 starts its ASPP
            nn.init.normal_(parameter, std=0.01 if name.endswith("weight") else 0.0)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H/cell, W/cell), sizes rounded up."""
        height, width = (math.ceil(size / self.cell) for size in images.shape[-2:])
        features = self.encoder(images)[-1]  # (N, 2048, H/8, W/8)
        first, *others = self.scores
        x = first(features)  # (N, num_classes * scale * scale, H/8, W/8)
        for conv in others:
            x = x + conv(features)
        if self.upsample is None:
            return SegOutput(crop(F.pixel_shuffle(x, self.scale), (height, width)))
        size = (x.shape[-2] * self.scale, x.shape[-1] * self.scale)
        return SegOutput(crop(self.upsample(x, size), (height, width)))


def set_rates(encoder: Encoder, schedule: str | Sequence[Sequence[int]]) -> None:
    """Sets the rates of a ResNet's last two stages in place, one rate for the 3 x 3 convolutions of each block.

    Args:
        encoder: A ResNet at output stride 8.
        schedule: As in `DUCHDC`.

    Raises:
        ConfigError: If the encoder is no ResNet, there is no such schedule, or its lists don't fit the encoder's blocks.
    """
    stages = [list(stage.children()) for stage in list(encoder.net.children())[-2:]]
    if not all(stages) or not all(isinstance(block, BasicBlock | Bottleneck) for stage in stages for block in stage):
        raise ConfigError(
            f"the schedule sets the rates of ResNet's blocks and encoder {encoder.name!r} has none; use for instance model.encoder.name=resnet101s"
        )
    blocks = [len(stage) for stage in stages]
    rates = _named_rates(schedule, blocks) if isinstance(schedule, str) else schedule
    if len(rates) != 2 or not all(is_rates(stage) for stage in rates) or [len(stage) for stage in rates] != blocks:
        raise ConfigError(
            f"dilation_schedule {schedule} must be two lists of positive integers, one for each block of {encoder.name}'s last two stages: "
            f"{blocks[0]} and {blocks[1]}"
        )
    for block, rate in zip(itertools.chain(*stages), itertools.chain(*rates), strict=True):
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (rate, rate)


def _named_rates(schedule: str, blocks: list[int]) -> list[list[int]]:
    def cycle(rates: Sequence[int], length: int) -> list[int]:
        return list(itertools.islice(itertools.cycle(rates), length))

    res4, res5 = blocks
    if schedule == "duc":
        return [[2] * res4, [4] * res5]
    if schedule == "hdc":
        return [cycle((1, 2, 3), res4 // 3 * 3) + [2] * (res4 % 3), cycle((3, 4, 5), res5)]
    if schedule == "bigger":
        return [cycle((1, 2, 5, 9), res4), cycle((5, 9, 17), res5)]
    raise ConfigError(
        f"dilation_schedule {schedule!r} is none that the paper names; choose duc, hdc or bigger, or give two lists of rates"
    )
