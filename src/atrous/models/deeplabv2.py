"""DeepLab, second version: atrous spatial pyramid pooling, and inputs of several scales.

Chen, Papandreou, Kokkinos, Murphy, Yuille (2018) "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets,
Atrous Convolution, and Fully Connected CRFs", TPAMI, https://arxiv.org/abs/1606.00915. Where the paper is silent this
follows the authors' release, `train.prototxt` of http://liangchiehchen.com/projects/DeepLabv2_resnet.html and
http://liangchiehchen.com/projects/DeepLabv2_vgg.html ("release" below). The paper's fully connected CRF works on the
predictions and is no part of the net.

Deviations:
- Images and scores are resized with pixels as areas (`align_corners=False`); the release aligns corners, on images of
  8 k + 1 pixels.
- The release's ResNet keeps its batch norms' pretrained statistics, scales and shifts; here they train.
- timm's ResNets stride in a block's 3 x 3 convolution, the release's in the 1 x 1 before it. The first block of a dilated
  stage therefore reads at the rate of the stage before.
- The loss compares scores enlarged to the image with the mask; the release makes the mask 8 times smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atrous.encoders.convolutionalise import decimated_layers
from atrous.encoders.encoder import Encoder
from atrous.encoders.vgg import overlap_poolings
from atrous.errors import ConfigError
from atrous.layers.init import gaussian_
from atrous.layers.rates import check_dilations
from atrous.layers.upsample import resize
from atrous.types import SegOutput


class DeepLabV2(nn.Module):
    """Scores of parallel atrous convolutions are summed, and of the image at several scales the larger ones taken.

    Args:
        num_classes: Channels of the logits.
        encoder: Built at `output_stride`; resnet101 or vgg16 in the paper. A VGG gets the release's 3 x 3 poolings.
        output_stride: Of the encoder; 8 in the paper (section 3.1).
        dilations: Rates of the branches: (6, 12, 18, 24) is the paper's ASPP-L, (2, 4, 8, 12) ASPP-S (section 4.1.2). None
            takes ASPP-L at output stride 8, halved at 16.
        scales: Of the images that are scored by the same net; (1, 0.75, 0.5) with ResNet in the paper (section 4.1.2),
            (1,) with VGG. The logits have the resolution of the first.
        fc_channels: Of fc6 and fc7 in each branch (figure 7); 1024 with VGG in the paper (section 4.1.1). None leaves both
            out, so that each branch is one 3 x 3 convolution to scores, as with ResNet in the release.
        fc_weights: Where fc6 and fc7 start from, see `atrous.encoders.convolutionalise.decimated_layers`.
        dropout: After fc6 and fc7; 0.5 in the release.

    Raises:
        ConfigError: If the encoder was not built as the model says, or a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        output_stride: int = 8,
        dilations: Sequence[int] | None = None,
        scales: Sequence[float] = (1.0, 0.75, 0.5),
        fc_channels: int | None = None,
        fc_weights: str | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        encoder.expect(output_stride)
        if not scales or any(scale <= 0 for scale in scales):
            raise ConfigError(f"scales {scales} must be positive, at least one; give for instance scales=[1,0.75,0.5]")
        if dilations is None:
            dilations = [max(1, rate * 8 // output_stride) for rate in (6, 12, 18, 24)]
        check_dilations(dilations)
        overlap_poolings(encoder)
        self.encoder, self.scales = encoder, scales
        width = encoder.channels[-1]
        self.branches = nn.ModuleList()
        for rate in dilations:
            if fc_channels is None:
                self.branches.append(gaussian_(nn.Conv2d(width, num_classes, 3, padding=rate, dilation=rate)))
                continue
            size = {"channels": fc_channels, "dilation": rate}
            fc = decimated_layers(name=encoder.name, in_channels=width, weights=fc_weights, dropout=dropout, **size)
            self.branches.append(nn.Sequential(*fc, gaussian_(nn.Conv2d(fc_channels, num_classes, 1))))

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H/8, W/8), sizes rounded up.

        With several scales, `aux` holds the scores of each by itself, at its own resolution; the release adds their losses
        with weight 1.
        """
        height, width = images.shape[-2:]
        sizes = [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in self.scales]
        scores = [self.score(resize(images, size)) for size in sizes]
        if len(scores) == 1:
            return SegOutput(scores[0])
        size = (scores[0].shape[-2], scores[0].shape[-1])
        fused = torch.stack([resize(score, size) for score in scores]).amax(dim=0)  # (N, num_classes, H/8, W/8)
        return SegOutput(fused, tuple(scores))

    def score(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> the branches' sum (N, num_classes, H/8, W/8)."""
        x = self.encoder(images)[-1]
        return torch.stack([branch(x) for branch in self.branches]).sum(dim=0)
