import pytest
import torch
import torch.nn.functional as F

from atrous.errors import ConfigError
from atrous.inference.image import ImageBatch
from atrous.inference.multiscale import MultiScale
from atrous.inference.slide import SlidingWindow
from atrous.inference.whole import WholeImage
from atrous.layers import strips as resizing


def joined(strips):
    return torch.cat(list(strips), dim=2)


def resized(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def averaged(one_pass, images, scales, flip):
    """The mean over scales and flips of softmax(logits at the image's size)."""
    size = images.shape[-2:]
    passes = []
    for scale in scales:
        scaled = resized(images, tuple(int(side * scale + 0.5) for side in size))
        passes.append(resized(one_pass(scaled), size).softmax(1))
        if flip:
            passes.append(resized(one_pass(scaled.flip(-1)).flip(-1), size).softmax(1))
    return sum(passes) / len(passes)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("scales", [(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), (1.0,), (2.0, 0.3)])
@torch.no_grad()
def test_probabilities_are_averaged(net, images, scales, flip, monkeypatch):
    monkeypatch.setattr(resizing, "CPU_STRIP", 2 * 5 * 52 * 4)  # four rows at a time
    found = joined(MultiScale(scales=scales, flip=flip)(net, ImageBatch(images))).softmax(1)
    one_pass = lambda x: resized(net(x).logits, x.shape[-2:])  # noqa: E731
    torch.testing.assert_close(found, averaged(one_pass, images, scales, flip), atol=1e-5, rtol=0)


@torch.no_grad()
def test_windows_at_every_scale(net, images):
    slide = SlidingWindow(window=[16, 24], stride=[9, 9], blend="hann")
    found = joined(MultiScale(scales=[0.5, 1.5], base=slide)(net, ImageBatch(images))).softmax(1)
    one_pass = lambda x: joined(slide(net, ImageBatch(x)))  # noqa: E731
    torch.testing.assert_close(found, averaged(one_pass, images, [0.5, 1.5], True), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_mirrored_image_has_mirrored_probabilities(net, images):
    mode = MultiScale(scales=[1.0, 1.5])
    found, mirrored = (joined(mode(net, ImageBatch(x))) for x in (images, images.flip(-1)))
    torch.testing.assert_close(mirrored.flip(-1), found, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_probability_of_zero_stays_one(net, images):
    """Its logarithm has no value."""
    with torch.no_grad():
        net.convs[2].bias[0] = 1e4
    found = joined(MultiScale(scales=[1.0])(net, ImageBatch(images)))
    assert torch.isfinite(found).all()
    assert (found.softmax(1)[:, 0] == 1).all()


@pytest.mark.parametrize("scales", [[], [1.0, 0], [-1], ["1"]])
def test_scales_that_are_impossible(scales):
    with pytest.raises(ConfigError, match=r"inference.scales=\[.*\] is impossible; give numbers above 0"):
        MultiScale(scales=scales)


def test_it_tells_its_settings():
    assert str(MultiScale(scales=[0.5, 1], base=WholeImage())) == (
        "multi-scale 0.5, 1 and mirrored, probabilities averaged, each pass whole"
    )
