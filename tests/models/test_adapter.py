from types import SimpleNamespace

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.segmentation import fcn_resnet50

from atrous.errors import ConfigError
from atrous.models.adapter import Adapter, adapt
from atrous.models.fcn import FCN
from atrous.types import SegOutput


class Returns(nn.Module):
    """A network of one convolution whose result is packed by a function."""

    def __init__(self, pack, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, stride)
        self.pack = pack

    def forward(self, images):
        assert images.shape[-2] % 32 == images.shape[-1] % 32 == 0
        return self.pack(self.conv(images))


PACKS = {
    "tensor": lambda x: x,
    "torchvision": lambda x: {"out": x, "aux": 2 * x},
    "torchvision without aux": lambda x: {"out": x},
    "transformers": lambda x: SimpleNamespace(logits=x),
    "ours": lambda x: SegOutput(x, (2 * x, 3 * x)),
}


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("size", [(64, 32), (33, 47), (1, 5)])
def test_every_kind_of_result(pack, size):
    model = Returns(PACKS[pack])
    images = torch.randn(2, 3, *size)
    output = adapt(model)(images)
    assert isinstance(output, SegOutput)
    torch.testing.assert_close(output.logits, model.conv(images))
    for factor, aux in enumerate(output.aux, start=2):
        torch.testing.assert_close(aux, factor * model.conv(images))
    assert len(output.aux) == {"torchvision": 1, "ours": 2}.get(pack, 0)


def test_coarse_logits_are_enlarged_before_they_are_cropped():
    model = Returns(PACKS["tensor"], stride=4)
    images = torch.randn(1, 3, 40, 64)
    padded = F.pad(images, (0, 0, 0, 24), mode="replicate")
    expected = F.interpolate(model.conv(padded), size=(64, 64), mode="bilinear")[..., :40, :]
    torch.testing.assert_close(adapt(model)(images).logits, expected)


def test_our_own_models_are_left_alone():
    model = FCN.__new__(FCN)
    assert adapt(model) is model


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
def test_segmentation_models_pytorch(size):
    model = smp.Unet("resnet18", encoder_weights=None, classes=4).eval()
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        logits = adapt(model)(images).logits
        whole = model(F.pad(images, (0, -size[1] % 32, 0, -size[0] % 32), mode="replicate"))
    torch.testing.assert_close(logits, whole[..., : size[0], : size[1]])


def test_torchvision():
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=4, aux_loss=True).eval()
    images = torch.randn(1, 3, 33, 40)
    with torch.no_grad():
        output = adapt(model)(images)
        whole = model(F.pad(images, (0, 24, 0, 31), mode="replicate"))
    torch.testing.assert_close(output.logits, whole["out"][..., :33, :40])
    torch.testing.assert_close(output.aux[0], whole["aux"][..., :33, :40])


@pytest.mark.parametrize(
    ("pack", "found"),
    [
        (lambda x: [x], "a list"),
        (lambda x: x.mean((2, 3)), r"a tensor of shape \(1, 4\)"),
        (lambda x: {"logit": x}, "a dict"),
    ],
)
def test_result_that_holds_no_logits(pack, found):
    with pytest.raises(ConfigError, match=rf"Returns returns {found}; a model must return logits \(N, C, h, w\)"):
        Adapter(model=Returns(pack))(torch.zeros(1, 3, 32, 32))
