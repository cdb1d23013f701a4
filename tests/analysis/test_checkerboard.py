import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.analysis.checkerboard import checkerboard, checkerboards, grid_energy
from atrous.layers.upsample import Upsample


@pytest.mark.parametrize("period", [2, 4])
def test_equals_the_spectrum(period):
    """The energy at the multiples of 1 / period, by NumPy's Fourier transform."""
    maps = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
    power = np.abs(np.fft.fft2(maps.numpy())) ** 2
    grid = power[:: 24 // period, :: 32 // period].sum() - power[0, 0]
    assert grid_energy(maps, period) == pytest.approx(grid / power.sum(), rel=1e-5)


def test_even_maps_have_none_and_alternating_ones_all():
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)
    assert grid_energy(torch.full((8, 8), 3.0), 2) == 0
    assert grid_energy(signs, 2) == 1
    assert grid_energy(torch.zeros(8, 8), 2) == 0


def test_a_map_that_is_not_made_of_cells():
    with pytest.raises(ValueError, match="9 x 8 doesn't consist of cells of 2 x 2"):
        grid_energy(torch.zeros(9, 8), 2)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_interpolation_has_none(mode):
    assert checkerboard(lambda x: F.interpolate(x, scale_factor=2, mode=mode), channels=1, scale=2) < 1e-12


def test_transposed_convolutions():
    """Of ones, kernel 3 and stride 2 give cells of 1, 2, 2, 4, whose variance is 1.1875 of 6.25; kernel 4 is even."""
    layers = nn.ModuleDict({str(k): nn.ConvTranspose2d(1, 1, k, 2, padding=1, bias=False) for k in (3, 4)})
    for layer in layers.values():
        nn.init.ones_(layer.weight)
    found = checkerboards(layers)
    assert found["3"] == pytest.approx(1.1875 / 6.25)
    assert found["4"] == 0
    nn.init.normal_(layers["4"].weight, generator=torch.Generator().manual_seed(0))
    assert checkerboards(layers)["4"] > 0.1  # that it can be even doesn't make it so


def test_the_upsamplers_of_a_network():
    torch.manual_seed(0)
    modes = ("bilinear", "transposed", "resize_conv")
    net = nn.ModuleDict({mode: Upsample(channels=2, scale=4, mode=mode) for mode in modes})
    found = checkerboards(net)
    assert set(found) == {"transposed.conv"}
    assert found["transposed.conv"] < 1e-10  # it starts as bilinear interpolation
    for mode in modes[1:]:
        nn.init.normal_(net[mode].conv.weight)
    assert checkerboards(net)["transposed.conv"] > 0.1
    assert checkerboard(lambda x: net["resize_conv"](x, (64, 64)), channels=2, scale=4) < 1e-10
