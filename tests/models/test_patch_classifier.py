import numpy as np
import pytest
import torch
from torch import nn

from atrous.errors import ConfigError
from atrous.models.patch_classifier import PatchClassifier

CLASSES = 3


def build(**options):
    torch.manual_seed(0)
    options = {"patch_size": 15, "kernel_sizes": [4, 3], "channels": 4, "hidden_channels": 6} | options
    model = PatchClassifier(num_classes=CLASSES, **options).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


class Tanh(nn.Module):
    def forward(self, x):
        return 1.7159 * torch.tanh(0.66666667 * x)


def plain(model, kernels, channels, hidden, size):
    """The network on one patch, with linear layers, as the paper draws it."""
    layers, width = [], 3
    for kernel in kernels:
        layers += [nn.Conv2d(width, channels, kernel), Tanh(), nn.MaxPool2d(2)]
        width = channels
    layers += [nn.Flatten(), nn.Linear(channels * size * size, hidden), Tanh(), nn.Linear(hidden, CLASSES)]
    net = nn.Sequential(*layers)
    values = zip(net.state_dict().items(), model.state_dict().values(), strict=True)
    net.load_state_dict({key: theirs.view_as(own) for (key, own), theirs in values})
    return net


def patch_at(images, row, column, size):
    """Numpy's mirror, which repeats where the image is smaller than the border."""
    half = size // 2
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (half, half), (half, half)), mode="reflect")
    return torch.from_numpy(padded[..., row : row + size, column : column + size].copy())


@pytest.mark.parametrize("mode", ["patches", "convolutional"])
@pytest.mark.parametrize("size", [(9, 20), (5, 4), (21, 17)])
def test_each_pixel_is_its_patch_through_the_plain_network(mode, size):
    model = build(mode=mode)
    net = plain(model, [4, 3], 4, 6, 2)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits = model(images).logits
        assert logits.shape == (2, CLASSES, *size)
        for row in range(0, size[0], 2):
            for column in range(0, size[1], 3):
                expected = net(patch_at(images, row, column, 15))
                torch.testing.assert_close(logits[..., row, column], expected, atol=1e-5, rtol=0)


def test_network_n4():
    torch.manual_seed(0)
    model = PatchClassifier(num_classes=CLASSES).eval()
    net = plain(model, [4, 5, 4, 4], 48, 200, 3)
    images = torch.randn(1, 3, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits[..., 4, 1], net(patch_at(images, 4, 1, 95)), atol=1e-5, rtol=0)


def test_both_forms_are_equal_and_learn_equally():
    images = torch.randn(2, 3, 11, 8)
    logits, gradients = [], []
    for mode in ("patches", "convolutional"):
        model = build(mode=mode, chunk=50).train()
        logits.append(model(images).logits)
        logits[-1].square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)
    assert all(gradient.any() for gradient in gradients[0])


def test_no_more_than_a_chunk_of_patches_at_a_time():
    seen = []
    model = build(mode="patches", chunk=7)
    model.classifier.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    images = torch.randn(1, 3, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, build(mode="patches").eval()(images).logits)
    assert seen == [7, 7, 7, 7, 2]


def test_unknown_mode():
    with pytest.raises(ConfigError, match="mode 'dense' is neither patches nor convolutional; choose one of them"):
        build(mode="dense")


def test_impossible_chunk():
    with pytest.raises(ConfigError, match="chunk 0 is no number of patches; use 1 or more, such as 256"):
        build(chunk=0)


@pytest.mark.parametrize(("patch_size", "near"), [(96, 95), (64, 63), (2, 63), (110, 111)])
def test_patch_that_does_not_come_out_even(patch_size, near):
    message = (
        rf"patch_size {patch_size} doesn't come out even .* \[4, 5, 4, 4\]; use {near} \(or 63 and a multiple of 16\)"
    )
    with pytest.raises(ConfigError, match=message):
        build(patch_size=patch_size, kernel_sizes=[4, 5, 4, 4])
    build(patch_size=near, kernel_sizes=[4, 5, 4, 4])
