import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.errors import ConfigError
from atrous.models.msd import MSD


def build(**options):
    torch.manual_seed(0)
    model = MSD(num_classes=4, **options)
    nn.init.normal_(model.classifier.weight)
    nn.init.normal_(model.bias, std=0.1)
    return model


def concatenating(model, images, width):
    """The paper written out: every layer reads all maps before it, padded by reflection."""
    maps, channel = images, 0
    for weight in model.weights:
        new = []
        for kernel in weight:
            dilation = channel % 10 + 1  # (i w + j) mod 10 + 1
            padded = F.pad(maps, (dilation,) * 4, mode="reflect")
            new.append(F.relu(F.conv2d(padded, kernel[None], model.bias[channel : channel + 1], dilation=dilation)))
            channel += 1
        maps = torch.cat([maps, *new], 1)
    assert channel == len(model.weights) * width
    return F.conv2d(maps, model.classifier.weight, model.classifier.bias)


@pytest.mark.parametrize(("depth", "width"), [(13, 1), (8, 2), (4, 3)])
@pytest.mark.parametrize("size", [(16, 20), (11, 13)])
def test_equals_concatenation_and_so_do_its_gradients(depth, width, size):
    model = build(depth=depth, width=width).double()
    images = torch.randn(2, 3, *size, dtype=torch.double, requires_grad=True)
    logits, expected = model(images).logits, concatenating(model, images, width)
    torch.testing.assert_close(logits, expected)
    weight = torch.randn_like(logits)
    inputs = [images, *model.parameters()]
    ours, reference = (torch.autograd.grad((x * weight).sum(), inputs) for x in (logits, expected))
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b)


def test_other_dilations_cycle():
    images = torch.randn(1, 3, 12, 12)
    long, short = build(depth=4, dilations=[1, 2, 1, 2]), build(depth=4, dilations=[1, 2])
    with torch.no_grad():
        torch.testing.assert_close(long(images).logits, short(images).logits)
        assert not torch.allclose(long(images).logits, build(depth=4)(images).logits)


@pytest.mark.parametrize(("depth", "width", "classes"), [(100, 1, 11), (200, 1, 11), (50, 2, 2)])
def test_parameters_of_the_paper_s_networks(depth, width, classes):
    """0.048 and 0.187 million with CamVid's 11 classes and width 1, at depth 100 and 200."""
    with torch.device("meta"):
        model = MSD(num_classes=classes, depth=depth, width=width)
    hidden = sum(width * (9 * (3 + width * i) + 1) for i in range(depth))
    total = sum(p.numel() for p in model.parameters())
    assert total == hidden + classes * (3 + depth * width + 1)
    if width == 1:
        assert round(total / 1e6, 3) == {100: 0.048, 200: 0.187}[depth]


def test_starts_as_the_release_does():
    model = MSD(num_classes=4, depth=60, width=2)
    weights = torch.cat([weight.flatten() for weight in model.weights])
    assert weights.std().item() == pytest.approx((2 / (9 * (3 + 2 * 59) + 4)) ** 0.5, rel=0.02)
    assert not model(torch.randn(1, 3, 16, 16)).logits.any()


def test_memory_of_a_training_step_grows_linearly():
    """Bytes that autograd keeps from the forward pass."""

    def kept(depth):
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: sizes.setdefault(x.untyped_storage().data_ptr(), x.untyped_storage().nbytes()) and x, lambda x: x
        ):
            model = MSD(num_classes=2, depth=depth)
            model(torch.randn(1, 3, 32, 32)).logits.sum()
        return sum(sizes.values())

    small, large = kept(20), kept(80)
    assert large < 4.5 * small


def test_autocast():
    model = build(depth=12)
    images = torch.randn(1, 3, 24, 24)
    expected = model(images).logits
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images).logits
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), expected, atol=0.1 * expected.abs().max().item(), rtol=0)
    logits.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_image_no_larger_than_the_dilation():
    with pytest.raises(
        ConfigError, match=r"an image of 30 x 10 can't be mirrored by 10 pixels.* use images of 11 pixels"
    ):
        build(depth=10)(torch.zeros(1, 3, 30, 10))
    assert build(depth=9)(torch.zeros(1, 3, 30, 10)).logits.shape == (1, 4, 30, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth 0 and width 1 must be 1 or more"),
        ({"width": 0}, "depth 100 and width 0 must be 1 or more"),
        ({"dilations": []}, "must be positive integers, at least one"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigError, match=message):
        MSD(num_classes=2, **options)
