import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.duc_hdc import DUCHDC, set_rates

CYCLE = [1, 2, 5, 9]
RELEASED = [[2, 2, 5, 9, *CYCLE * 4, 1, 2, 5], [5, 9, 17]]  # tusimple_duc/networks/resnet.py


@pytest.fixture(scope="module")
def resnet101s():
    with torch.device("meta"):
        return Encoder(name="resnet101s", output_stride=8)


def build(name="resnet18", **options):
    torch.manual_seed(0)
    model = DUCHDC(num_classes=3, encoder=Encoder(name=name, output_stride=8), **options).eval()
    for conv in model.scores.parameters():
        nn.init.normal_(conv, std=0.1)
    return model


def cells_seen(name, schedule):
    """Which cells of the map at stride 8 the centre of the last map depends on, by gradients through res4 and res5."""
    encoder = Encoder(name=name, output_stride=8).eval()
    set_rates(encoder, schedule)
    for conv in encoder.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.constant_(conv.weight, 1 / conv.weight[0].numel())  # positive: nothing cancels
        elif isinstance(conv, nn.BatchNorm2d):
            nn.init.ones_(conv.weight)  # timm starts the last one of a block at zero
    res4, res5 = list(encoder.net.children())[-2:]
    x = torch.ones(1, encoder.channels[-3], 25, 25, requires_grad=True)
    y = res5(res4(x))
    assert y.shape[2:] == x.shape[2:]
    y[0, 0, 12, 12].backward()
    return x.grad[0, 0] > 0


@pytest.mark.parametrize("name", ["resnet18", "resnet26"])
def test_equal_rates_leave_a_grid_of_holes(name):
    seen = cells_seen(name, "duc")
    assert seen[0::2, 0::2].all()  # up to 12 cells away
    assert not seen[1::2].any()
    assert not seen[:, 1::2].any()


@pytest.mark.parametrize(
    ("name", "schedule"),
    [("resnet18", [[1, 2], [3, 4]]), ("resnet26", [[1, 2], [5, 9]]), ("resnet18", "bigger"), ("resnet34", "hdc")],
)
def test_hybrid_rates_leave_no_holes(name, schedule):
    seen = cells_seen(name, schedule)
    rows, columns = torch.nonzero(seen, as_tuple=True)
    assert len(rows) > 9
    assert seen[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


@pytest.mark.parametrize(
    ("schedule", "res4", "res5"),
    [
        ("duc", [2] * 23, [4] * 3),
        ("hdc", [1, 2, 3] * 7 + [2, 2], [3, 4, 5]),
        ("bigger", CYCLE * 5 + [1, 2, 5], [5, 9, 17]),
        (RELEASED, *RELEASED),
    ],
)
def test_rates_of_resnet_101(resnet101s, schedule, res4, res5):
    set_rates(resnet101s, schedule)
    convs = [m for m in resnet101s.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [conv.dilation[0] for conv in convs[-26:]] == [*res4, *res5]
    assert all(conv.dilation == conv.padding and conv.stride == (1, 1) for conv in convs[-26:])
    assert all(conv.dilation == (1, 1) for conv in convs[:-26])


@pytest.mark.parametrize("cell", [1, 2])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_each_channel_fills_its_place_of_a_cell(cell, size):
    """Section 3.1 written out: a cell of r x r pixels comes from r * r channels of its own class."""
    model, images = build(cell=cell), torch.randn(1, 3, *size)
    r = 8 // cell
    with torch.no_grad():
        logits = model(images).logits
        features = model.encoder(images)[-1]
        maps = sum(
            F.conv2d(features, conv.weight, conv.bias, padding=rate, dilation=rate)
            for conv, rate in zip(model.scores, (6, 12, 18, 24), strict=True)
        )
    assert logits.shape == (1, 3, -(-size[0] // cell), -(-size[1] // cell))
    for y, x in itertools.product(range(r), range(r)):
        place = logits[:, :, y::r, x::r]
        torch.testing.assert_close(place, maps[:, y * r + x :: r * r, : place.shape[2], : place.shape[3]])


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "bicubic", "transposed", "resize_conv"])
def test_baselines_upsample_scores(upsample):
    model = build(upsample=upsample)
    images = torch.randn(1, 3, 65, 97)
    logits = model(images).logits
    assert logits.shape == (1, 3, 65, 97)
    assert sum(p.numel() for p in model.scores.parameters()) == 4 * 3 * (512 * 9 + 1)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(dilation_schedule="hybrid"), "'hybrid' is none that the paper names; choose duc, hdc or bigger"),
        (lambda: build(dilation_schedule=[[1, 2]]), "two lists of positive integers, one for each block of resnet18's"),
        (lambda: build(dilation_schedule=[[1, 2], [3]]), "resnet18's last two stages: 2 and 2"),
        (lambda: build(dilation_schedule=[[1, 2], [3, 0]]), "must be two lists of positive integers"),
        (
            lambda: build(name="mobilenetv3_small_050"),
            "of ResNet's blocks and encoder 'mobilenetv3_small_050' has none",
        ),
        (lambda: build(cell=3), "cell 3 does not divide a stride of 8 pixels; use cell=1, 2, 4 or 8"),
        (lambda: build(dilations=[]), "dilations .* must be positive integers"),
        (lambda: build(upsample="cubic"), "upsample 'cubic' is not a way of upsampling"),
        (lambda: DUCHDC(num_classes=3, encoder=Encoder(name="resnet18")), "the model says output_stride=8"),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
