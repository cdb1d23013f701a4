import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.pan import PAN, FeaturePyramidAttention


def build(output_stride=16, multi_grid=None, name="resnet18", **options):
    torch.manual_seed(0)
    encoder = Encoder(name=name, output_stride=output_stride, multi_grid=multi_grid)
    return PAN(num_classes=5, encoder=encoder, output_stride=output_stride, multi_grid=multi_grid, **options)


def test_pyramid_averages_and_multiplies():
    """With kernels that copy their input's first channel and norms that do nothing, the weight of each pixel is the sum of
    its averages over 2 x 2, 4 x 4 and 8 x 8 pixels, drawn larger step by step."""
    attention = FeaturePyramidAttention(in_channels=2, channels=3, pooling="average").eval()
    for conv in attention.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.zeros_(conv.weight)
            conv.weight.data[:, 0, conv.weight.shape[2] // 2, conv.weight.shape[3] // 2] = 1
        elif isinstance(conv, nn.BatchNorm2d):
            conv.eps = 0
    x = torch.rand(1, 2, 16, 24)
    first = x[:, :1]
    weight = F.avg_pool2d(first, 8)
    for cells in (4, 2):
        weight = F.interpolate(weight, scale_factor=2, mode="bilinear") + F.avg_pool2d(first, cells)
    expected = first * F.interpolate(weight, scale_factor=2, mode="bilinear") + first.mean()
    with torch.no_grad():
        torch.testing.assert_close(attention(x), expected.expand(1, 3, 16, 24))


def test_default_gate_is_not_bounded_by_one():
    images = torch.randn(2, 3, 64, 64)
    relu, sigmoid = build().eval(), build(gate="sigmoid").eval()
    sigmoid.load_state_dict(relu.state_dict())
    with torch.no_grad():
        assert not torch.allclose(relu(images).logits, sigmoid(images).logits)


@pytest.mark.parametrize("upsample", ["nearest", "bicubic", "transposed", "resize_conv"])
@pytest.mark.parametrize("output_stride", [32, 16])
def test_every_way_of_upsampling(upsample, output_stride):
    model = build(output_stride, upsample=upsample).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).logits.shape == (1, 5, 17, 25)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto"])
def test_other_encoders(name):
    with torch.no_grad():
        assert build(name=name).eval()(torch.randn(1, 3, 64, 64)).logits.shape[:2] == (1, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(pooling="mean"), "pooling 'mean' is none of the pyramid's; choose average or max"),
        (lambda: build(gate="tanh"), "gate 'tanh' is no nonlinearity of PAN's; choose relu or sigmoid"),
        (lambda: build(upsample="cubic"), "upsample 'cubic' is not a way of upsampling"),
        (lambda: PAN(num_classes=5, encoder=Encoder(name="resnet18")), "the model says output_stride=16"),
        (lambda: build(32, name="visformer_tiny"), "has 3 maps and PAN reads four"),
        (lambda: build().train()(torch.randn(1, 3, 64, 64)), "a batch of one image can't train a BatchNorm"),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_gate_does_not_train_on_a_batch_of_one():
    model = build().train()
    model.attention.eval()
    with pytest.raises(ConfigError, match="a batch of one image"):
        model(torch.randn(1, 3, 64, 64))
