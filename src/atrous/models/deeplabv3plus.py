"""DeepLabv3+.

Chen, Zhu, Papandreou, Schroff, Adam (2018) "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", ECCV, https://arxiv.org/abs/1802.02611. Where the paper is silent this follows the authors' release,
https://github.com/tensorflow/models/tree/master/research/deeplab ("release" below).

Deviations:
- Batch norms average with torch's momentum 0.1, not the release's 0.0003 (`decay=0.9997`), which suits 30,000 steps and more.
- Resizing treats pixels as areas (`align_corners=False`); the release aligns corners, on images of 16 k + 1 pixels.
- The ASPP's image pooling takes the mean over the whole map, also in evaluation; the release's window is the training crop.
- The defaults are the paper's; `refine` [1, 1] and `norm_between` false make the decoder of segmentation-models-pytorch, so
  that its weights fit.
- timm's Xception hands out the low-level feature after the ReLU that follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.aspp import ASPP
from atrous.layers.conv import ConvNormAct, SeparableConv
from atrous.layers.init import truncated_normal_
from atrous.layers.upsample import Upsample
from atrous.types import SegOutput


class DeepLabV3Plus(nn.Module):
    """Encoder with atrous convolution, ASPP, and a decoder that adds low-level features at stride 4.

    Args:
        num_classes: Channels of the logits.
        encoder: Built at `output_stride` and with `multi_grid`.
        output_stride: Of the encoder: 16, or 8 for a denser map at more than three times the work (section 3.1, table 5).
        dilations: Rates of the ASPP. None takes (6, 12, 18) at output stride 16, doubled at 8 (DeepLabv3, section 3.3).
        multi_grid: Unit rates of the encoder's last blocks; none in the paper's Xception (section 4.3).
        separable: Depthwise separable 3 x 3 convolutions in ASPP and decoder (section 3.1, table 5).
        aspp_channels: Of each ASPP branch (section 3.1).
        low_level_channels: That the low-level feature is reduced to (table 1).
        decoder_channels: Of the decoder's 3 x 3 convolutions (table 2).
        refine: Number of the decoder's 3 x 3 convolutions before the upsampling and after the concatenation; none and two
            in the paper (table 2).
        norm_between: Of separable convolutions, see `atrous.layers.conv.SeparableConv`.
        upsample: How the ASPP's map is brought to stride 4, see `atrous.layers.upsample.Upsample`.
        dropout: After the ASPP; 0.1 in the release.

    Raises:
        ConfigError: If the encoder was not built as the model says, has no map at stride 4, or a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        output_stride: int = 16,
        dilations: Sequence[int] | None = None,
        multi_grid: Sequence[int] | None = None,
        separable: bool = True,
        aspp_channels: int = 256,
        low_level_channels: int = 48,
        decoder_channels: int = 256,
        refine: Sequence[int] = (0, 2),
        norm_between: bool = True,
        upsample: str = "bilinear",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        encoder.expect(output_stride, multi_grid)
        if dilations is None:
            dilations = [rate * 16 // output_stride for rate in (6, 12, 18)]
        if len(refine) != 2 or any(not isinstance(count, int) or count < 0 for count in refine):
            raise ConfigError(
                f"refine {refine} must be two numbers of convolutions, before and after the low-level features join; "
                "give for instance refine=[0,2]"
            )
        conv = partial(SeparableConv, norm_between=norm_between) if separable else ConvNormAct
        self.encoder = encoder
        self.low_level = encoder.at_stride(4)
        self.aspp = ASPP(
            in_channels=encoder.channels[-1],
            channels=aspp_channels,
            dilations=dilations,
            separable=separable,
            norm_between=norm_between,
            dropout=dropout,
        )
        self.prepare = nn.Sequential(
            *(conv(in_channels=aspp_channels, out_channels=aspp_channels) for _ in range(refine[0]))
        )
        self.upsample = Upsample(channels=aspp_channels, scale=output_stride // 4, mode=upsample)
        self.reduce = ConvNormAct(
            in_channels=encoder.channels[self.low_level], out_channels=low_level_channels, kernel_size=1
        )
        widths = [aspp_channels + low_level_channels, *[decoder_channels] * refine[1]]
        self.refine = nn.Sequential(
            *(conv(in_channels=before, out_channels=after) for before, after in pairwise(widths))
        )
        self.classifier = truncated_normal_(nn.Conv2d(widths[-1], num_classes, kernel_size=1), std=0.01)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H/4, W/4), sizes rounded up."""
        features = self.encoder(images)
        low = self.reduce(features[self.low_level])  # (N, 48, H/4, W/4)
        x = self.prepare(self.aspp(features[-1]))  # (N, 256, H/16, W/16)
        x = self.upsample(x, low.shape[-2:])  # (N, 256, H/4, W/4)
        x = self.refine(torch.cat([x, low], dim=1))
        return SegOutput(self.classifier(x))
