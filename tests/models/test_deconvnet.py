from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.encoders.convolutionalise import hidden_layers
from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.models.deconvnet import DeconvNet

CLASSES = 4
# Output channels in the order of the authors' stage_2_train.prototxt.
CONVS = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
DECONVS = [[512] * 3, [512, 512, 256], [256, 256, 128], [128, 64], [64, 64]]


encoder = cache(Encoder)  # timm's VGGs take a second to build


def build(kernel=3, name="vgg11_bn", **options):
    """With a smaller fc6, so that the image it was made for is smaller: 96 x 96 for 3 x 3."""
    built = encoder(name=name)
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Conv2d(512, 16, kernel), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU())
    return DeconvNet(num_classes=CLASSES, encoder=built, classifier=classifier, **options).eval()


class Released(nn.Module):
    def __init__(self, kernel, width):
        super().__init__()

        def unit(conv):
            return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()]

        self.encoder, channels = nn.ModuleList(), 3
        for stage in CONVS:
            layers = []
            for out in stage:
                layers += unit(nn.Conv2d(channels, out, 3, padding=1))
                channels = out
            self.encoder.append(nn.Sequential(*layers))
        self.fc = nn.Sequential(
            *unit(nn.Conv2d(512, width, kernel)),
            *unit(nn.Conv2d(width, width, 1)),
            *unit(nn.ConvTranspose2d(width, 512, kernel, bias=False)),
        )
        self.decoder = nn.ModuleList()
        for stage in DECONVS:
            layers = []
            for out in stage:
                layers += unit(nn.ConvTranspose2d(channels, out, 3, padding=1, bias=False))
                channels = out
            self.decoder.append(nn.Sequential(*layers))
        self.score = nn.Conv2d(channels, CLASSES, 1)

    def forward(self, x):
        taken = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape
            x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            taken.append((indices, size))
        x = self.fc(x)
        for stage in self.decoder:
            indices, size = taken.pop()
            x = stage(F.max_unpool2d(x, indices, 2, output_size=size))
        return self.score(x)


@pytest.mark.parametrize("size", [(96, 96), (101, 131)])
def test_equals_the_release_on_its_own_size_and_on_a_larger_one(size):
    ours, theirs = build(name="vgg16_bn"), Released(3, 16).eval()
    for norm in ours.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
            nn.init.uniform_(norm.running_var, 0.005, 0.02)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = theirs(images)
        scale = expected.std(dim=(2, 3)).min()
        torch.testing.assert_close(ours(images).logits / scale, expected / scale, atol=1e-4, rtol=0)


def test_a_smaller_image_is_seen_by_fc6_with_zeros_around_its_map():
    model = build(kernel=7)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 33, 65)).logits.shape == (1, CLASSES, 33, 65)


def test_published_size():
    with torch.device("meta"):
        model = DeconvNet(
            num_classes=21, encoder=Encoder(name="vgg16_bn"), classifier=hidden_layers(name="vgg16_bn", dropout=0)
        )
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(252e6, rel=0.02)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "bicubic", "transposed", "resize_conv"])
def test_every_way_of_upsampling(upsample):
    with torch.no_grad():
        assert build(upsample=upsample)(torch.randn(1, 3, 33, 47)).logits.shape == (1, CLASSES, 33, 47)


def test_a_single_place_of_fc6_does_not_train():
    with pytest.raises(ConfigError, match="a batch of one image can't train a BatchNorm over 1 x 1 pixels"):
        build().train()(torch.randn(1, 3, 96, 96))


def test_gradient_reaches_every_parameter():
    model = build().train()
    model(torch.randn(2, 3, 128, 128)).logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_a_classifier_without_two_convolutions():
    with pytest.raises(ConfigError, match="the classifier has 0 convolutions and DeconvNet takes two, fc6 and fc7"):
        DeconvNet(num_classes=CLASSES, encoder=encoder(name="vgg11_bn"), classifier=hidden_layers(name="resnet18"))


def test_an_encoder_without_poolings():
    with pytest.raises(ConfigError, match="encoder 'resnet18' has no stages that each end in a max pooling"):
        build(name="resnet18")
