import copy

import pytest
import torch
from timm.models.vgg import VGG
from torch import nn
from torch.nn import functional as F

from atrous.encoders import convolutionalise as module
from atrous.encoders.convolutionalise import convolutionalise, decimated_layers, hidden_layers
from atrous.errors import ConfigError


@pytest.fixture(scope="module")
def classifier():
    """torchvision's VGG head, narrower."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(8 * 7 * 7, 32),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(32, 10),
    ).eval()


def test_equals_the_classifier_on_its_native_map_and_on_each_window_of_a_larger_one(classifier):
    convs = convolutionalise(classifier, channels=8).eval()
    maps = torch.randn(2, 8, 9, 11)
    with torch.no_grad():
        scores = convs(maps)
        assert scores.shape == (2, 10, 3, 5)
        for i in range(3):
            for j in range(5):
                torch.testing.assert_close(scores[..., i, j], classifier(maps[..., i : i + 7, j : j + 7]))


def test_the_classifier_keeps_its_own_weights(classifier):
    before = copy.deepcopy(classifier.state_dict())
    convs = convolutionalise(classifier, channels=8)
    with torch.no_grad():
        for parameter in convs.parameters():
            parameter.zero_()
    torch.testing.assert_close(classifier.state_dict(), before)


def test_linear_layer_that_reads_no_square_map(classifier):
    with pytest.raises(ValueError, match="392 inputs does not read a square map of 9 channels; give channels="):
        convolutionalise(classifier, channels=9)


def test_hidden_layers_equal_the_classifiers(monkeypatch):
    torch.manual_seed(0)
    classifier = VGG([8, "M"]).eval()  # one convolution of 8 channels before the paper's fc6 and fc7
    monkeypatch.setattr(module, "create", lambda name, weights: classifier)
    maps = torch.randn(1, 8, 7, 7)
    with torch.no_grad():
        expected = classifier.pre_logits(maps)
        padded = hidden_layers(name="vgg16", weights="imagenet").eval()(maps)
    assert padded.shape == (1, 4096, 7, 7)
    torch.testing.assert_close(padded[..., 3:4, 3:4], expected)


def test_hidden_layers_of_a_classifier_without_any():
    assert len(hidden_layers(name="resnet18")) == 0


def test_hidden_layers_of_another_width_have_no_weights():
    with pytest.raises(ConfigError, match="'vgg16' has 4096 channels in fc6 and fc7, not 64; use channels=4096"):
        hidden_layers(name="vgg16", weights="imagenet", channels=64)
    assert hidden_layers(name="vgg16", channels=64)(torch.zeros(1, 512, 2, 3)).shape == (1, 64, 2, 3)


@pytest.mark.parametrize(("kernel_size", "hole"), [(7, 1), (4, 2), (3, 3)])
def test_decimated_layers_are_the_full_ones_with_values_left_out(monkeypatch, kernel_size, hole):
    torch.manual_seed(0)
    classifier = VGG([8, "M"]).eval()
    monkeypatch.setattr(module, "create", lambda name, weights: classifier)
    full = classifier.pre_logits
    layers = decimated_layers(
        name="vgg16", in_channels=8, weights="imagenet", channels=64, kernel_size=kernel_size, dilation=hole
    ).eval()
    maps = torch.randn(1, 8, 9, 11)
    with torch.no_grad():
        kernel = torch.zeros(64, 8, 7, 7)
        kernel[..., ::hole, ::hole] = full.fc1.weight[::64, :, ::hole, ::hole]
        x = F.relu(F.conv2d(maps, kernel, full.fc1.bias[::64], padding=3))
        expected = F.relu(F.conv2d(x, full.fc2.weight[::64, ::64], full.fc2.bias[::64]))
        torch.testing.assert_close(layers(maps), expected, atol=1e-5, rtol=1e-4)


def test_decimated_layers_of_a_classifier_without_any_start_at_random(monkeypatch):
    monkeypatch.setattr(module, "hidden_layers", lambda name, weights: nn.Sequential())
    layers = decimated_layers(name="resnet18", in_channels=8, weights="imagenet", channels=16)
    assert layers(torch.zeros(1, 8, 5, 7)).shape == (1, 16, 5, 7)


@pytest.mark.parametrize(("channels", "kernel_size"), [(1000, 3), (1024, 5), (1024, 1)])
def test_layers_that_can_not_be_decimated(monkeypatch, channels, kernel_size):
    monkeypatch.setattr(module, "create", lambda name, weights: VGG([8, "M"]))
    with pytest.raises(
        ConfigError, match=r"fc6 of 'vgg16' has 4096 channels and 7 x 7 values and can't be decimated to"
    ):
        decimated_layers(name="vgg16", in_channels=8, weights="imagenet", channels=channels, kernel_size=kernel_size)
