from functools import cache

import pytest
import torch
from torch import nn

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.deeplabv1 import DeepLabV1

CLASSES = 4


encoder = cache(Encoder)  # timm's VGGs take a second to build


def build(output_stride=8, name="vgg11", **options):
    built = encoder(name=name, output_stride=output_stride)
    torch.manual_seed(0)
    options = {"fc_channels": 32} | options
    return DeepLabV1(num_classes=CLASSES, encoder=built, output_stride=output_stride, **options).eval()


def released(width):
    """train.prototxt of DeepLab-LargeFOV, layer by layer."""
    layers, channels = [], 3
    for stage, count, hole, stride in (64, 2, 1, 2), (128, 2, 1, 2), (256, 3, 1, 2), (512, 3, 1, 1), (512, 3, 2, 1):
        for _ in range(count):
            layers += [nn.Conv2d(channels, stage, 3, padding=hole, dilation=hole), nn.ReLU()]
            channels = stage
        layers.append(nn.MaxPool2d(3, stride, padding=1, ceil_mode=True))
    layers += [
        nn.AvgPool2d(3, 1, padding=1),
        nn.Conv2d(512, width, 3, padding=12, dilation=12),
        nn.ReLU(),
        nn.Dropout(),
    ]
    layers += [nn.Conv2d(width, width, 1), nn.ReLU(), nn.Dropout(), nn.Conv2d(width, CLASSES, 1)]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("size", [(65, 97), (33, 49)])
def test_equals_the_release(size):
    ours, theirs = build(name="vgg16"), released(32)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = theirs(images)
        scale = expected.std(dim=(2, 3)).min()  # scores start almost flat
        torch.testing.assert_close(ours(images).logits / scale, expected / scale, atol=1e-4, rtol=0)


def test_map_of_the_papers_crop():
    """321 x 321, of which poolings leave 161, 81 and 41 (train.prototxt)."""
    with torch.device("meta"):
        model = DeepLabV1(num_classes=CLASSES, encoder=Encoder(name="vgg16", output_stride=8))
        assert model(torch.empty(1, 3, 321, 321)).logits.shape == (1, CLASSES, 41, 41)


@pytest.mark.parametrize(
    ("kernel_size", "dilation", "fc_channels", "parameters"),
    [(7, 4, 4096, 134.3e6), (4, 4, 4096, 65.1e6), (4, 8, 4096, 65.1e6), (3, 12, 1024, 20.5e6)],
)
def test_sizes_and_maps_of_table_2(kernel_size, dilation, fc_channels, parameters):
    with torch.device("meta"):
        model = DeepLabV1(
            num_classes=21,
            encoder=Encoder(name="vgg16", output_stride=8),
            kernel_size=kernel_size,
            dilation=dilation,
            fc_channels=fc_channels,
        )
        assert model(torch.empty(1, 3, 65, 97)).logits.shape == (1, 21, 9, 13)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.002)


@pytest.mark.parametrize(("output_stride", "dilation"), [(8, 12), (16, 6), (32, 3)])
def test_the_rate_follows_the_output_stride_unless_given(output_stride, dilation):
    images = torch.randn(1, 3, 97, 97)
    derived, given, other = (build(output_stride, dilation=rate) for rate in (None, dilation, 1))
    with torch.no_grad():
        torch.testing.assert_close(derived(images).logits, given(images).logits)
        assert not torch.allclose(derived(images).logits, other(images).logits)


def test_another_cnn():
    with torch.no_grad():
        assert build(name="resnet18")(torch.randn(1, 3, 33, 50)).logits.shape == (1, CLASSES, 5, 7)


def test_gradient_reaches_every_parameter():
    model = build().train()
    model(torch.randn(2, 3, 65, 65)).logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_impossible_rate():
    with pytest.raises(ConfigError, match=r"dilations \[0\] must be positive integers"):
        build(dilation=0)


def test_encoder_built_at_another_stride():
    with pytest.raises(ConfigError, match="the model says output_stride=8"):
        DeepLabV1(num_classes=CLASSES, encoder=Encoder(name="resnet18"))
