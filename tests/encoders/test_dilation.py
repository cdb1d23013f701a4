import copy

import pytest
import timm
import torch
from torch import nn

from atrous.encoders.dilation import dilate
from atrous.errors import ConfigError


def features(name, **options):
    """A timm pyramid in eval mode whose statistics, scales and biases are not the initial ones and zeros."""
    torch.manual_seed(0)
    net = timm.create_model(name, features_only=True, **options).eval()
    for parameter in net.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.3, 1.0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return net


def close_gates(net):
    """Squeeze-excite sees the whole map, which has other means once it is denser: leave only its biases."""
    for name, parameter in net.named_parameters():
        if ".se." in name and parameter.dim() == 4:
            nn.init.zeros_(parameter)


@torch.no_grad()
def assert_subsampled_equal(strided, dilated, images):
    for reference, dense in zip(strided(images), dilated(images), strict=True):
        step = round(dense.shape[-1] / reference.shape[-1])
        assert dense.shape[-1] == reference.shape[-1] * step
        error = (dense[..., ::step, ::step] - reference).abs().max() / reference.abs().max()
        assert error < 1e-5


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50d",
        "vgg16_bn",
        "mobilenetv3_small_050",
        "efficientnet_b0",
        "densenet121",
        "regnetx_002",
        "regnety_002",
        "convnext_atto",
        "xception41",
        "repvgg_a0",
    ],
)
def test_dilated_net_subsampled_equals_the_strided_net(name, output_stride):
    strided = features(name)
    close_gates(strided)
    dilated = dilate(copy.deepcopy(strided), output_stride)
    shapes = {key: value.shape for key, value in strided.state_dict().items()}
    assert {key: value.shape for key, value in dilated.state_dict().items()} == shapes
    images = torch.randn(1, 3, 64, 96)
    assert_subsampled_equal(strided, dilated, images)
    with torch.no_grad():
        assert dilated(images)[-1].shape[-2:] == (64 // output_stride, 96 // output_stride)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["convnext_tiny", "mobilenetv3_large_100", "xception65", "dpn68", "dla34", "inception_next_atto"]
)
def test_larger_dilated_net_subsampled_equals_the_strided_net(name):
    strided = features(name)
    close_gates(strided)
    assert_subsampled_equal(strided, dilate(copy.deepcopy(strided), 8), torch.randn(1, 3, 64, 96))


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("name", ["resnet50", "xception65", "mobilenetv2_100", "efficientnet_b0"])
def test_equals_timm_where_timm_dilates(name, output_stride):
    ours = dilate(features(name), output_stride)
    theirs = features(name, output_stride=output_stride)
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        for a, b in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5 * b.abs().max().item(), rtol=0)


LAYERS = [
    nn.Conv2d(4, 4, 3, 2, 1),
    nn.Conv2d(4, 4, 2, 2),
    nn.Conv2d(4, 4, 4, 2, 1),
    nn.Conv2d(4, 4, 3, 2),
    nn.Conv2d(4, 4, 1, 2),
    nn.Conv2d(4, 4, 3, 2, 2, dilation=2),
    nn.MaxPool2d(2, 2),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.AvgPool2d(2, 2),
    nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
    nn.AvgPool2d(3, 2, 1),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
]


class Pyramid(nn.Sequential):
    def forward(self, x):
        return [super().forward(x)]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_every_kind_of_strided_layer(layer):
    torch.manual_seed(0)
    between = nn.Conv2d(4, 4, 3, padding=1)
    strided = Pyramid(nn.Conv2d(3, 4, 3, 2, 1), copy.deepcopy(layer), between, layer, copy.deepcopy(between))
    dilated = dilate(copy.deepcopy(strided), 2)
    images = torch.randn(2, 3, 48, 64)
    with torch.no_grad():
        reference, dense = strided(images)[0], dilated(images)[0]
    torch.testing.assert_close(dense[..., ::4, ::4], reference, atol=1e-6, rtol=1e-5)


def test_average_pool_that_keeps_its_stride_under_a_rate():
    strided = Pyramid(nn.Conv2d(3, 4, 3, 2, 1), nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False))
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        dense = dilate(copy.deepcopy(strided), 1)(images)[0]
        torch.testing.assert_close(dense[..., ::2, ::2], strided(images)[0], atol=1e-6, rtol=1e-5)


def test_multi_grid_sets_the_rates_of_resnet_blocks():
    reference = features("resnet50", output_stride=16)
    for block, rate in zip(reference.layer4, (2, 4, 8), strict=True):
        block.conv2.dilation = block.conv2.padding = (rate, rate)
    ours = dilate(features("resnet50"), 16, [1, 2, 4])
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[-1], reference(images)[-1])


def test_multi_grid_sets_the_rates_of_the_last_xception_block():
    reference = features("xception41", output_stride=16)
    convs = [module for name, module in reference.named_modules() if "12" in name and name.endswith("conv_dw")]
    for conv, rate in zip(convs, (2, 4, 8), strict=True):
        conv.dilation = conv.padding = (rate, rate)
    ours = dilate(features("xception41"), 16, [1, 2, 4])
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[-1], reference(images)[-1])


@pytest.mark.parametrize(
    ("multi_grid", "message"),
    [
        (
            [1, 2, 4],
            "multi_grid .1, 2, 4. has 3 unit rates but the encoder's last stage has 2 blocks .layer4.0, layer4.1.",
        ),
        ([1, 0], "multi_grid .1, 0. must be positive integers"),
        ([], "must be positive integers"),
    ],
)
def test_multi_grid_that_does_not_fit(multi_grid, message):
    with pytest.raises(ConfigError, match=message):
        dilate(timm.create_model("resnet18", features_only=True), 16, multi_grid)


class StridesByIndexing(nn.Sequential):
    def forward(self, x):
        return [self[1](self[0](x)[..., ::2, ::2])]


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: timm.create_model("tf_mobilenetv3_small_minimal_100", features_only=True), "pads by the image's size"),
        (
            lambda: Pyramid(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Upsample(scale_factor=2)),
            "layer 2 .Upsample. upsamples",
        ),
        (lambda: Pyramid(nn.Conv2d(3, 4, 4, 4)), "from stride 1 to 4 in one step, past output stride 2"),
        (
            lambda: StridesByIndexing(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)),
            "still has stride 4 after rewriting to 2",
        ),
        (lambda: Pyramid(nn.Conv2d(3, 4, 1), nn.Linear(7, 7)), "its maps don't fit together"),
    ],
)
def test_nets_that_cannot_be_dilated(net, message):
    with pytest.raises(ConfigError, match=message):
        dilate(net(), 2)


def test_output_stride_must_be_a_power_of_two():
    with pytest.raises(ConfigError, match="output stride 12 is not a power of two; use 8, 16 or 32"):
        dilate(nn.Conv2d(3, 3, 1), 12)


@pytest.mark.parametrize(("output_stride", "rates"), [(16, [1, 1, 2, 2]), (8, [2, 2, 4, 4])])
def test_strided_layers_at_the_new_rate(output_stride, rates):
    """As torchvision's ResNet-18 with `replace_strides_with_dilation` of segmentation-models-pytorch."""
    net = timm.create_model("resnet18", features_only=True)
    dilate(net, output_stride, dilate_strided=True)
    convs = [block.conv1 for block in net.layer3] + [block.conv1 for block in net.layer4]
    assert [conv.dilation[0] for conv in convs] == rates
    assert [x.shape[-1] for x in net(torch.zeros(1, 3, 64, 64))][-1] == 64 // output_stride
