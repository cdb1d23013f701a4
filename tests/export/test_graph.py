import cv2
import numpy as np
import pytest
import torch
from tiny import MEAN, STD, Coarse, make
from torch import nn

from atrous.data.transforms import normalise
from atrous.errors import ConfigError
from atrous.export.graph import trace
from atrous.models.adapter import adapt
from atrous.models.pspnet import PyramidPooling
from atrous.models.unet import ContractingPath, UNet
from atrous.types import SegOutput


def picture(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize("size", [(41, 67), (40, 64), (1, 9)])
def test_the_graph_is_normalisation_network_resize_and_argmax(coarse, size):
    image = picture(*size)
    with torch.no_grad():
        labels, logits, probabilities = coarse(torch.from_numpy(image[None]))
        expected = coarse.model(normalise(image, MEAN, STD)[None]).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    planes = [cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in expected[0].numpy()]
    resized = np.stack([plane.reshape(size) for plane in planes])
    assert labels.dtype == torch.uint8
    assert (labels[0].numpy() == resized.argmax(0)).mean() > 0.999  # OpenCV rounds otherwise
    scores = np.exp(resized) / np.exp(resized).sum(0)
    np.testing.assert_allclose(probabilities[0].numpy(), scores, atol=1e-4)


def test_more_classes_than_a_byte_holds():
    torch.manual_seed(0)
    labels, logits = make(Coarse(300))(torch.from_numpy(picture(1, 30, 40)))
    assert labels.dtype == torch.int32
    assert logits.shape[1] == 300


def test_a_program_takes_other_sizes(coarse, traced):
    program, taken = traced
    assert taken["batch"] == (1, None)
    for shape in ((1, 33, 47), (3, 64, 40), (2, 121, 20)):
        images = torch.from_numpy(picture(*shape))
        with torch.no_grad():
            for found, expected in zip(program.module()(images), coarse(images), strict=True):
                torch.testing.assert_close(found, expected)


class Positions(nn.Module):
    """Adds what was learned for one size."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Conv2d(3, 2, 1)
        self.positions = nn.Parameter(torch.randn(1, 2, 32, 48))

    def forward(self, images):
        return SegOutput(self.scores(images) + self.positions)


class BySize(nn.Module):
    """Does one of two things, by the image's height."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        logits = self.scores(images)
        return SegOutput(-logits if images.shape[2] > 100 else logits)


def test_fixed_sizes_are_found():
    _, taken = trace(make(Positions()), (32, 48))
    assert taken == {"batch": (1, None), "height": (32, 32), "width": (48, 48)}


def test_one_size_alone_on_request(coarse):
    _, taken = trace(coarse, (50, 70), fixed=True)
    assert taken == {"batch": (1, None), "height": (50, 50), "width": (70, 70)}


@pytest.mark.parametrize(("size", "heights"), [((60, 80), (2, 100)), ((120, 80), (101, None))])
def test_ranges_of_sizes_are_found(size, heights):
    _, taken = trace(make(BySize()), size)
    assert taken == {"batch": (1, None), "height": heights, "width": (2, None)}


class ByValue(nn.Module):
    def forward(self, images):
        return SegOutput(images[:, :2] if images.sum() > 0 else images[:, 1:])


def test_a_network_that_cannot_be_followed():
    with pytest.raises(
        ConfigError,
        match=r"ByValue can't be exported from an image of 16 x 24: .*[^.]\. Its forward.*size=\[height,width\]",
    ):
        trace(make(ByValue()), (16, 24))


def test_a_third_partys_network_takes_sizes_that_are_no_multiple_of_32():
    torch.manual_seed(0)
    net = make(adapt(nn.Sequential(nn.Conv2d(3, 4, 32, stride=32), nn.UpsamplingBilinear2d(scale_factor=8))))
    program, taken = trace(net, (65, 97))
    assert taken["height"][0] <= 65
    assert taken["width"][1] is None
    for shape in ((1, 64, 96), (2, 70, 129), (1, 91, 66)):
        images = torch.from_numpy(picture(*shape))
        with torch.no_grad():
            found, expected = program.module()(images)[0], net(images)[0]
        assert (found == expected).float().mean() > 0.9999


@pytest.mark.parametrize("shape", [(1, 37, 50), (2, 80, 23)])
def test_pyramid_pooling_takes_maps_smaller_and_larger_than_its_example(shape):
    """Exported as a product of matrices, since ONNX's form of an adaptive pooling fits one size."""

    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = PyramidPooling(in_channels=3, pool_sizes=[1, 2, 6])

        def forward(self, images):
            return SegOutput(self.pool(images))

    torch.manual_seed(0)
    net = make(Pyramid())
    program, taken = trace(net, (60, 41))
    assert taken["height"][1] is taken["width"][1] is None
    images = torch.from_numpy(picture(*shape))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images)[1], net(images)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 36), (33, 35)])
def test_a_padded_unet_followed_on_even_or_odd_sides_takes_both(size):
    path = ContractingPath(channels=(4, 6), padded=True)
    net = make(UNet(num_classes=3, encoder=path, padded=True))
    program, taken = trace(net, size)
    smallest, _ = taken["height"]
    for shape in ((1, 32, 36), (1, 33, 35), (2, smallest, 41)):
        images = torch.from_numpy(picture(*shape))
        with torch.no_grad():
            for found, expected in zip(program.module()(images), net(images), strict=True):
                torch.testing.assert_close(found, expected)
