"""timm's VGGs layer by layer: where their poolings found the maxima, what mirrors them, and DeepLab's poolings."""

from __future__ import annotations

from torch import Tensor, nn

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.unpool import Pooled, max_pool


def encode(encoder: Encoder, images: Tensor) -> tuple[Tensor, list[Pooled]]:
    """Runs a VGG and keeps where the maxima of each pooling stood.

    Args:
        encoder: A VGG at output stride 32.
        images: (N, 3, H, W).

    Returns:
        The last pooling's map (N, 512, H/32, W/32), sizes rounded up, and what each of the five poolings took, finest first.
    """
    x, pooled = images, []
    for layer in encoder.net.children():
        if isinstance(layer, nn.MaxPool2d):
            x, taken = max_pool(x)
            pooled.append(taken)
        else:
            x = layer(x)
    return x, pooled


def mirrored_channels(encoder: Encoder) -> list[list[tuple[int, int]]]:
    """The (input, output) channels of convolutions that undo a VGG's, last stage and last convolution first.

    The last pair makes the image's 3 channels again, where a decoder has its scores.

    Raises:
        ConfigError: If the encoder is no VGG at output stride 32.
    """
    encoder.expect(output_stride=32)
    if not encoder.ends_in_pool:
        raise ConfigError(
            f"encoder {encoder.name!r} has no stages that each end in a max pooling, which the decoder mirrors; "
            "use a VGG, such as model.encoder.name=vgg16_bn"
        )
    stages: list[list[tuple[int, int]]] = [[]]
    for layer in encoder.net.children():
        if isinstance(layer, nn.Conv2d):
            stages[-1].append((layer.out_channels, layer.in_channels))
        elif isinstance(layer, nn.MaxPool2d):
            stages.append([])
    return [stage[::-1] for stage in reversed(stages) if stage]


def overlap_poolings(encoder: Encoder) -> None:
    """Gives a VGG DeepLab's poolings in place: 3 x 3 with one pixel of padding; strides stay as they are.

    Chen et al. (2015), `train.prototxt` of DeepLab-LargeFOV, http://liangchiehchen.com/projects/DeepLab-LargeFOV.html.
    On its images of 8 k + 1 pixels a side the poolings come out even; on others they round down as those of timm's ResNets
    do, where Caffe rounds up. Encoders other than VGG are left as they are.
    """
    if not encoder.ends_in_pool:
        return
    for name, layer in list(encoder.net.named_children()):
        if isinstance(layer, nn.MaxPool2d):
            setattr(encoder.net, name, nn.MaxPool2d(3, layer.stride, padding=1))
