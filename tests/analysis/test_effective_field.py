import math

import pytest
import torch
from torch import nn

from atrous.analysis.effective_field import effective_field
from atrous.errors import ConfigError
from atrous.types import SegOutput


class Stack(nn.Module):
    """Convolutions of equal weights, whose gradient is known."""

    def __init__(self, layers, kernel=3):
        super().__init__()
        convs = [nn.Conv2d(1 if i else 3, 1, kernel, padding=kernel // 2, bias=False) for i in range(layers)]
        for conv in convs:
            nn.init.ones_(conv.weight)
        self.layers = nn.Sequential(*convs)

    def forward(self, x):
        return SegOutput(self.layers(x))


def test_one_layer_is_its_kernel():
    field = effective_field(Stack(1), [torch.randn(3, 9, 9)])
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[3:6, 3:6] = 1
    torch.testing.assert_close(field.gradient, expected)
    assert field.size == 3
    assert field.deviation == pytest.approx((math.sqrt(2 / 3),) * 2)


def test_colours_do_not_cancel():
    net = Stack(1, kernel=1)
    net.layers[0].weight.data = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)
    assert effective_field(net, [torch.randn(3, 5, 5)]).size == 1


@pytest.mark.parametrize("layers", [4, 9])
def test_equal_weights_spread_as_the_sum_of_uniform_steps(layers):
    """The variance of a sum of n uniform steps over k pixels is n (k^2 - 1) / 12."""
    field = effective_field(Stack(layers), torch.randn(2, 3, 41, 41))
    assert field.deviation == pytest.approx((math.sqrt(layers * 8 / 12),) * 2)
    assert field.gradient.max() == 1
    line = torch.ones(1, dtype=torch.float64)
    for _ in range(layers):
        line = torch.nn.functional.conv1d(line[None, None], torch.ones(1, 1, 3, dtype=torch.float64), padding=2)[0, 0]
    square = torch.outer(line, line) / line.max() ** 2
    assert field.size == pytest.approx(math.sqrt(int((square > 0.0455).sum())))


def test_scores_that_cancel_still_count_and_the_network_is_left_as_it_was():
    net = Stack(1)
    twice = nn.Conv2d(3, 2, 1, bias=False)
    nn.init.ones_(twice.weight)
    twice.weight.data[1] = -1

    class Opposite(nn.Module):
        def forward(self, x):
            return SegOutput(twice(x))

    model = Opposite().train()
    assert effective_field(model, torch.randn(8, 3, 5, 5), seed=1).size == 1
    assert model.training
    assert all(parameter.grad is None for parameter in [*twice.parameters(), *net.parameters()])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "there are no images"),
        ([torch.zeros(3, 5, 5), torch.zeros(3, 5, 7)], r"\(5, 5\) and \(5, 7\).*one size"),
    ],
)
def test_impossible_images(images, message):
    with pytest.raises(ConfigError, match=message):
        effective_field(Stack(1), images)


def test_a_network_that_sees_nothing():
    net = Stack(1)
    nn.init.zeros_(net.layers[0].weight)
    with pytest.raises(ConfigError, match="no pixel moves the middle logits"):
        effective_field(net, [torch.zeros(3, 5, 5)])
