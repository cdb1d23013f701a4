import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.deeplabv3 import DeepLabV3


def build(output_stride=16, multi_grid=None, name="resnet18", **options):
    torch.manual_seed(0)
    encoder = Encoder(name=name, output_stride=output_stride, multi_grid=multi_grid)
    options = {"aspp_channels": 24} | options
    return DeepLabV3(num_classes=5, encoder=encoder, output_stride=output_stride, multi_grid=multi_grid, **options)


def shake(model):
    """Moves batch norms off their start, where they hide mistakes."""
    torch.manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.8, 1.2)
    return model.eval()


def copy_in_order(source, target):
    theirs, ours = source.state_dict(), target.state_dict()
    target.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))


@pytest.mark.parametrize("size", [(64, 96), (48, 80)])
def test_equals_segmentation_models_pytorch(size):
    """At output stride 16, where its rate of the last stage, the first block included, is ours with multi_grid [1, 1]."""
    options = {"encoder_output_stride": 16, "decoder_atrous_rates": (6, 12, 18)}
    theirs = shake(smp.DeepLabV3("resnet18", encoder_weights=None, decoder_channels=24, classes=5, **options))
    ours = build(multi_grid=[1, 1], refine=True).eval()
    copy_in_order(theirs.encoder, ours.encoder)
    copy_in_order(theirs.decoder.aspp, ours.context)
    copy_in_order(nn.Sequential(theirs.decoder.conv, theirs.decoder.bn), ours.refine)
    copy_in_order(theirs.segmentation_head[0], ours.classifier)
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(images)))
        torch.testing.assert_close(ours(images).logits, expected, atol=1e-4, rtol=0)


def basic_block(block, x, rate):
    def conv_norm(x, conv, norm):
        x = F.conv2d(x, conv.weight, padding=rate, dilation=rate)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)

    y = conv_norm(F.relu(conv_norm(x, block.conv1, block.bn1)), block.conv2, block.bn2)
    return F.relu(x + y)


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (4, 8, 16)), (8, (8, 16, 32))])
def test_cascaded_blocks_double_the_rate_times_the_multi_grid(output_stride, rates):
    """Figure 3: block4 reads at rate 2 at output stride 16, block5 at 4, block6 at 8, block7 at 16."""
    model = shake(build(output_stride, multi_grid=[1, 2], cascade=3))
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        x = model.encoder(images)[-1]
        for stage, rate in zip(model.context, rates, strict=True):
            for block, unit in zip(stage, (1, 2), strict=True):
                x = basic_block(block, x, rate * unit)
        expected = F.conv2d(x, model.classifier.weight, model.classifier.bias)
        torch.testing.assert_close(model(images).logits, expected, atol=1e-4, rtol=1e-4)


def test_cascaded_blocks_start_as_copies_of_the_last_stage():
    model = build(cascade=1)
    last = model.encoder.net["layer4"][1]
    first, second = model.context[0]
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    for block in (first, second):
        for copied, original in zip(block.parameters(), last.parameters(), strict=True):
            torch.testing.assert_close(copied, original)
            assert copied is not original


def test_a_cascade_of_bottlenecks():
    model = build(multi_grid=[1, 2], cascade=2, name="resnet26").eval()
    assert model(torch.randn(1, 3, 33, 50)).logits.shape == (1, 5, 3, 4)


@pytest.mark.parametrize(("output_stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_aspp_rates_follow_the_output_stride_unless_given(output_stride, rates):
    images = torch.randn(1, 3, 64, 64)
    derived, given, other = (build(output_stride, dilations=d).eval() for d in (None, rates, [1, 2, 3]))
    with torch.no_grad():
        torch.testing.assert_close(derived(images).logits, given(images).logits)
        assert not torch.allclose(derived(images).logits, other(images).logits)


def test_auxiliary_scores_only_when_asked():
    images = torch.randn(1, 3, 64, 64)
    assert build().eval()(images).aux == ()
    (aux,) = build(aux=True).eval()(images).aux
    assert aux.shape == (1, 5, 4, 4)


def test_a_batch_of_one_trains_in_cascade_but_not_with_aspp():
    images = torch.randn(1, 3, 64, 64)
    assert build(cascade=1).train()(images).logits.shape == (1, 5, 4, 4)
    with pytest.raises(ConfigError, match="a batch of one image"):
        build().train()(images)


def test_encoder_built_with_another_multi_grid():
    with pytest.raises(ConfigError, match=r"the model says output_stride=16, multi_grid=\[1, 2\]"):
        DeepLabV3(num_classes=5, encoder=Encoder(name="resnet18", output_stride=16), multi_grid=[1, 2])


@pytest.mark.parametrize("cascade", [4, -1])
def test_impossible_cascade(cascade):
    with pytest.raises(
        ConfigError, match=f"cascade {cascade} is no number of blocks after block4; use 1 to 3, or 0 for"
    ):
        build(cascade=cascade)


@pytest.mark.parametrize("name", ["vgg11_bn", "convnext_atto", "efficientnet_lite0"])
def test_cascade_needs_a_resnet(name):
    with pytest.raises(ConfigError, match=f"cascade copies the last stage of a ResNet and encoder '{name}' is none"):
        build(cascade=1, name=name)
