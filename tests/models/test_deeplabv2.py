import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.deeplabv2 import DeepLabV2

CLASSES = 4
ASPP_S, ASPP_L = (2, 4, 8, 12), (6, 12, 18, 24)


def build(output_stride=8, name="resnet18", **options):
    torch.manual_seed(0)
    encoder = Encoder(name=name, output_stride=output_stride)
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):  # timm's blocks start as identities
            nn.init.uniform_(norm.weight, 0.5, 1.0)
    return DeepLabV2(num_classes=CLASSES, encoder=encoder, output_stride=output_stride, **options).eval()


def released(model, images, rates, scales):
    """The release's train.prototxt for ResNet, on timm's own dilated ResNet."""
    backbone = timm.create_model("resnet18", features_only=True, output_stride=8).eval()
    backbone.load_state_dict(model.encoder.net.state_dict())
    weights = [p for name, p in model.named_parameters() if not name.startswith("encoder")]

    def score(x):
        x = backbone(x)[-1]
        pairs = zip(rates, weights[::2], weights[1::2], strict=True)
        return sum(F.conv2d(x, weight, bias, padding=rate, dilation=rate) for rate, weight, bias in pairs)

    def interp(x, size):
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    scores = [score(interp(images, [round(side * scale) for side in images.shape[2:]])) for scale in scales]
    fusion = scores[0]
    for other in scores[1:]:
        fusion = torch.max(fusion, interp(other, scores[0].shape[2:]))
    return fusion, scores


@pytest.mark.parametrize("rates", [ASPP_S, ASPP_L])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_equals_the_release_with_resnet(size, rates):
    model = build(dilations=rates)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits, aux = model(images)
        fusion, scores = released(model, images, rates, (1, 0.75, 0.5))
    torch.testing.assert_close(logits, fusion, atol=1e-4, rtol=0)
    torch.testing.assert_close(aux, tuple(scores), atol=1e-4, rtol=0)


def test_equals_the_release_with_vgg():
    model = build(name="vgg11", scales=[1], fc_channels=16)
    images = torch.randn(1, 3, 65, 97)
    weights = iter([p for name, p in model.named_parameters() if not name.startswith("encoder")])
    with torch.no_grad():
        x = model.encoder(images)[-1]
        assert x.shape == (1, 512, 9, 13)
        expected = torch.zeros(1, CLASSES, 9, 13)
        for rate in ASPP_L:
            y = F.relu(F.conv2d(x, next(weights), next(weights), padding=rate, dilation=rate))
            y = F.relu(F.conv2d(y, next(weights), next(weights)))
            expected += F.conv2d(y, next(weights), next(weights))
        output = model(images)
    scale = expected.std(dim=(2, 3)).min()  # scores start almost flat
    torch.testing.assert_close(output.logits / scale, expected / scale, atol=1e-4, rtol=0)
    assert output.aux == ()


def test_the_loss_of_each_scale_reaches_the_net_by_itself():
    model = build().train()
    for logits in model(torch.randn(2, 3, 64, 64)).aux:
        model.zero_grad()
        logits.square().mean().backward(retain_graph=True)
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(("output_stride", "rates"), [(8, ASPP_L), (16, [3, 6, 9, 12])])
def test_rates_follow_the_output_stride_unless_given(output_stride, rates):
    images = torch.randn(1, 3, 64, 64)
    derived, given, other = (build(output_stride, dilations=d, scales=[1]) for d in (None, rates, [1, 1, 1, 1]))
    with torch.no_grad():
        torch.testing.assert_close(derived(images).logits, given(images).logits)
        assert not torch.allclose(derived(images).logits, other(images).logits)


@pytest.mark.parametrize("scales", [[], [1, 0]])
def test_impossible_scales(scales):
    with pytest.raises(
        ConfigError, match=r"scales \[.*\] must be positive, at least one; give for instance scales=\[1,"
    ):
        build(scales=scales)


def test_impossible_rates():
    with pytest.raises(ConfigError, match=r"dilations \[\] must be positive integers"):
        build(dilations=[])


def test_encoder_built_at_another_stride():
    with pytest.raises(ConfigError, match="the model says output_stride=8"):
        DeepLabV2(num_classes=CLASSES, encoder=Encoder(name="resnet18"))
