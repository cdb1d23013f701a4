import pytest
import torch
import torch.nn.functional as F

from atrous.errors import ConfigError
from atrous.inference import accumulator
from atrous.inference.image import ImageBatch
from atrous.inference.slide import BLENDS, SlidingWindow, shares, starts
from atrous.inference.whole import WholeImage


def joined(strips):
    return torch.cat(list(strips), dim=2)


@torch.no_grad()
def mmsegmentation(net, images, window, stride):
    """mmsegmentation's `EncoderDecoder.slide_inference`, written from its formula: sums of windows over their number."""
    (h, w), (down, across), (H, W) = window, stride, images.shape[-2:]
    total, number = None, torch.zeros(1, 1, H, W)
    for i in range(max(H - h + down - 1, 0) // down + 1):
        for j in range(max(W - w + across - 1, 0) // across + 1):
            bottom, right = min(i * down + h, H), min(j * across + w, W)
            top, left = max(bottom - h, 0), max(right - w, 0)
            logits = net(images[:, :, top:bottom, left:right]).logits
            logits = F.interpolate(logits, size=(bottom - top, right - left), mode="bilinear", align_corners=False)
            padded = F.pad(logits, (left, W - right, top, H - bottom))
            total = padded if total is None else total + padded
            number[:, :, top:bottom, left:right] += 1
    return total / number


@pytest.mark.parametrize(
    ("window", "stride"),
    [((16, 16), (10, 10)), ((20, 33), (20, 11)), ((37, 20), (7, 13)), ((64, 64), (32, 32)), ((9, 8), (1, 7))],
)
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_uniform_is_mmsegmentations_formula(net, images, window, stride, batch):
    found = joined(SlidingWindow(window=window, stride=stride, blend="uniform", batch=batch)(net, ImageBatch(images)))
    torch.testing.assert_close(found, mmsegmentation(net, images, window, stride), atol=1e-5, rtol=0)


@pytest.mark.parametrize("blend", BLENDS)
@torch.no_grad()
def test_blended_windows_are_a_weighted_mean(net, images, blend):
    """By a map of weights and a division, where the code multiplies shares of rows and columns."""
    window = 15
    place = torch.arange(window)
    line = {
        "uniform": torch.ones(window),
        "hann": 0.5 - 0.5 * torch.cos(2 * torch.pi * (place + 0.5) / window),
        "gaussian": torch.exp(-((place - 7.0) ** 2) / (2 * (window / 8) ** 2)),
    }[blend]
    total, weights = torch.zeros(2, 5, 37, 52), torch.zeros(37, 52)
    for top in (0, 9, 18, 22):
        for left in (0, 9, 18, 27, 36, 37):
            part = (..., slice(top, top + window), slice(left, left + window))
            logits = F.interpolate(
                net(images[part]).logits, size=(window, window), mode="bilinear", align_corners=False
            )
            total[part] += line[:, None] * line * logits
            weights[part] += line[:, None] * line
    found = joined(SlidingWindow(window=[15, 15], stride=[9, 9], blend=blend)(net, ImageBatch(images)))
    torch.testing.assert_close(found, total / weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize("blend", BLENDS)
def test_shares_of_a_pixel_sum_to_one(blend):
    tops = starts(101, 32, 21)
    assert tops == [0, 21, 42, 63, 69]
    total = torch.zeros(101)
    for top, share in zip(tops, shares(101, 32, tops, blend), strict=True):
        assert share.min() >= 0
        total[top : top + 32] += share
    torch.testing.assert_close(total, torch.ones(101))


@torch.no_grad()
def test_a_small_image_is_one_window(net, images):
    found = joined(SlidingWindow(window=[100, 200])(net, ImageBatch(images)))
    torch.testing.assert_close(found, joined(WholeImage()(net, ImageBatch(images))), atol=1e-5, rtol=0)
    assert net.batches[0] == (2, 3, 37, 52)


@torch.no_grad()
def test_windows_go_through_the_network_together(net, images):
    joined(SlidingWindow(window=[20, 20], stride=[17, 16], batch=2)(net, ImageBatch(images)))
    assert net.batches == [(4, 3, 20, 20), (2, 3, 20, 20)] * 2  # two rows of three windows, of two images each


@torch.no_grad()
def test_scores_in_a_file_are_those_in_memory(net, images, monkeypatch):
    slide = SlidingWindow(window=[16, 16], stride=[5, 6])
    expected = joined(slide(net, ImageBatch(images)))
    monkeypatch.setattr(accumulator, "MEMORY", 1000)
    monkeypatch.setattr(accumulator, "DEVICE_STRIP", 2 * 2 * 5 * 52 * 2)  # strips of two rows
    strips = list(slide(net, ImageBatch(images)))
    assert max(strip.shape[2] for strip in strips) == 2
    assert torch.equal(torch.cat(strips, dim=2), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": [512, 0]}, r"inference.window=\[512, 0\] is impossible; give height and width in pixels"),
        ({"window": [512]}, r"inference.window=\[512\] is impossible"),
        ({"stride": [3.5, 3]}, r"inference.stride=\[3.5, 3\] is impossible"),
        (
            {"window": [20, 20], "stride": [10, 21]},
            r"stride=\[10, 21\] is larger than inference.window=\[20, 20\].*gaps",
        ),
        ({"blend": "linear"}, "inference.blend=linear is unknown; choose one of gaussian, hann, uniform"),
        ({"batch": 0}, "inference.batch=0 is impossible; give a number of windows"),
    ],
)
def test_settings_that_are_impossible(options, message):
    with pytest.raises(ConfigError, match=message):
        SlidingWindow(**options)


def test_it_tells_its_settings():
    assert (
        str(SlidingWindow(window=[769, 513]))
        == "slide, windows of 769 x 513 every 512 x 342, logits averaged (gaussian)"
    )
