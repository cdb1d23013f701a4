import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.errors import ConfigError
from atrous.layers.conv import ConvNormAct, SeparableConv, check_batch


def batch_norm_relu(x):
    return F.relu(F.batch_norm(x, None, None, training=True))


@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 6), (5, 2)])
def test_conv_norm_act_is_what_it_says_and_keeps_the_size(kernel_size, dilation):
    layer = ConvNormAct(in_channels=3, out_channels=5, kernel_size=kernel_size, dilation=dilation)
    x = torch.randn(2, 3, 7, 9)
    padding = dilation * (kernel_size // 2)
    (weight,) = (p for p in layer.parameters() if p.dim() == 4)
    torch.testing.assert_close(layer(x), batch_norm_relu(F.conv2d(x, weight, padding=padding, dilation=dilation)))


def test_separable_conv_normalises_after_both_of_its_convolutions():
    layer = SeparableConv(in_channels=4, out_channels=6, dilation=2)
    x = torch.randn(2, 4, 8, 8)
    depthwise, pointwise = (p for p in layer.parameters() if p.dim() == 4)
    expected = batch_norm_relu(F.conv2d(x, depthwise, padding=2, dilation=2, groups=4))
    torch.testing.assert_close(layer(x), batch_norm_relu(F.conv2d(expected, pointwise)))


def test_separable_conv_starts_as_the_release_does():
    """Truncated normals of 0.33 and 0.06; a normal cut at two deviations has 0.88 of its deviation."""
    torch.manual_seed(0)
    layer = SeparableConv(in_channels=512, out_channels=256)
    for weight, std in zip((p for p in layer.parameters() if p.dim() == 4), (0.33, 0.06), strict=True):
        assert weight.abs().max() <= 2 * std
        assert weight.std().item() == pytest.approx(0.88 * std, rel=0.03)


def test_a_batch_of_one_cannot_train_a_batch_norm_over_one_pixel():
    layer = ConvNormAct(in_channels=2, out_channels=2, kernel_size=1)
    with pytest.raises(
        ConfigError, match=r"a batch of one image can't train a BatchNorm over 1 x 1 pixels.*data.batch_size=2"
    ):
        check_batch(layer, torch.zeros(1, 2, 1, 1))
    check_batch(layer, torch.zeros(2, 2, 1, 1))
    check_batch(layer, torch.zeros(1, 2, 1, 2))
    check_batch(layer.eval(), torch.zeros(1, 2, 1, 1))
    check_batch(nn.Conv2d(2, 2, 1), torch.zeros(1, 2, 1, 1))
