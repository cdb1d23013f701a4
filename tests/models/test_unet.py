import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.unet import ContractingPath, UNet


def build(padded=False, channels=(4, 6, 8, 10, 12), steps=(9, 7, 5, 4), batch_norm=False, **options):
    torch.manual_seed(0)
    path = ContractingPath(channels=channels, padded=padded, batch_norm=batch_norm)
    model = UNet(
        num_classes=3, encoder=path, padded=padded, decoder_channels=steps, batch_norm=batch_norm, **options
    ).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, -0.1, 0.1)
    return model


def build_with_encoder(name="resnet18", steps=(256, 128, 64, 32, 16), upsample="nearest", **options):
    torch.manual_seed(0)
    encoder = Encoder(name=name, **options)
    return UNet(
        num_classes=5, encoder=encoder, padded=True, batch_norm=True, upsample=upsample, decoder_channels=steps
    ).eval()


def figure_1(model, x):
    """The paper's figure 1, layer after layer."""
    state = iter([p for p in model.parameters() if p.dim() == 4])
    biases = iter([p for p in model.parameters() if p.dim() == 1])

    def conv(x, function=F.conv2d, **options):
        return function(x, next(state), next(biases), **options)

    left = []
    for i in range(5):
        x = F.relu(conv(F.relu(conv(F.max_pool2d(x, 2) if i else x))))
        left.append(x)
    for map_ in left[-2::-1]:
        x = F.relu(conv(x, F.conv_transpose2d, stride=2))
        top, side = ((a - b) // 2 for a, b in zip(map_.shape[2:], x.shape[2:], strict=True))
        x = torch.cat([x, map_[:, :, top : top + x.shape[2], side : side + x.shape[3]]], 1)
        x = F.relu(conv(F.relu(conv(x))))
    return conv(x)


def test_equals_figure_1():
    model = build()
    images = torch.randn(1, 3, 188, 204)
    with torch.no_grad():
        expected = figure_1(model, images)
        assert expected.shape == (1, 3, 4, 20)
        torch.testing.assert_close(model.valid(images), expected)


def test_sizes_and_parameters_of_figure_1():
    with torch.device("meta"):
        model = UNet(num_classes=2, encoder=ContractingPath())
        assert model.valid(torch.empty(1, 3, 572, 572)).shape == (1, 2, 388, 388)
        features = model.encoder(torch.empty(1, 3, 572, 572))
    assert [(f.shape[1], f.shape[2]) for f in features] == [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]
    left = sum(
        9 * i * o + o
        for i, o in zip(
            [3, 64, 64, 128, 128, 256, 256, 512, 512, 1024],
            [*[64] * 2, *[128] * 2, *[256] * 2, *[512] * 2, *[1024] * 2],
            strict=True,
        )
    )
    right = sum(4 * 2 * c * c + c + 9 * 2 * c * c + c + 9 * c * c + c for c in (512, 256, 128, 64))
    assert sum(p.numel() for p in model.parameters()) == left + right + 64 * 2 + 2


@pytest.mark.parametrize("size", [(33, 50), (64, 64), (101, 204)])
def test_unpadded_logits_are_those_of_the_mirrored_image(size):
    model = build()
    images = torch.randn(2, 3, *size)
    height, width = size
    extra = [-(side + 124) % 16 for side in size]  # valid inputs are 16 n + 60, and 184 larger than their logits
    mirrored = np.pad(images.numpy(), ((0, 0), (0, 0), (92, 92 + extra[0]), (92, 92 + extra[1])), mode="reflect")
    with torch.no_grad():
        expected = figure_1(model, torch.from_numpy(mirrored))[..., :height, :width]
        torch.testing.assert_close(model(images).logits, expected)


def test_starts_with_he_s_deviations():
    torch.manual_seed(0)
    model = UNet(num_classes=2, encoder=ContractingPath(channels=(64, 64, 128)), decoder_channels=(64, 64))
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels > 3:
            read = module.in_channels * module.kernel_size[0] ** 2
        elif isinstance(module, nn.ConvTranspose2d):
            read = module.in_channels  # a stride as large as the kernel: one tap reaches each pixel
        else:
            continue
        if module.weight.numel() > 2000:
            assert module.weight.std().item() == pytest.approx((2 / read) ** 0.5, rel=0.03)
        assert not module.bias.any()


def test_dropout_ends_the_contracting_path():
    path = ContractingPath(channels=(2, 3, 4, 5, 6), padded=True).train()
    images = torch.randn(1, 3, 64, 64)
    first, second = path(images), path(images)
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [True, True, True, False, False]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "bicubic", "transposed", "resize_conv"])
def test_padded_variant_and_every_way_of_upsampling(upsample, batch_norm):
    model = build(padded=True, upsample=upsample, batch_norm=batch_norm)
    logits = model(torch.randn(2, 3, 47, 65)).logits
    assert logits.shape == (2, 3, 47, 65)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("upsample", ["nearest", "resize_conv"])
