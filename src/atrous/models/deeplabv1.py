"""DeepLab, first version: DeepLab-LargeFOV.

Chen, Papandreou, Kokkinos, Murphy, Yuille (2015) "Semantic Image Segmentation with Deep Convolutional Nets and Fully
Connected CRFs", ICLR, https://arxiv.org/abs/1412.7062. Where the paper is silent this follows the authors' release,
`train.prototxt` of http://liangchiehchen.com/projects/DeepLab-LargeFOV.html ("release" below). The paper's fully connected
CRF works on the predictions and is no part of the net.

Deviations:
- Poolings round down; Caffe's round up, which makes a difference on images other than the release's, of 8 k + 1 pixels.
- The loss compares scores enlarged to the image with the mask; the release makes the mask 8 times smaller.
"""

from __future__ import annotations

from torch import Tensor, nn

from atrous.encoders.convolutionalise import decimated_layers
from atrous.encoders.encoder import Encoder
from atrous.encoders.vgg import overlap_poolings
from atrous.layers.init import gaussian_
from atrous.layers.rates import check_dilations
from atrous.types import SegOutput


class DeepLabV1(nn.Module):
    """VGG at output stride 8, whose first fully connected layer is a small kernel with large holes.

    The study of table 2, as (kernel_size, dilation, fc_channels): DeepLab-CRF-7x7 is (7, 4, 4096), DeepLab-CRF (4, 4, 4096),
    DeepLab-CRF-4x4 (4, 8, 4096), DeepLab-CRF-LargeFOV (3, 12, 1024).

    Args:
        num_classes: Channels of the logits.
        encoder: Built at `output_stride`; vgg16 in the paper. A VGG gets the release's 3 x 3 poolings.
        output_stride: Of the encoder; 8 in the paper (section 3.1).
        kernel_size: Of fc6 (table 2).
        dilation: Of fc6, the paper's "input stride". None takes 12 at output stride 8, halved at 16.
        fc_channels: Of fc6 and fc7 (table 2).
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
        kernel_size: int = 3,
        dilation: int | None = None,
        fc_channels: int = 1024,
        fc_weights: str | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        encoder.expect(output_stride)
        if dilation is None:
            dilation = 12 * 8 // output_stride
        check_dilations([dilation])
        overlap_poolings(encoder)
        self.encoder = encoder
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)  # the release's pool5a
        self.fc = decimated_layers(
            name=encoder.name,
            in_channels=encoder.channels[-1],
            weights=fc_weights,
            channels=fc_channels,
            kernel_size=kernel_size,
            dilation=dilation,
            dropout=dropout,
        )
        self.classifier = gaussian_(nn.Conv2d(fc_channels, num_classes, kernel_size=1))

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H/8, W/8), sizes rounded up."""
        x = self.encoder(images)[-1]  # (N, 512, H/8, W/8)
        x = self.fc(self.pool(x))  # (N, 1024, H/8, W/8)
        return SegOutput(self.classifier(x))
