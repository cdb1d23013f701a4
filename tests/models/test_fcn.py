import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.convolutionalise import hidden_layers
from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.fcn import FCN


def build(skip=8, name="vgg11", **options):
    torch.manual_seed(0)
    return FCN(
        num_classes=4,
        encoder=Encoder(name=name),
        classifier=hidden_layers(name=name, channels=32),
        skip=skip,
        **options,
    ).eval()


def shake(model):
    """Moves the scores off their initial zeros."""
    torch.manual_seed(1)
    for parameter in model.score.parameters():
        nn.init.normal_(parameter)
    return model


def double(x, factor):
    """The transposed convolution as it starts: bilinear interpolation that sees zeros beyond the border."""
    x = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=factor, mode="bilinear")
    return x[..., factor:-factor, factor:-factor]


@pytest.mark.parametrize("skip", [32, 16, 8])
def test_sums_the_scores_of_pools_as_the_paper_draws_it(skip):
    model = shake(build(skip))
    images = torch.randn(1, 3, 64, 96)
    x, pools = images, []
    for layer in model.encoder.net.children():
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            pools.append(x)
    score = model.score["32"](model.classifier(pools[4]))
    for stride, pool in ((16, pools[3]), (8, pools[2])):
        if stride >= skip:
            score = double(score, 2) + model.score[str(stride)](pool)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, double(score, skip), atol=1e-5, rtol=1e-4)


def test_scores_start_at_zero():
    assert not build()(torch.randn(1, 3, 32, 32)).logits.any()


def test_odd_images_are_padded_with_zeros_and_cropped():
    model = shake(build())
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        whole = model(F.pad(images, (0, 31, 0, 31))).logits
        torch.testing.assert_close(model(images).logits, whole[..., :65, :97])


@pytest.mark.parametrize(("coarse", "fine"), [(32, 16), (16, 8)])
def test_a_stage_starts_from_the_one_before(coarse, fine):
    """With the new score still at zero the finer net computes what the coarser one did, inside the border."""
    before, after = shake(build(coarse)), build(fine)
    missing, unexpected = after.load_state_dict(before.state_dict(), strict=False)
    learned = {name for name, parameter in before.named_parameters() if parameter.requires_grad}
    assert not learned & set(unexpected)
    assert not learned & set(missing)
    images = torch.randn(1, 3, 160, 160)
    inner = slice(64, 96)
    with torch.no_grad():
        a, b = before(images).logits[..., inner, inner], after(images).logits[..., inner, inner]
    assert F.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.99


def test_the_last_upsampling_is_fixed_and_the_others_are_learned():
    model = shake(build(16))
    model(torch.randn(1, 3, 64, 64)).logits.square().sum().backward()
    trained = [p.shape[-1] for p in model.upscore.parameters() if p.grad is not None and p.grad.any()]
    assert trained == [4]
    assert [p.shape[-1] for p in model.upscore.parameters()] == [4, 32]


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "bicubic", "resize_conv"])
def test_every_way_of_upsampling(upsample):
    model = shake(build(upsample=upsample))
    assert model(torch.randn(1, 3, 33, 47)).logits.shape == (1, 4, 33, 47)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_cnn_without_hidden_layers():
    model = shake(build(name="resnet18"))
    assert model(torch.randn(1, 3, 33, 47)).logits.shape == (1, 4, 33, 47)
    assert (
        FCN(num_classes=4, encoder=Encoder(name="resnet18"), classifier=None).state_dict().keys()
        == model.state_dict().keys()
    )


def test_impossible_skip():
    with pytest.raises(ConfigError, match="skip 4 is not a stride that FCN scores; use skip=32, 16 or 8"):
        build(4)


def test_encoder_at_another_stride():
    with pytest.raises(ConfigError, match="the model says output_stride=32"):
        FCN(num_classes=4, encoder=Encoder(name="resnet18", output_stride=16), classifier=nn.Sequential())
