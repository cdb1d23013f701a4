import math

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from atrous.analysis.receptive_field import receptive_fields
from atrous.analysis.tracer import ReceptiveFieldTracer
from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError
from atrous.layers.upsample import resize
from atrous.models.deeplabv3 import DeepLabV3
from atrous.models.patch_classifier import PatchClassifier
from atrous.models.unet import ContractingPath, UNet


# https://github.com/google-research/receptive_field, RECEPTIVE_FIELD_TABLE.md, the data of Araujo et al. 2019.
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("vgg11", {2: 4, 4: 10, 8: 30, 16: 70, 32: 150}),  # vgg_a, pool1 to pool5
        ("vgg16", {2: 6, 4: 16, 8: 44, 16: 100, 32: 212}),
        ("mobilenetv1_100", {32: 315}),
    ],
)
def test_published_fields(name, published):
    """The first map at each stride is VGG's pooling; of MobileNet the last one is published."""
    with torch.device("meta"):
        net = nn.Sequential(timm.create_model(name, features_only=True))
    parts = receptive_fields(net).parts
    for stride, size in published.items():
        fields = [part.field for part in parts if part.stride == (stride, stride)]
        assert (fields[0] if name.startswith("vgg") else fields[-1]) == (size, size)


def slim_resnet(name):
    """timm's ResNet with the strides of TF-Slim's, in the last block of a stage, its shortcut subsampled."""
    net = timm.create_model(name)
    stages = [net.layer1, net.layer2, net.layer3, net.layer4]
    for stage in stages[1:]:
        stage[0].conv2.stride = stage[0].downsample[0].stride = (1, 1)
    for stage in stages[:3]:
        stage[-1].conv2.stride = (2, 2)
        stage[-1].downsample = nn.MaxPool2d(1, 2)
    return nn.Sequential(net.conv1, net.bn1, net.act1, net.maxpool, *stages)


@pytest.mark.parametrize(("name", "published"), [("resnet50", 483), ("resnet101", 1027)])
def test_published_fields_of_resnets(name, published):
    with torch.device("meta"):
        net = slim_resnet(name)
    part = receptive_fields(net)["7"]
    assert part.field == (published, published)
    assert part.stride == (32, 32)


