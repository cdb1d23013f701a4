"""DeconvNet.

Noh, Hong, Han (2015) "Learning Deconvolution Network for Semantic Segmentation", ICCV, https://arxiv.org/abs/1505.04366.
Where the paper is silent this follows the authors' release, https://github.com/HyeonwooNoh/DeconvNet ("release" below):
`training/002_stage_2/stage_2_train.prototxt`.

Deviations:
- The paper's images are proposals of 224 x 224, whose fc6 is a single place. Here fc6 slides over a larger image's map and
  its deconvolution puts the windows together again; a smaller image's map is padded by zeros to the 7 x 7 that fc6 reads.
- The deconvolutions before a batch norm have no bias; the release's have one, which the norm takes away again.
- The paper predicts 50 proposals of an image and aggregates them; here the image is predicted at once.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.encoders.vgg import encode, mirrored_channels
from atrous.errors import ConfigError
from atrous.layers.conv import check_batch
from atrous.layers.init import gaussian_
from atrous.layers.unpool import Unpool
from atrous.layers.upsample import crop
from atrous.types import SegOutput


class DeconvNet(nn.Module):
    """VGG with its fully connected layers, and a deconvolution network that mirrors it.

    Args:
        num_classes: Channels of the logits.
        encoder: A VGG at output stride 32; vgg16_bn in the paper (sections 3.1 and 4.1).
        classifier: The encoder's fc6 and fc7 as convolutions, see `atrous.encoders.convolutionalise.hidden_layers`.
        upsample: How maps are enlarged before their deconvolutions, see `atrous.layers.unpool.Unpool`; unpooling in the
            paper (section 3.2.1).

    Raises:
        ConfigError: If the encoder is no VGG, the classifier has not two convolutions, or there is no such way of
            upsampling.
    """

    def __init__(
        self, *, num_classes: int, encoder: Encoder, classifier: nn.Sequential, upsample: str = "unpooling"
    ) -> None:
        super().__init__()
        stages = mirrored_channels(encoder)
        convs = [layer for layer in classifier if isinstance(layer, nn.Conv2d)]
        if len(convs) != 2:
            raise ConfigError(
                f"the classifier has {len(convs)} convolutions and DeconvNet takes two, fc6 and fc7; "
                "let it follow the encoder: model.classifier.name=${model.encoder.name}"
            )
        fc6, fc7 = convs
        fc6.padding = (0, 0)
        width, _ = stages[-1].pop()
        stages[-1].append((width, width))  # scores come after, by a convolution of their own
        self.encoder = encoder
        self.fc6 = fc6
        self.fc7 = nn.Sequential(
            nn.BatchNorm2d(fc6.out_channels), nn.ReLU(inplace=True), fc7, nn.BatchNorm2d(fc7.out_channels), nn.ReLU()
        )
        self.fc6_deconv = DeconvNormAct(
            in_channels=fc7.out_channels, out_channels=fc6.in_channels, kernel_size=fc6.kernel_size[0], padding=0
        )
        self.unpool = nn.ModuleList(Unpool(channels=stage[0][0], mode=upsample) for stage in stages)
        self.decoder = nn.ModuleList(
            nn.Sequential(*(DeconvNormAct(in_channels=i, out_channels=o) for i, o in stage)) for stage in stages
        )
        self.score = gaussian_(nn.Conv2d(width, num_classes, kernel_size=1))

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W).

        Raises:
            ConfigError: If it trains on a single image of 224 x 224 or less.
        """
        x, pooled = encode(self.encoder, images)  # (N, 512, H/32, W/32)
        height, width = x.shape[-2:]
        kernel = self.fc6.kernel_size[0]
        x = F.pad(x, (0, max(0, kernel - width), 0, max(0, kernel - height)))
        x = self.fc6(x)  # (N, 4096, H/32 - 6, W/32 - 6), at least 1 x 1
        check_batch(self.fc7, x)
        x = crop(self.fc6_deconv(self.fc7(x)), (height, width))  # (N, 512, H/32, W/32)
        for unpool, deconvs, taken in zip(self.unpool, self.decoder, reversed(pooled), strict=True):
            x = deconvs(unpool(x, taken))
        return SegOutput(self.score(x))


class DeconvNormAct(nn.Sequential):
    """Transposed convolution of stride 1 without bias, batch norm, ReLU.

    Weights start as the release's, Gaussian with deviation 0.01.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel_size: Of the kernel.
        padding: Pixels cropped on each side; the map grows by kernel_size - 1 - 2 * padding.
    """

    def __init__(self, *, in_channels: int, out_channels: int, kernel_size: int = 3, padding: int = 1) -> None:
        deconv = nn.ConvTranspose2d(in_channels, out_channels, kernel_size, padding=padding, bias=False)
        nn.init.normal_(deconv.weight, std=0.01)
        super().__init__(deconv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
