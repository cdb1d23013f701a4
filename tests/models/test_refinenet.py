import pytest
import torch
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.refinenet import RefineNet

STRIDES = (32, 16, 8, 4)


def build(name="resnet10t", **options):
    torch.manual_seed(0)
    options = {"decoder_channels": [16, 8, 8, 8]} | options
    return RefineNet(num_classes=5, encoder=Encoder(name=name), **options)


def shake(model):
    """Gives the decoder weights that show in the scores; it starts with small ones."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if not name.startswith("encoder."):
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def written_out(model, images, groups, pools):
    """`RefineNet.forward` of the PyTorch port, https://github.com/DrSleep/refinenet-pytorch, for any cascade of figure 7."""
    state = model.state_dict()

    def conv(x, name):
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), padding=1)

    def units(x, names):
        for name in names:
            x = x + conv(F.relu(conv(F.relu(x), f"{name}.conv1")), f"{name}.conv2")
        return x

    maps = dict(zip(STRIDES, reversed(model.encoder(images)), strict=False))
    paths = []
    for i, group in enumerate(groups):
        for s in group:
            x = conv(maps[s], f"adapt.{s}.1")
            paths.append(units(x, (f"adapt.{s}.2", f"adapt.{s}.3")))
        size = paths[-1].shape[2:]
        if len(paths) > 1:
            paths = [conv(x, f"blocks.{i}.fuse.{j}") for j, x in enumerate(paths)]
        x = sum(F.interpolate(x, size, mode="bilinear", align_corners=False) for x in paths)
        x = top = F.relu(x)
        for j in range(pools):
            top = conv(F.max_pool2d(top, 5, 1, 2), f"blocks.{i}.pool.convs.{j}")
            x = x + top
        paths = [units(x, [f"blocks.{i}.output.{j}" for j in range(3)])]
    return conv(paths[0], "classifier")


GROUPS = {4: [(32,), (16,), (8,), (4,)], 2: [(32, 16), (8, 4)], 1: [(32, 16, 8, 4)]}


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
@pytest.mark.parametrize(("cascades", "pools"), [(4, 2), (4, 4), (2, 2), (1, 2)])
def test_equals_the_port_written_out(size, cascades, pools):
    model = shake(build(cascades=cascades, pools=pools))
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = written_out(model, images, GROUPS[cascades], pools)
        torch.testing.assert_close(model(images).logits, expected, atol=1e-4, rtol=1e-4)


def test_starts_as_the_release_does():
    """Normals of deviation 0.01, biases zero."""
    model = build(decoder_channels=[64, 64, 64, 64])
    for name, parameter in model.named_parameters():
        if not name.startswith("encoder."):
            if parameter.dim() == 1:
                assert not parameter.any()
            else:
                assert parameter.std().item() == pytest.approx(0.01, rel=0.1)


def test_drops_out_the_coarse_maps_and_the_scores_in_training_only():
    model = shake(build())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images).logits, model(images).logits)
        model.train()
        model.encoder.eval()
        assert not torch.equal(model(images).logits, model(images).logits)
        still = shake(build(dropout=0.0))
        assert torch.equal(still.train()(images).logits, still(images).logits)


@pytest.mark.parametrize("upsample", ["nearest", "bicubic", "transposed", "resize_conv"])
@pytest.mark.parametrize("cascades", [4, 1])
def test_every_way_of_upsampling(upsample, cascades):
    model = build(upsample=upsample, cascades=cascades).eval()
    assert model(torch.randn(1, 3, 33, 47)).logits.shape == (1, 5, 9, 12)


@pytest.mark.parametrize(
    ("options", "stride", "message"),
    [
        ({"cascades": 3}, 32, "cascades 3 .* use 4, 2 or 1"),
        ({"decoder_channels": [256]}, 32, r"decoder_channels \[256\] must be four numbers"),
        ({"pools": 0}, 32, "pools 0 must be 1 or more"),
        ({}, 16, "the model says output_stride=32"),
    ],
)
def test_impossible_settings(options, stride, message):
    with pytest.raises(ConfigError, match=message):
        RefineNet(num_classes=5, encoder=Encoder(name="resnet10t", output_stride=stride), **options)
