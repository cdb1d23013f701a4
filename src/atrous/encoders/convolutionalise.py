"""A classifier's fully connected layers as convolutions, which score every place of a map at once.

Long, Shelhamer, Darrell (2015) "Fully Convolutional Networks for Semantic Segmentation", section 3.1,
https://arxiv.org/abs/1411.4038.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.models.vgg import ConvMlp
from torch import nn

from atrous.encoders.encoder import create
from atrous.errors import ConfigError


def convolutionalise(classifier: nn.Sequential, *, channels: int) -> nn.Sequential:
    """Turns the head of a classifier into convolutions with the same weights.

    The first linear layer becomes a convolution as large as the map it was made for, the others become 1 x 1. On a map of
    that size the result is the classifier's, as (N, classes, 1, 1); on a larger one it is the classifier's on each window.

    Args:
        classifier: Takes flattened maps; linear layers and layers that act on each value, such as torchvision's
            `vgg16().classifier`. It is left as it is; the result has its own copy of the weights.
        channels: Of the map that the classifier was made for, 512 for VGG. The map is square.

    Returns:
        The layers in their order, without padding; flattening layers are left out.

    Raises:
        ValueError: If the first linear layer does not read a square map of so many channels.
    """
    layers: list[nn.Module] = []
    for layer in classifier:
        if isinstance(layer, nn.Linear):
            size = math.isqrt(layer.in_features // channels)
            if size * size * channels != layer.in_features:
                raise ValueError(
                    f"a linear layer with {layer.in_features} inputs does not read a square map of {channels} channels; give channels="
                    "<those of the last feature map>"
                )
            conv = nn.Conv2d(channels, layer.out_features, size, bias=layer.bias is not None)
            with torch.no_grad():
                conv.weight.copy_(layer.weight.view_as(conv.weight))
                if conv.bias is not None:
                    conv.bias.copy_(layer.bias)
            layers.append(conv)
            channels = layer.out_features
        elif not isinstance(layer, nn.Flatten):
            layers.append(layer)
    return nn.Sequential(*layers)


def hidden_layers(
    *, name: str, weights: str | None = None, channels: int = 4096, dropout: float = 0.5
) -> nn.Sequential:
    """VGG's fc6 and fc7 as convolutions of 7 x 7 and 1 x 1, each with ReLU and dropout; keeps a map's height and width.

    Args:
        name: timm's name of the classifier. One without hidden layers, such as ResNet, gives an empty Sequential.
        weights: As in `atrous.encoders.encoder.Encoder`; timm stores VGG's linear layers convolutionalised already.
        channels: Of both layers.
        dropout: After each layer, as in VGG's own classifier (section 4.3).

    Raises:
        ConfigError: If `channels` is not the classifier's although its weights are asked for, and as `Encoder` does.
    """
    with torch.device("meta"):
        hidden = getattr(create(name, None), "pre_logits", None)
    if not isinstance(hidden, ConvMlp):
        return nn.Sequential()
    own = hidden.fc1.out_channels
    if weights is None:
        fc6 = nn.Conv2d(hidden.fc1.in_channels, channels, hidden.fc1.kernel_size)
        fc7 = nn.Conv2d(channels, channels, 1)
    elif channels != own:
        raise ConfigError(
            f"{name!r} has {own} channels in fc6 and fc7, not {channels}; use channels={own} with weights={weights}, or weights=null"
        )
    else:
        pretrained: Any = create(name, weights).pre_logits
        fc6, fc7 = pretrained.fc1, pretrained.fc2
    fc6.padding = tuple(size // 2 for size in fc6.kernel_size)
    return _with_dropout(fc6, fc7, rate=dropout)


def decimated_layers(
    *,
    name: str,
    in_channels: int,
    weights: str | None = None,
    channels: int = 1024,
    kernel_size: int = 3,
    dilation: int = 12,
    dropout: float = 0.5,
) -> nn.Sequential:
    """DeepLab's fc6 and fc7, smaller than VGG's and read at a rate; keeps a map's height and width.

    Chen et al. (2015) "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs", section 3.2,
    https://arxiv.org/abs/1412.7062: VGG's 7 x 7 kernel is subsampled "by simple decimation", and so are the channels.

    Args:
        name: timm's name of the classifier. One without hidden layers, such as ResNet, gives layers that start at random.
        in_channels: Of the map.
        weights: As in `atrous.encoders.encoder.Encoder`.
        channels: Of both layers.
        kernel_size: Of fc6.
        dilation: Of fc6, the paper's "input stride".
        dropout: After each layer; 0.5 in the release.

    Raises:
        ConfigError: If weights are asked for that can't be decimated to this size, and as `Encoder` does.
    """
    fc6 = nn.Conv2d(in_channels, channels, kernel_size, dilation=dilation, padding="same")
    fc7 = nn.Conv2d(channels, channels, 1)
    layers = hidden_layers(name=name, weights=weights) if weights is not None else nn.Sequential()
    if len(layers):
        full6, full7 = (layer for layer in layers if isinstance(layer, nn.Conv2d))
        own, size = full6.out_channels, full6.kernel_size[0]
        if own % channels or kernel_size < 2 or (size - 1) % (kernel_size - 1):
            raise ConfigError(
                f"fc6 of {name!r} has {own} channels and {size} x {size} values and can't be decimated to {channels} channels "
                f"and {kernel_size} x {kernel_size}; use a divisor of {own} and a kernel_size of 3, 4 or 7, or weights=null"
            )
        step, hole = own // channels, (size - 1) // (kernel_size - 1)
        with torch.no_grad():
            fc6.weight.copy_(full6.weight[::step, :, ::hole, ::hole])
            fc7.weight.copy_(full7.weight[::step, ::step])
            fc6.bias.copy_(full6.bias[::step])  # type: ignore[union-attr, index]
            fc7.bias.copy_(full7.bias[::step])  # type: ignore[union-attr, index]
    return _with_dropout(fc6, fc7, rate=dropout)


def _with_dropout(*convs: nn.Conv2d, rate: float) -> nn.Sequential:
    return nn.Sequential(*(layer for conv in convs for layer in (conv, nn.ReLU(inplace=True), nn.Dropout(rate))))
