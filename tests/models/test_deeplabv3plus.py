import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.conv import SeparableConv
from atrous.models.deeplabv3plus import DeepLabV3Plus


def build(output_stride=16, multi_grid=None, name="resnet18", **options):
    torch.manual_seed(0)
    encoder = Encoder(name=name, output_stride=output_stride, multi_grid=multi_grid)
    options = {"aspp_channels": 32, "low_level_channels": 12, "decoder_channels": 24} | options
    return DeepLabV3Plus(num_classes=5, encoder=encoder, output_stride=output_stride, multi_grid=multi_grid, **options)


def released(model, images, rates, separable):
    """`_extract_features`, `refine_by_decoder` and `_get_branch_logits` of the authors' model.py, in evaluation."""
    backbone = timm.create_model("resnet18", features_only=True, output_stride=16).eval()
    backbone.load_state_dict(model.encoder.net.state_dict())
    units = [
        u for u in model.modules() if isinstance(u, nn.Sequential) and len(u) == 3 and isinstance(u[1], nn.BatchNorm2d)
    ]
    units = iter([u for u in units if not any(u is m for m in model.encoder.modules())])

    def conv(x, rate=1, groups=1):
        weight, norm = (unit := next(units))[0].weight, unit[1]
        x = F.conv2d(x, weight, padding=rate * (weight.shape[-1] // 2), dilation=rate, groups=groups)
        return F.relu(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5))

    def conv3(x, rate=1):
        return conv(conv(x, rate, groups=x.shape[1])) if separable else conv(x, rate)

    _, low, _, _, x = backbone(images)
    branches = [conv(x), *(conv3(x, rate) for rate in rates)]
    branches.append(conv(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:]))
    x = conv(torch.cat(branches, 1))
    low = conv(low)
    x = F.interpolate(x, size=low.shape[2:], mode="bilinear", align_corners=False)
    x = conv3(conv3(torch.cat([x, low], 1)))
    return F.conv2d(x, model.classifier.weight, model.classifier.bias)


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_equals_the_release_written_out(separable, size):
    model = build(separable=separable)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits = model.eval()(images).logits
        torch.testing.assert_close(logits, released(model, images, (6, 12, 18), separable), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("output_stride", "rates"), [(32, [3, 6, 9]), (16, [6, 12, 18]), (8, [12, 24, 36])])
def test_rates_follow_the_output_stride_unless_given(output_stride, rates):
    images = torch.randn(1, 3, 64, 64)
    derived, given, other = (build(output_stride, dilations=d).eval() for d in (None, rates, [1, 2, 3]))
    with torch.no_grad():
        torch.testing.assert_close(derived(images).logits, given(images).logits)
        assert not torch.allclose(derived(images).logits, other(images).logits)


@pytest.mark.parametrize("upsample", ["nearest", "bicubic", "transposed", "resize_conv"])
def test_every_way_of_upsampling(upsample):
    model = build(upsample=upsample).eval()
    assert model(torch.randn(1, 3, 65, 97)).logits.shape == (1, 5, 17, 25)


@pytest.mark.parametrize("name", ["vgg11_bn", "densenet121", "convnext_atto"])
def test_other_encoders(name):
    model = build(8, name=name).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).logits.shape == (1, 5, 16, 16)


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("refine", [[0, 0], [1, 1], [2, 3]])
def test_numbers_of_convolutions(refine, separable):
    model = build(refine=refine, separable=separable, norm_between=False)
    model(torch.randn(2, 3, 64, 64)).logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_separable_convolution_without_a_norm_between_is_linear_before_its_own():
    conv = SeparableConv(in_channels=4, out_channels=6, dilation=2, norm_between=False).eval()
    depthwise, pointwise = conv[0]
    x = torch.randn(1, 4, 9, 9)
    expected = F.conv2d(F.conv2d(x, depthwise.weight, padding=2, dilation=2, groups=4), pointwise.weight)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), F.relu(expected / (1 + 1e-5) ** 0.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepLabV3Plus(num_classes=5, encoder=Encoder(name="resnet18")), "the model says output_stride=16"),
        (lambda: build(32, name="visformer_tiny"), "none at 4"),
        (lambda: build().train()(torch.randn(1, 3, 64, 64)), "a batch of one image"),
        *((lambda r=r: build(refine=r), r"refine .*refine=\[0,2\]") for r in ([2], [1, -1], [0, 1.5])),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
