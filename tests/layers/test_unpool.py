import pytest
import torch

from atrous.errors import ConfigError
from atrous.layers.unpool import Unpool, max_pool


def pooled(size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    return x, *max_pool(x)


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (1, 1)])
def test_maxima_return_to_their_places_and_the_rest_is_zero(size):
    x, maxima, taken = pooled(size)
    assert maxima.shape == (2, 3, -(-size[0] // 2), -(-size[1] // 2))
    expected = torch.zeros_like(x)
    for i in range(0, size[0], 2):
        for j in range(0, size[1], 2):
            window = x[..., i : i + 2, j : j + 2]
            highest = window.amax((2, 3), keepdim=True)
            expected[..., i : i + 2, j : j + 2] = torch.where(window == highest, window, 0)
    torch.testing.assert_close(Unpool(channels=3)(maxima, taken), expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "transposed", "resize_conv"])
def test_other_ways_give_the_size_that_was_pooled(mode):
    _, maxima, taken = pooled((7, 9))
    unpool = Unpool(channels=3, mode=mode)
    assert unpool(maxima, taken).shape == (2, 3, 7, 9)


def test_unknown_mode():
    with pytest.raises(
        ConfigError, match="upsample 'unpool' is not a way of undoing a pooling; choose one of unpooling, nea"
    ):
        Unpool(channels=3, mode="unpool")
