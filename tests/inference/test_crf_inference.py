import numpy as np
import pytest
import torch

from atrous.crf.dense_crf import DenseCRF
from atrous.data.transforms import IMAGENET_MEAN, IMAGENET_STD, normalise
from atrous.inference.crf import CRFInference
from atrous.inference.image import ImageBatch
from atrous.inference.multiscale import MultiScale


@pytest.fixture
def photos():
    """Two images of random colours in patches, every value of 0 to 255 among them."""
    values = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
    return values.repeat(5, 1).repeat(4, 2)  # (2, 40, 48, 3)


def normalised(photos):
    return ImageBatch(torch.stack([normalise(photo, IMAGENET_MEAN, IMAGENET_STD) for photo in photos]))


def refined(crf, **settings):
    return CRFInference(crf=crf, mean=IMAGENET_MEAN, std=IMAGENET_STD, **settings)


def test_the_crf_sees_the_image_as_it_was(net, photos):
    seen = []
    list(refined(lambda p, colours: seen.append(colours) or p)(net, normalised(photos)))
    np.testing.assert_array_equal(seen[0], photos)


@torch.no_grad()
def test_scores_are_what_the_crf_makes_of_the_probabilities(net, photos):
    crf = DenseCRF(iterations=3, bilateral_sxy=10)
    (scores,) = refined(crf)(net, normalised(photos))
    logits = net(normalised(photos).images).logits
    resized = torch.nn.functional.interpolate(logits, (40, 48), mode="bilinear")
    for found, probabilities, photo in zip(scores.softmax(1), resized.softmax(1), photos, strict=True):
        torch.testing.assert_close(found, crf(probabilities, photo), atol=1e-4, rtol=0)
    assert (scores.argmax(1) != resized.argmax(1)).any()


@torch.no_grad()
def test_no_iteration_leaves_the_other_mode_alone(net, photos):
    base = MultiScale(scales=[0.5, 1.0])
    (scores,) = refined(DenseCRF(iterations=0), base=base)(net, normalised(photos))
    expected = torch.cat(list(base(net, normalised(photos))), dim=2)
    torch.testing.assert_close(scores.softmax(1), expected.softmax(1), atol=1e-4, rtol=0)


def test_the_protocol_tells_the_settings():
    told = str(refined(DenseCRF(iterations=3, bilateral_srgb=7)))
    assert told.startswith("whole, refined by dense CRF")
    assert "3 iterations" in told
    assert "7" in told
