import pytest
import torch
from torch.nn import functional as F

from atrous.errors import ConfigError
from atrous.layers.upsample import MODES, Upsample, resize


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(20, 28), (19, 25), (21, 29)])
def test_gives_the_size_asked_for_and_a_gradient(mode, size):
    upsample = Upsample(channels=3, scale=4, mode=mode)
    x = torch.randn(2, 3, 5, 7, requires_grad=True)
    y = upsample(x, size)
    assert y.shape == (2, 3, *size)
    y.square().sum().backward()
    assert all((p.grad != 0).any() for p in (x, *upsample.parameters()))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("scale", [2, 8, 32])
def test_transposed_convolution_starts_as_bilinear_interpolation(scale, per_channel):
    upsample = Upsample(channels=3, scale=scale, mode="transposed", per_channel=per_channel)
    x = torch.randn(1, 3, 6, 5)
    size = (6 * scale, 5 * scale)
    inner = slice(scale, -scale)  # beyond the border one sees zeros, the other the border itself
    expected = F.interpolate(x, size=size, mode="bilinear")
    torch.testing.assert_close(upsample(x, size)[..., inner, inner], expected[..., inner, inner])


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_interpolations_are_torchs(mode):
    x = torch.randn(1, 2, 4, 4)
    expected = F.interpolate(x, scale_factor=2, mode=mode)
    torch.testing.assert_close(Upsample(channels=2, scale=2, mode=mode)(x, (8, 8)), expected)
    torch.testing.assert_close(resize(x, (8, 8), mode), expected)


def test_unknown_mode():
    with pytest.raises(
        ConfigError, match="upsample 'bilnear' is not a way of upsampling; choose one of nearest, bilinear"
    ):
        Upsample(channels=2, scale=2, mode="bilnear")
