import pytest
import torch
from torch import nn

from atrous.encoders.encoder import Encoder
from atrous.encoders.vgg import encode, mirrored_channels, overlap_poolings
from atrous.errors import ConfigError


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return Encoder(name="vgg11_bn").eval()


@torch.no_grad()
def test_encodes_as_the_encoder_does_and_knows_where_the_maxima_stood(vgg):
    images = torch.randn(2, 3, 64, 96)
    maps = vgg(images)
    x, pooled = encode(vgg, images)
    torch.testing.assert_close(x, maps[-1])
    for before, (indices, size) in zip(maps, pooled, strict=False):
        assert size == tuple(before.shape[-2:])
        maxima = before.flatten(2).gather(2, indices.flatten(2)).view_as(indices)
        torch.testing.assert_close(maxima, nn.MaxPool2d(2)(before))


@torch.no_grad()
def test_poolings_of_odd_maps_round_up(vgg):
    x, pooled = encode(vgg, torch.randn(1, 3, 33, 47))
    assert [size for _, size in pooled] == [(33, 47), (17, 24), (9, 12), (5, 6), (3, 3)]
    assert x.shape == (1, 512, 2, 2)


def test_mirrored_channels(vgg):
    assert mirrored_channels(vgg) == [
        [(512, 512), (512, 512)],
        [(512, 512), (512, 256)],
        [(256, 256), (256, 128)],
        [(128, 64)],
        [(64, 3)],
    ]


def test_only_a_vgg_can_be_mirrored():
    with pytest.raises(ConfigError, match=r"encoder 'resnet18' has no stages that each end in .* use a VGG"):
        mirrored_channels(Encoder(name="resnet18"))


def test_only_at_stride_32():
    with pytest.raises(ConfigError, match="the model says output_stride=32"):
        mirrored_channels(Encoder(name="resnet18", output_stride=16))


def test_overlapping_poolings_leave_other_encoders_alone():
    torch.manual_seed(0)
    encoder = Encoder(name="resnet18").eval()
    images = torch.randn(1, 3, 33, 33)
    with torch.no_grad():
        before = encoder(images)
        overlap_poolings(encoder)
        torch.testing.assert_close(encoder(images), before)
