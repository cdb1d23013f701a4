import numpy as np
import pytest
import torch
from torch import nn

from atrous.errors import ConfigError
from atrous.inference.image import ImageBatch
from atrous.inference.tile import OverlapTile, overlap_tile
from atrous.models.unet import ContractingPath, UNet


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = UNet(num_classes=3, encoder=ContractingPath(channels=(4, 6, 8, 8, 8)), decoder_channels=(8, 8, 6, 4)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, -0.1, 0.1)
    return model


@torch.no_grad()
@pytest.mark.parametrize(("size", "tile"), [((100, 130), 252), ((37, 200), 220), ((70, 50), 236), ((64, 64), 572)])
def test_equals_one_pass_over_the_mirrored_image(net, size, tile):
    """Tiles of 252 score 68 pixels, of which 64 count, so that the image takes several, the last ones not whole."""
    images = torch.randn(2, 3, *size)
    extra = [-(side + 124) % 16 for side in size]
    whole = np.pad(images.numpy(), ((0, 0), (0, 0), *((92, 92 + more) for more in extra)), mode="reflect")
    expected = net.valid(torch.from_numpy(whole))[..., : size[0], : size[1]]
    logits = joined(overlap_tile(net.valid, ImageBatch(images), tile=tile, border=net.border, stride=net.stride))
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(joined(OverlapTile(tile=tile)(net, ImageBatch(images))), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(net(images).logits, expected, atol=1e-5, rtol=0)  # mirrored by the network itself


def joined(strips):
    return torch.cat(list(strips), dim=2)


def test_a_net_without_pooling_has_tiles_of_any_size():
    conv = nn.Conv2d(3, 2, 5).eval()
    images = torch.randn(1, 3, 20, 31)
    with torch.no_grad():
        expected = conv(nn.functional.pad(images, (2, 2, 2, 2), mode="reflect"))
        torch.testing.assert_close(
            joined(overlap_tile(conv, ImageBatch(images), tile=11, border=2, stride=1)), expected
        )


def test_images_of_one_pixel_are_repeated():
    pixel = ImageBatch(torch.full((1, 3, 1, 1), 7.0))
    logits = joined(overlap_tile(lambda x: x[..., 1:-1, 1:-1], pixel, tile=4, border=1, stride=1))
    assert logits.flatten().tolist() == [7.0] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tile": 188},
            "a tile of 188 with a border of 92 scores 4 pixels a side, fewer than the stride 16; use tile=200",
        ),
        (
            {"tile": 252, "border": 90},
            "logits for a tile of 252 are 68 x 68, not 72 x 72; give tile and border as the net",
        ),
    ],
)
def test_tiles_that_do_not_fit(net, options, message):
    with pytest.raises(ValueError, match=message), torch.no_grad():
        joined(overlap_tile(net.valid, ImageBatch(torch.zeros(1, 3, 40, 40)), **options))


def test_a_tile_of_the_config_that_does_not_fit(net):
    with (
        pytest.raises(ConfigError, match=r"inference.tile=188: a tile of 188 .* use tile=200 or more"),
        torch.no_grad(),
    ):
        joined(OverlapTile(tile=188)(net, ImageBatch(torch.zeros(1, 3, 40, 40))))


def test_a_padded_network_needs_no_tiles():
    padded = UNet(num_classes=2, encoder=ContractingPath(channels=(4, 4, 4, 4, 4), padded=True), padded=True)
    with pytest.raises(ConfigError, match=r"inference=tile is for unpadded networks, such as model=unet; UNet"):
        joined(OverlapTile()(padded, ImageBatch(torch.zeros(1, 3, 40, 40))))
    with pytest.raises(ConfigError, match="Conv2d scores every pixel"):
        joined(OverlapTile()(nn.Conv2d(3, 2, 1), ImageBatch(torch.zeros(1, 3, 40, 40))))
