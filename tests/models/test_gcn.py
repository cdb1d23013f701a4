import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.gcn import GCN, BoundaryRefinement, GlobalConv, score_block

BLOCKS = ("gcn", "plain", "stacked")


def build(name="resnet10t", **options):
    torch.manual_seed(0)
    options = {"kernel_size": 5} | options
    return GCN(num_classes=3, encoder=Encoder(name=name), **options).eval()


def dense(first, second):
    """The kernel of two convolutions in a row, k x 1 and 1 x k in either order."""
    return torch.einsum("miab,omcd->oiacbd", first, second).flatten(2, 3).flatten(3, 4)


@pytest.mark.parametrize("size", [(12, 16), (7, 9)])
def test_global_convolution_is_a_large_kernel_of_rank_two(size):
    """Section 3.1: a k x k kernel, made of two products of a column and a row."""
    torch.manual_seed(0)
    block = GlobalConv(in_channels=4, out_channels=3, kernel_size=5)
    for name, parameter in block.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    tall, wide = ([conv.weight for conv in path] for path in (block.tall_first, block.wide_first))
    kernel = dense(*tall) + dense(*wide)
    assert kernel.shape == (3, 4, 5, 5)
    x = torch.randn(2, 4, *size)
    torch.testing.assert_close(block(x), F.conv2d(x, kernel, padding=2), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_every_block_sees_the_same_pixels_and_is_linear(block, kernel_size):
    torch.manual_seed(0)
    scores = score_block(block, 4, 2, kernel_size, None)
    x = torch.randn(1, 4, 17, 17, requires_grad=True)
    (gradient,) = torch.autograd.grad(scores(x)[..., 8, 8].sum(), x)
    seen = gradient.abs().sum((0, 1)) > 0
    radius = kernel_size // 2
    expected = torch.zeros(17, 17, dtype=torch.bool)
    expected[8 - radius : 9 + radius, 8 - radius : 9 + radius] = True
    assert torch.equal(seen, expected)
    other, zero = torch.randn_like(x), torch.zeros_like(x)
    with torch.no_grad():
        torch.testing.assert_close(scores(x + other), scores(x) + scores(other) - scores(zero), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("block", "kernel_size", "stack_channels", "thousands"),
    [
        *(("gcn", k, None, n) for k, n in ((3, 260), (5, 434), (7, 608), (9, 782))),  # table 2
        *(("plain", k, None, n) for k, n in ((3, 387), (5, 1075), (7, 2107), (9, 3484))),
        *(("stacked", 7, m, n) for m, n in ((2048, 75885), (1024, 28505), (210, 4307), (None, 75885))),  # table 4
    ],
)
def test_parameters_of_the_papers_tables(block, kernel_size, stack_channels, thousands):
    """From the 2048 channels of res-5 to 21 classes; the tables leave out biases."""
    with torch.device("meta"):
        scores = score_block(block, 2048, 21, kernel_size, stack_channels)
    weights = sum(p.numel() for name, p in scores.named_parameters() if name.endswith("weight"))
    assert weights / 1000 == pytest.approx(thousands, abs=1)


def test_boundary_refinement_adds_what_two_convolutions_correct():
    block = BoundaryRefinement(channels=3)
    x = torch.randn(2, 3, 7, 9)
    first, second = ((conv.weight, conv.bias) for conv in (block.conv1, block.conv2))
    residual = F.conv2d(F.relu(F.conv2d(x, *first, padding=1)), *second, padding=1)
    torch.testing.assert_close(block(x), x + residual)


def double(x, size):
    """The transposed convolution as it starts: bilinear interpolation that sees zeros beyond the border."""
    x = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")
    return x[..., 2 : 2 + size[0], 2 : 2 + size[1]]


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
@pytest.mark.parametrize("boundary_refinement", [True, False])
def test_is_the_pipeline_of_figure_2(size, boundary_refinement):
    model = build(boundary_refinement=boundary_refinement)
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        maps = dict(zip((4, 8, 16, 32), model.encoder(images)[1:], strict=True))
        scores = {s: model.refine_score[str(s)](model.score[str(s)](x)) for s, x in maps.items()}
        x = scores[32]
        for stride in (16, 8, 4):
            x = model.refine_sum[str(stride)](double(x, scores[stride].shape[2:]) + scores[stride])
        half = [(side + 1) // 2 for side in size]
        x = model.refine_sum["2"](double(x, half))
        x = model.refine_sum["1"](double(x, size))
        torch.testing.assert_close(model(images).logits, x, atol=1e-4, rtol=1e-4)


def test_refinement_is_all_that_turning_it_off_takes_away():
    """Nine refinements of two 3 x 3 convolutions each in figure 2."""
    on, off = (sum(p.numel() for p in build(boundary_refinement=b).parameters()) for b in (True, False))
    assert on - off == 9 * 2 * (9 * 3 * 3 + 3)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_learns(block):
    model = build(block=block, stack_channels=8)
    model(torch.randn(1, 3, 33, 47)).logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.score.parameters())
    assert all(p.grad.any() for p in model.score.parameters())


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "bicubic", "resize_conv"])
def test_every_way_of_upsampling(upsample):
    assert build(upsample=upsample)(torch.randn(1, 3, 33, 47)).logits.shape == (1, 3, 33, 47)


def test_an_encoder_that_ends_in_a_pooling():
    assert build(name="vgg11")(torch.randn(1, 3, 64, 64)).logits.shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(block="global"), "block 'global' .* choose gcn, plain or stacked"),
        *(
            (lambda block=block, k=k: build(block=block, kernel_size=k), f"kernel_size {k} must be odd and positive")
            for block, k in (("gcn", 4), ("plain", -1), ("stacked", 1))
        ),
        (lambda: GCN(num_classes=3, encoder=Encoder(name="resnet10t", output_stride=16)), "says output_stride=32"),
        (lambda: build(name="visformer_tiny"), "none at 4"),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
