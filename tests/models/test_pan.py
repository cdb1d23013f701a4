import pytest
import segmentation_models_pytorch as smp
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


def areas(model):
    """Lets segmentation-models-pytorch's PAN resize by areas, as ours does; it aligns corners."""
    for module in model.modules():
        if hasattr(module, "align_corners"):
            module.align_corners = False
    return model


def convert(theirs, ours):
    """Their parameters in ours: in order, with the biases before a norm moved into its mean, of which ours has none."""
    blocks = [theirs.fpa.branch1, theirs.fpa.mid, theirs.fpa.down1, theirs.fpa.down2, theirs.fpa.down3]
    convs = [m for block in blocks for m in block.modules() if hasattr(m, "bn")]
    convs = [*convs[:5], theirs.fpa.conv1, theirs.fpa.conv2, convs[5]]
    for gau in (theirs.gau3, theirs.gau2, theirs.gau1):
        convs += [gau.conv2, *(m for m in gau.conv1.modules() if hasattr(m, "bn"))]
    state = []
    for unit in convs:
        state += [unit.conv.weight, unit.bn.weight, unit.bn.bias, unit.bn.running_mean - unit.conv.bias]
        state += [unit.bn.running_var, unit.bn.num_batches_tracked]
    ours.load_state_dict(dict(zip(ours.state_dict(), state, strict=True)))


@pytest.mark.parametrize("size", [(128, 256), (256, 128)])
def test_equals_segmentation_models_pytorch(size):
    torch.manual_seed(0)
    theirs = areas(smp.PAN("resnet18", encoder_weights=None, classes=5)).eval()
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    ours = build(multi_grid=[1, 1], pooling="max", gate="sigmoid").eval()  # its encoder spreads the first block, too
    ours.encoder.load_state_dict(
        dict(zip(ours.encoder.state_dict(), theirs.encoder.state_dict().values(), strict=True))
    )
    parts = nn.ModuleDict({"attention": ours.attention, "decoder": ours.decoder})
    convert(theirs.decoder, parts)
    ours.classifier.load_state_dict(theirs.segmentation_head[0].state_dict())
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(images)))
        torch.testing.assert_close(ours(images).logits, expected, atol=1e-4, rtol=0)


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
