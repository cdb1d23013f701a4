from functools import cache

import pytest
import torch
from torch import nn

from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.segnet import SegNet, SegNetBasic

CLASSES = 4


class Released(nn.Module):
    """The layers of a prototxt of the authors' SegNet-Tutorial, from its numbers of output channels."""

    def __init__(self, encoder, decoder, kernel, decoder_relu):
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        channels = 3
        for stages, part, relu in ((encoder, self.encoder, True), (decoder, self.decoder, decoder_relu)):
            for stage in stages:
                layers = []
                for width in stage:
                    bias = part is self.encoder and kernel == 3  # timm's, which the batch norm takes away
                    layers += [
                        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias),
                        nn.BatchNorm2d(width),
                    ]
                    layers += [nn.ReLU()] if relu else []
                    channels = width
                part.append(nn.Sequential(*layers))
        self.score = nn.Conv2d(channels, CLASSES, 3, padding=1) if kernel == 3 else nn.Conv2d(channels, CLASSES, 1)

    def forward(self, x):
        pool, unpool = nn.MaxPool2d(2, ceil_mode=True, return_indices=True), nn.MaxUnpool2d(2)
        taken = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape
            x, indices = pool(x)
            taken.append((indices, size))
        for stage in self.decoder:
            indices, size = taken.pop()
            x = stage(unpool(x, indices, output_size=size))
        return self.score(x)


encoder = cache(Encoder)  # timm's VGGs take a second to build


def segnet(**options):
    built = encoder(name="vgg11_bn")
    torch.manual_seed(0)
    return SegNet(num_classes=CLASSES, encoder=built, **options).eval()


def basic(**options):
    torch.manual_seed(0)
    return SegNetBasic(num_classes=CLASSES, **{"channels": 8} | options).eval()


def assert_equal(ours, theirs, images):
    torch.manual_seed(1)
    for norm in ours.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    with torch.no_grad():
        expected = theirs.eval()(images)
        scale = expected.std(dim=(2, 3)).min()
        torch.testing.assert_close(ours(images).logits / scale, expected / scale, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(64, 48), (33, 47)])
def test_equals_the_released_segnet(size):
    ours = SegNet(num_classes=CLASSES, encoder=encoder(name="vgg16_bn")).eval()
    down = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
    up = [[512] * 3, [512, 512, 256], [256, 256, 128], [128, 64], [64]]
    assert_equal(ours, Released(down, up, 3, True), torch.randn(1, 3, *size))


@pytest.mark.parametrize("size", [(64, 48), (33, 47)])
def test_equals_the_released_segnet_basic(size):
    ours = SegNetBasic(num_classes=CLASSES).eval()
    assert_equal(ours, Released([[64]] * 4, [[64]] * 4, 7, False), torch.randn(1, 3, *size))


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: SegNet(num_classes=12, encoder=Encoder(name="vgg16_bn")), 29.46e6),
        (lambda: SegNetBasic(num_classes=11), 1.425e6),
    ],
)
def test_published_size(build, parameters):
    with torch.device("meta"):
        model = build()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.02)


def test_pretrained_vgg(tmp_path):
    donor = segnet()
    path = tmp_path / "vgg.pth"  # under timm's keys, "features.0.weight" and so on
    torch.save({key.replace("_", ".", 1): value for key, value in donor.encoder.net.state_dict().items()}, path)
    model = segnet()
    model.encoder = Encoder(name="vgg11_bn", weights=str(path)).eval()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, donor(images).logits)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "bicubic", "transposed", "resize_conv"])
@pytest.mark.parametrize("build", [segnet, basic])
def test_every_way_of_upsampling(build, upsample):
    model, unpooling = build(upsample=upsample), build()
    images = torch.randn(1, 3, 33, 47)
    with torch.no_grad():
        logits = model(images).logits
        assert logits.shape == (1, CLASSES, 33, 47)
        assert not torch.allclose(logits, unpooling(images).logits)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SegNet(num_classes=4, encoder=Encoder(name="resnet18")), "'resnet18' has no stages .* max pooling"),
        (lambda: basic(upsample="unpool"), "upsample 'unpool' is not a way of undoing a pooling"),
        (lambda: basic(kernel_size=6), "kernel_size 6 must be odd.* for instance 7"),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