def test_unpadded_with_another_upsampling(upsample):
    model = build(upsample=upsample)
    assert model(torch.randn(1, 3, 40, 60)).logits.shape == (1, 3, 40, 60)


@pytest.mark.parametrize("name", ["vgg11_bn", "convnext_atto"])
def test_other_encoders(name):
    model = build_with_encoder(name, steps=(16, 8, 8, 8, 8))
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).logits.shape == (1, 5, 65, 97)


def test_dilated_encoder_and_fewer_steps():
    model = build_with_encoder(steps=(16, 8), output_stride=16, upsample="transposed")
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).logits.shape == (1, 5, 17, 25)


@pytest.mark.parametrize(("side", "near"), [(570, 572), (187, 188), (100, 188), (184, 188), (573, 588)])
def test_side_that_does_not_halve_evenly(side, near):
    with pytest.raises(ConfigError, match=f"can't take a side of {side} pixels.* the next that it can is {near}"):
        build().valid(torch.zeros(1, 3, 188, side))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(padded=True).valid(torch.zeros(1, 3, 188, 188)), "a padded U-Net's logits cover the image"),
        (
            lambda: UNet(num_classes=2, encoder=ContractingPath(padded=True)),
            "the model says padded=False but its ContractingPath is padded; let the contracting path follow",
        ),
        (
            lambda: UNet(num_classes=2, encoder=ContractingPath(), padded=True),
            "the model says padded=True but its ContractingPath is not padded",
        ),
        (
            lambda: UNet(num_classes=2, encoder=Encoder(name="resnet18")),
            "padded=False but its Encoder is padded.* use padded=true with a timm encoder",
        ),
        (lambda: build(padded=True, steps=()), r"decoder_channels \[\] has 0 steps"),
        (lambda: build(padded=True, steps=(4,) * 5), "has 5 steps.* at stride 16; give 1 to 4 channel counts"),
        (lambda: build(steps=(4, 4)), "ends at stride 4; give 4 channel counts, or padded=true"),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_expanding_path_mirrors_the_contracting_one():
    paths = [ContractingPath(channels=(4, 6, 8, 10), padded=True) for _ in range(2)]
    named = UNet(num_classes=3, encoder=paths[0], padded=True, decoder_channels=(8, 6, 4))
    mirrored = UNet(num_classes=3, encoder=paths[1], padded=True)
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (named, mirrored)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("steps", [(9, 7, 5, 4), (9, 7)])
def test_a_padded_net_takes_images_of_fewer_pixels_than_its_poolings_divide(steps):
    model = build(padded=True, steps=steps).eval()
    image = torch.rand(1, 3, 1, 21)
    with torch.no_grad():
        logits, repeated = model(image).logits, model(image.expand(1, 3, 16, 21)).logits
    assert logits.shape[-2] == 1
    torch.testing.assert_close(logits, repeated[..., :1, :])
