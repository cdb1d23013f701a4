import pytest
import torch
from segmentation_models_pytorch.decoders.deeplabv3 import decoder as smp
from torchvision.models.segmentation import deeplabv3 as torchvision

from atrous.errors import ConfigError
from atrous.layers.aspp import ASPP


def copy_in_order(source, target):
    """Loads weights by their order, which both sides list as the paper's figure does."""
    theirs, ours = source.state_dict(), target.state_dict()
    assert [v.shape for v in theirs.values()] == [v.shape for v in ours.values()]
    target.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))


@pytest.mark.parametrize(
    "reference",
    [
        lambda: torchvision.ASPP(8, [6, 12, 18], 16),
        lambda: smp.ASPP(8, 16, [6, 12, 18], separable=False, dropout=0.5),
    ],
    ids=["torchvision", "smp"],
)
@pytest.mark.parametrize("size", [(16, 16), (13, 21)])
def test_equals_other_implementations(reference, size):
    torch.manual_seed(0)
    theirs = reference().eval()
    ours = ASPP(in_channels=8, channels=16, dilations=[6, 12, 18]).eval()
    copy_in_order(theirs, ours)
    x = torch.randn(2, 8, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dilations", [[], [6, 0], [6, -12], [6.0, 12], 6, "6"])
def test_impossible_dilations(dilations):
    with pytest.raises(
        ConfigError, match=r"dilations .* must be positive integers, at least one; give .*dilations=\[6,12,18\]"
    ):
        ASPP(in_channels=8, channels=8, dilations=dilations)


def test_trains_on_two_images_but_not_on_one():
    aspp = ASPP(in_channels=8, channels=8, dilations=[2], separable=True)
    assert aspp(torch.randn(2, 8, 5, 5)).shape == (2, 8, 5, 5)
    with pytest.raises(ConfigError, match="a batch of one image"):
        aspp(torch.randn(1, 8, 5, 5))
    assert aspp.eval()(torch.randn(1, 8, 5, 5)).shape == (1, 8, 5, 5)
