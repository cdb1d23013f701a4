"""FCN-32s, FCN-16s, FCN-8s.

Long, Shelhamer, Darrell (2015) "Fully Convolutional Networks for Semantic Segmentation", CVPR,
https://arxiv.org/abs/1411.4038; Shelhamer, Long, Darrell (2017), TPAMI, https://arxiv.org/abs/1605.06211. Where the papers
are silent this follows the authors' release, https://github.com/shelhamer/fcn.berkeleyvision.org ("release" below).

Deviations:
- The release pads the image by 100 zeros on each side, so that the unpadded fc6 finds 7 x 7 values in any image, and crops
  the scores. That is 3 times the work at 256 x 256. Here fc6 pads by 3, and the image is padded by zeros at the bottom and
  the right to a multiple of 32, so that all maps nest; the scores are cropped to the image, too.
- The last upsampling is fixed and those before it are learned, as section 4.3 of the 2015 paper says; the release fixes all.
- Gradients are averaged by the loss, not summed over the image, so the release's learning rates don't carry over.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.upsample import Upsample, crop
from atrous.types import SegOutput


class FCN(nn.Module):
    """Scores of the last map, upsampled and summed with those of earlier maps.

    Stages train from one another (section 4.2): the parameters of a net with a finer `skip` include all learned ones of
    the coarser net under the same names, and `atrous.models.pretrained.load_pretrained` reads the coarser net's checkpoint.

    Args:
        num_classes: Channels of the logits.
        encoder: At output stride 32. Of VGG the poolings are scored (pool3, pool4, pool5), as in the paper; of other CNNs
            the last maps at strides 8, 16 and 32.
        classifier: The encoder's fully connected layers as convolutions,
            see `atrous.encoders.convolutionalise.hidden_layers`; None: none.
        skip: Stride of the finest map that is scored: 32, 16 or 8 (FCN-32s, FCN-16s, FCN-8s).
        upsample: How scores are enlarged, see `atrous.layers.upsample.Upsample`; transposed in the paper.

    Attributes:
        stage_keys: Beginnings of the state dict's keys that the net of another stage lacks, or has of its own.

    Raises:
        ConfigError: If `skip` or the encoder's strides are others.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: Encoder,
        classifier: nn.Sequential | None = None,
        skip: int = 8,
        upsample: str = "transposed",
    ) -> None:
        super().__init__()
        if skip not in (8, 16, 32):
            raise ConfigError(
                f"skip {skip} is not a stride that FCN scores; use skip=32, 16 or 8 for FCN-32s, FCN-16s or FCN-8s"
            )
        encoder.expect(output_stride=32)
        self.encoder, self.classifier = encoder, classifier or nn.Sequential()
        self.strides = [stride for stride in (32, 16, 8) if stride >= skip]
        self.stage_keys = ("upscore.", *(f"score.{stride}." for stride in self.strides[1:]))
        # VGG's map at stride 4 becomes pool3 by the pooling to stride 8.
        self.pool = encoder.ends_in_pool
        self.maps = {stride: encoder.at_stride(stride // 2 if self.pool else stride) for stride in self.strides[1:]}
        convs = [layer for layer in self.classifier if isinstance(layer, nn.Conv2d)]
        top = convs[-1].out_channels if convs else encoder.channels[-1]
        channels = {32: top, **{stride: encoder.channels[i] for stride, i in self.maps.items()}}
        self.score = nn.ModuleDict(
            {str(stride): nn.Conv2d(channels[stride], num_classes, 1) for stride in self.strides}
        )
        for parameter in self.score.parameters():  # scores start at zero (2015, section 4.3)
            nn.init.zeros_(parameter)
        self.upscore = nn.ModuleDict(
            {
                f"{stride}to{stride // 2}": Upsample(channels=num_classes, scale=2, mode=upsample, per_channel=False)
                for stride in self.strides[:-1]
            }
        )
        last = Upsample(channels=num_classes, scale=skip, mode=upsample)
        if upsample == "transposed":
            last.requires_grad_(False)
        self.upscore[f"{skip}to1"] = last

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W)."""
        height, width = images.shape[-2:]
        padded = [math.ceil(height / 32) * 32, math.ceil(width / 32) * 32]
        features = self.encoder(F.pad(images, (0, padded[1] - width, 0, padded[0] - height)))
        x = self.score["32"](self.classifier(features[-1]))  # (N, C, H/32, W/32)
        for coarse, fine in zip(self.strides, self.strides[1:], strict=False):
            skip = features[self.maps[fine]]
            score = self.score[str(fine)](F.max_pool2d(skip, 2) if self.pool else skip)
            x = self.upscore[f"{coarse}to{fine}"](x, score.shape[-2:]) + score  # (N, C, H/fine, W/fine)
        x = self.upscore[f"{self.strides[-1]}to1"](x, (padded[0], padded[1]))
        return SegOutput(crop(x, (height, width)))
