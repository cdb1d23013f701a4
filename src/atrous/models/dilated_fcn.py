"""FCN on a dilated encoder.

The net that later papers call FCN and compare with: Long, Shelhamer, Darrell (2015) "Fully Convolutional Networks for
Semantic Segmentation", CVPR, https://arxiv.org/abs/1411.4038, with strides rewritten as dilations in place of skips, as in
table 1 of Zhao et al. (2017), https://arxiv.org/abs/1612.01105. This follows `fcn_resnet50` and `fcn_resnet101` of
torchvision, https://github.com/pytorch/vision/blob/main/torchvision/models/segmentation/fcn.py.

Deviations:
- Logits are left at the encoder's stride; the task resizes them as torchvision does inside the net.
"""

from __future__ import annotations

from torch import Tensor, nn

from atrous.encoders.encoder import Encoder
from atrous.layers.head import ScoreHead
from atrous.types import SegOutput


class DilatedFCN(nn.Module):
    """Dilated encoder, a 3 x 3 convolution to a quarter of its channels, scores.

    Args:
        num_classes: Channels of the logits.
        encoder: Built at `output_stride`.
        output_stride: Of the encoder, 8 in torchvision.
        dropout: Before the scores; 0.1 in torchvision.
        aux: Whether an auxiliary head of the same kind scores the last stage but one. Its loss weighs 0.5 in torchvision.

    Raises:
        ConfigError: If the encoder was not built as the model says.
    """

    def __init__(
        self, *, num_classes: int, encoder: Encoder, output_stride: int = 8, dropout: float = 0.1, aux: bool = True
    ) -> None:
        super().__init__()
        encoder.expect(output_stride)
        self.encoder = encoder
        before, last = encoder.channels[-2:]
        self.head = ScoreHead(in_channels=last, num_classes=num_classes, dropout=dropout)
        self.aux = ScoreHead(in_channels=before, num_classes=num_classes, dropout=dropout) if aux else None
        for part in (self.head, self.aux):
            if part is not None:
                part.apply(_start)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits and aux (N, num_classes, H/8, W/8), sizes rounded up."""
        features = self.encoder(images)
        logits = self.head(features[-1])
        return SegOutput(logits, () if self.aux is None else (self.aux(features[-2]),))


def _start(module: nn.Module) -> None:
    """torch's own initialisation, which torchvision leaves as it is."""
    if isinstance(module, nn.Conv2d):
        module.reset_parameters()
