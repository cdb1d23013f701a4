"""Convolution, batch norm, ReLU: the unit most decoders are made of, and its depthwise separable form."""

from __future__ import annotations

from torch import Tensor, nn

from atrous.errors import ConfigError
from atrous.layers.init import truncated_normal_


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU; keeps height and width.

    Weights start as Glorot and Bengio's uniform, the default of TF-Slim, in which DeepLab was released.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel_size: Odd.
        dilation: Of the convolution.
        groups: Of the convolution.
    """

    def __init__(
        self, *, in_channels: int, out_channels: int, kernel_size: int = 3, dilation: int = 1, groups: int = 1
    ) -> None:
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=dilation * (kernel_size - 1) // 2,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        nn.init.xavier_uniform_(conv.weight)
        super().__init__(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class SeparableConv(nn.Sequential):
    """DeepLab's separable convolution: 3 x 3 depthwise, batch norm, ReLU, 1 x 1 pointwise, batch norm, ReLU.

    As `_split_separable_conv2d` in https://github.com/tensorflow/models/blob/master/research/deeplab/model.py, its
    initialisation included.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        dilation: Of the depthwise convolution.
        norm_between: Whether batch norm and ReLU follow the depthwise convolution, too. They don't in
            segmentation-models-pytorch.
    """

    def __init__(self, *, in_channels: int, out_channels: int, dilation: int = 1, norm_between: bool = True) -> None:
        depthwise = ConvNormAct(
            in_channels=in_channels, out_channels=in_channels, dilation=dilation, groups=in_channels
        )
        pointwise = ConvNormAct(in_channels=in_channels, out_channels=out_channels, kernel_size=1)
        if norm_between:
            super().__init__(depthwise, pointwise)
        else:
            super().__init__(nn.Sequential(depthwise[0], pointwise[0]), pointwise[1], pointwise[2])
        convs = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        for conv, std in zip(convs, (0.33, 0.06), strict=True):
            truncated_normal_(conv, std)


def check_batch(module: nn.Module, x: Tensor) -> None:
    """Checks that a module's batch norms have more than one value a channel to train on, before torch complains.

    Args:
        module: About to be called.
        x: Its input (N, C, h, w).

    Raises:
        ConfigError: If N * h * w is 1 and a batch norm is in training mode.
    """
    if x.shape[0] * x.shape[2] * x.shape[3] > 1:
        return
    if any(isinstance(norm, nn.BatchNorm2d) and norm.training for norm in module.modules()):
        raise ConfigError(
            "a batch of one image can't train a BatchNorm over 1 x 1 pixels, which has one value a channel; "
            "use data.batch_size=2 or more (and drop the last incomplete batch)"
        )