class Branches(nn.Module):
    """Every kind of path: strides, holes, poolings, uneven scales, concatenation, sum, a transposed convolution, a crop."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 2, (3, 5), stride=2, padding=(1, 2))
        self.b = nn.Conv2d(3, 2, 3, dilation=4, padding=4)
        self.up = nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1)
        self.last = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        a = F.max_pool2d(self.a(x), 3, 2, 1)
        a = self.up(F.relu(a))
        a = F.avg_pool2d(F.pad(a, (1, 1, 2, 0)), 2, 1)
        b = F.adaptive_avg_pool2d(self.b(x), (19, 23))
        x = torch.cat([resize(a, (29, 31)), resize(b, (29, 31), "nearest")], 1)
        return self.last(x) + self.last(x.roll(1, 1))


def deeplab():
    encoder = Encoder(name="test_resnet", output_stride=16, multi_grid=[1, 2])
    return DeepLabV3(num_classes=2, encoder=encoder, multi_grid=[1, 2], dilations=[1, 2], aspp_channels=4)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 2, 3, stride=2), nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 2, 3, dilation=3, padding=3)),
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.ConvTranspose2d(2, 2, 4, 2, 1), nn.ReflectionPad2d(2), nn.Conv2d(2, 2, 5)),
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.PixelShuffle(2), nn.Conv2d(1, 2, 3, padding=1)),
        nn.Sequential(nn.Conv2d(3, 2, 3, stride=4), nn.Upsample(scale_factor=4, mode="bilinear"), nn.Conv2d(2, 2, 3)),
        nn.Sequential(nn.Conv2d(3, 2, 3, stride=4), nn.Upsample(scale_factor=2, mode="bicubic")),
        UNet(
            num_classes=2,
            encoder=ContractingPath(channels=[2, 3], padded=False, batch_norm=False, dropout=0),
            padded=False,
            decoder_channels=[2],
        ),
        PatchClassifier(num_classes=2, patch_size=14, kernel_sizes=[3, 3], channels=2, hidden_channels=2),
    ],
    ids=["dilated", "transposed", "shuffled", "bilinear", "bicubic", "unet", "patches"],
)
def test_equals_brute_force(net):
    """The largest field of a place away from the border, over all places of a period."""
    torch.manual_seed(0)
    last = receptive_fields(net).parts[-1]
    size = (72, 72)
    x = torch.zeros(1, 3, *size, dtype=torch.float64)
    first, end = None, None
    net = net.double().eval()
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        for row in range(size[0]):
            tainted = x.clone()
            tainted[:, :, row] = math.nan
            y = net(tainted)
            y = (y if isinstance(y, torch.Tensor) else y.logits)[0].isnan().any(0).any(1)
            first = torch.full(y.shape, -1) if first is None else first
            end = torch.full(y.shape, -1) if end is None else end
            first = torch.where(y & (first < 0), row, first)
            end = torch.where(y, row, end)
    inside = (first > 0) & (end < size[0] - 1)
    assert inside.any()
    assert last.field[0] == int((end - first + 1)[inside].max())


def test_branches_of_a_graph_equal_the_gradients_support():
    """All weights positive, so that no contribution cancels; of the maximum any pixel of its window could be the one."""
    torch.manual_seed(0)
    net = Branches().double()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.1, 1)
    support = torch.zeros(96, 96, dtype=torch.bool)
    for seed in range(40):
        torch.manual_seed(seed)
        x = torch.rand(1, 3, 96, 96, dtype=torch.float64, requires_grad=True)
        with torch.backends.mkldnn.flags(enabled=False):
            net(x)[..., 14, 15].sum().backward()
        support |= x.grad[0].abs().sum(0) > 0
    images = torch.empty(1, 3, 96, 96, device="meta", dtype=torch.float64)
    with torch.no_grad(), ReceptiveFieldTracer(images) as tracer:
        out = net.to("meta")(images)
    rows, columns = tracer.of(out)
    assert not tracer.unknown
    for axis, line in ((1, rows[:, 0, 0, 14, 0]), (0, columns[:, 0, 0, 0, 15])):
        seen = support.any(axis).nonzero().flatten()
        assert (int(line[0]), -int(line[1])) == (int(seen[0]), int(seen[-1]))


def test_parts_of_a_deeplab():
    """The branches' fields follow from the encoder's: two rates of 16 pixels more on each axis."""
    fields = receptive_fields(deeplab())
    encoder = fields["encoder[4]"]
    assert encoder.stride == (16, 16)
    for index, rate in enumerate((1, 2)):
        assert fields[f"context.atrous.{index}"].field == tuple(side + 2 * rate * 16 for side in encoder.field)
    assert fields["context.point"].field == encoder.field
    assert fields["context.image"].field == (None, None)
    assert fields["logits"].field == (None, None)
    assert [part.name for part in fields.parts][-1] == "logits"


def test_a_place_that_attends_sees_the_whole_image():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.block = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, dropout=0)

        def forward(self, x):
            x = self.patches(x)
            y = self.block(x.flatten(2).transpose(1, 2))
            return y.transpose(1, 2).unflatten(2, x.shape[-2:])

    fields = receptive_fields(Attends())
    assert fields["patches"].field == (4, 4)
    assert fields["logits"].field == (None, None)
    assert fields.unknown == []


def test_the_stride_of_fields_that_move_unevenly():
    """Four places in a row see the same 8 pixels, and the next four the next 8."""
    net = nn.Sequential(nn.Conv2d(3, 2, 8, 8), nn.ConvTranspose2d(2, 2, 4, 4))
    assert [part.stride for part in receptive_fields(net).parts[:2]] == [(8, 8), (2, 2)]


def test_a_kernel_along_one_axis():
    net = nn.Sequential(nn.Conv2d(3, 3, (7, 1), padding=(3, 0)), nn.Conv2d(3, 3, 3, padding=1))
    assert receptive_fields(net)["1"].field == (9, 3)


def test_unknown_operations_are_named_and_see_all():
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.sort(x, dim=1).values

    fields = receptive_fields(Sorts())
    assert fields.unknown == ["sort"]
    assert fields["logits"].field == (None, None)


def test_a_network_that_asks_for_values():
    class Asks(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ConfigError, match=r"receptive field of Asks can't be followed: it doesn't run without data"):
        receptive_fields(Asks())
