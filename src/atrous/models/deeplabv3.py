"""DeepLabv3, with atrous spatial pyramid pooling or with cascaded blocks.

Chen, Papandreou, Schroff, Adam (2017) "Rethinking Atrous Convolution for Semantic Image Segmentation",
https://arxiv.org/abs/1706.05587. Where the paper is silent this follows the authors' release,
https://github.com/tensorflow/models/tree/master/research/deeplab ("release" below).

Deviations:
- Batch norms average with torch's momentum 0.1, not the paper's 0.0003 (section 4.1), which suits 30,000 steps and more.
- timm's ResNets stride in the first block of a stage, the paper's in the last (section 3.2). Without `multi_grid`, the first
  block of a dilated stage therefore reads at the rate of the stage before; multi_grid [1, 1, 1] gives all blocks one rate.
- The image's mean is taken over the whole map, also in evaluation; the release's window is the training crop.
- The paper has no auxiliary head. `aux` adds that of torchvision, and `refine` the convolution that torchvision and
  segmentation-models-pytorch have after the ASPP, so that their weights fit.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.aspp import ASPP
from atrous.layers.conv import ConvNormAct
from atrous.layers.head import ScoreHead
from atrous.layers.init import truncated_normal_
from atrous.types import SegOutput


class DeepLabV3(nn.Module):
    """Encoder with atrous convolution, then ASPP, or copies of the encoder's last stage at doubling rates.

    Args:
        num_classes: Channels of the logits.
        encoder: Built at `output_stride` and with `multi_grid`.
        output_stride: Of the encoder: 16 in training, 8 for a map of four times as many places (sections 4.1 and 4.2).
        multi_grid: Unit rates of the three blocks of the last stage and of its copies (section 3.2.1). (1, 2, 4) is best
            with ASPP (table 5), (1, 2, 1) in cascade (table 3). None leaves the encoder's rates as they are.
        cascade: Copies of the last stage in place of the ASPP: 1 to 3 for the paper's block5 to block7 (section 3.2). 0 is
            the ASPP.
        dilations: Rates of the ASPP. None takes (6, 12, 18) at output stride 16, doubled at 8 (section 3.3).
        aspp_channels: Of each ASPP branch (section 3.3).
        join_kernel: Size of the convolution that joins the branches of the ASPP; 3 in mmsegmentation, without `refine`.
        refine: Whether a 3 x 3 convolution follows the ASPP.
        dropout: After the ASPP; 0.1 in the release.
        aux: Whether an auxiliary head scores the last map but one.

    Raises:
        ConfigError: If the encoder was not built as the model says, is no ResNet in cascade, or a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = (1, 2, 4),
        cascade: int = 0,
        dilations: Sequence[int] | None = None,
        aspp_channels: int = 256,
        join_kernel: int = 1,
        refine: bool = False,
        dropout: float = 0.1,
        aux: bool = False,
    ) -> None:
        super().__init__()
        encoder.expect(output_stride, multi_grid)
        if cascade not in (0, 1, 2, 3):
            raise ConfigError(f"cascade {cascade} is no number of blocks after block4; use 1 to 3, or 0 for the ASPP")
        if dilations is None:
            dilations = [rate * 16 // output_stride for rate in (6, 12, 18)]
        self.encoder = encoder
        channels = encoder.channels[-1] if cascade else aspp_channels
        self.context: nn.Module
        if cascade:
            rates = [2 ** (i + 1) * 32 // output_stride for i in range(cascade)]
            self.context = nn.Sequential(*(copy_last_stage(encoder, rate) for rate in rates))
        else:
            self.context = ASPP(
                in_channels=encoder.channels[-1],
                channels=channels,
                dilations=dilations,
                dropout=dropout,
                join_kernel=join_kernel,
            )
        self.refine = ConvNormAct(in_channels=channels, out_channels=channels) if refine else nn.Identity()
        self.classifier = truncated_normal_(nn.Conv2d(channels, num_classes, kernel_size=1), std=0.01)
        before = encoder.channels[-2]
        self.aux = ScoreHead(in_channels=before, num_classes=num_classes, dropout=0.1) if aux else None

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits and aux (N, num_classes, H/16, W/16), sizes rounded up; H/8 at output stride 8."""
        features = self.encoder(images)
        x = self.context(features[-1])  # (N, 256, H/16, W/16)
        logits = self.classifier(self.refine(x))
        return SegOutput(logits, () if self.aux is None else (self.aux(features[-2]),))


def copy_last_stage(encoder: Encoder, rate: int) -> nn.Sequential:
    """Copies a ResNet's last stage, weights included, to read its own output.

    Its first block reads the fewer channels of the stage before, so a copy of the second one stands in for it.

    Args:
        encoder: A ResNet.
        rate: Of the copy's 3 x 3 convolutions, times the encoder's multi-grid.

    Raises:
        ConfigError: If the encoder is none of timm's ResNets.
    """
    blocks = list(list(encoder.net.children())[-1].children())
    if len(blocks) < 2 or not all(isinstance(block, BasicBlock | Bottleneck) for block in blocks):
        raise ConfigError(
            f"cascade copies the last stage of a ResNet and encoder {encoder.name!r} is none; "
            "use for instance model.encoder.name=resnet50, or cascade=0"
        )
    stage = nn.Sequential(*(copy.deepcopy(block) for block in (blocks[1], *blocks[1:])))
    for block, unit in zip(stage, encoder.multi_grid or [1] * len(blocks), strict=True):
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (rate * unit, rate * unit)
    return stage
