import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atrous.analysis.valid_weights import atrous_convs, valid_counts, wide_rates
from atrous.encoders.encoder import Encoder
from atrous.models.deeplabv3 import DeepLabV3


@pytest.mark.parametrize(
    ("size", "kernel", "rate"), [((65, 65), 3, 18), ((7, 12), 3, 5), ((6, 9), 5, 2), ((4, 4), 3, 4)]
)
def test_counts_equal_a_convolution_of_ones(size, kernel, rate):
    ones = torch.ones(1, 1, kernel, kernel)
    expected = F.conv2d(torch.ones(1, 1, *size), ones, padding=rate * (kernel // 2), dilation=rate)[0, 0]
    rows, columns = (valid_counts(length, kernel=kernel, dilation=rate) for length in size)
    torch.testing.assert_close((rows[:, None] * columns).float(), expected)


def test_a_network_is_counted_at_its_maps_size():
    encoder = Encoder(name="test_resnet", output_stride=16, multi_grid=[1, 2])
    net = DeepLabV3(num_classes=2, encoder=encoder, multi_grid=[1, 2], dilations=[6, 12], aspp_channels=4)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    found = {convs.dilation[0]: convs for convs in atrous_convs(net, (128, 320)) if "atrous" in convs.names[0]}
    assert {rate: (convs.size, convs.kernel) for rate, convs in found.items()} == {
        6: ((8, 20), (3, 3)),
        12: ((8, 20), (3, 3)),
    }
    counts = F.conv2d(torch.ones(1, 1, 8, 20), torch.ones(1, 1, 3, 3), padding=6, dilation=6)
    assert found[6].valid == pytest.approx(float(counts.mean() / 9))
    assert found[6].all_valid == float((counts == 9).float().mean())
    assert found[6].one_valid == pytest.approx(float((counts == 1).float().mean()))
    assert not found[12].degenerate  # the map is wider than the rate
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(("side", "told"), [(12, ["12"]), (13, []), (6, ["6, 12"])])
def test_a_rate_as_large_as_the_map_is_told(side, told):
    net = nn.Sequential(
        nn.Conv2d(3, 2, 1, stride=4), *(nn.Conv2d(2, 2, 3, padding=rate, dilation=rate) for rate in (6, 12))
    )
    message = wide_rates(net, (4 * side, 4 * side))
    if not told:
        assert message is None
        return
    for part in (
        f"rates {told[0]} on a map of {side} x {side}",
        f"images of {4 * side} x {4 * side}",
        "model.dilations",
    ):
        assert part in message


def test_networks_without_holes_or_that_need_data_have_none():
    class Asks(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    assert atrous_convs(nn.Conv2d(3, 2, 3), (8, 8)) == []
    assert wide_rates(Asks(nn.Conv2d(3, 2, 3, dilation=2)), (8, 8)) is None
