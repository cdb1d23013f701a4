"""Deformed and turned crops, against scipy's splines and resampling."""

import math

import numpy as np
import pytest
from scipy import ndimage

from atrous.data.elastic import crop_places, random_elastic_crop
from atrous.data.scale_crop import random_scale_crop
from atrous.data.transforms import TrainTransform

RNG = np.random.default_rng(0)
# Smooth, so that OpenCV's rounding of places to a 32nd of a pixel shows little.
IMAGE = np.stack([ndimage.gaussian_filter(RNG.normal(size=(61, 83)), 3) for _ in range(3)], axis=-1)
IMAGE = np.interp(IMAGE, (IMAGE.min(), IMAGE.max()), (0, 255)).astype(np.uint8)
MASK = RNG.integers(0, 11, (61, 83), dtype=np.uint8)
PLAIN = {"scale": [1, 1], "flip": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "blur": 0}


def crop(seed=0, **changes):
    settings = {"size": (40, 51), "scale": (0.6, 1.7), "elastic": 4.0, "rotation": 180.0} | changes
    return random_elastic_crop(IMAGE, MASK, rng=np.random.default_rng(seed), **settings)


def spline_field(nodes, size):
    """scipy's cubic spline through the nodes of one component; `mirror` makes it flat at the ends."""
    places = np.meshgrid(*(np.linspace(0, 2, side) for side in size), indexing="ij")
    return ndimage.map_coordinates(nodes, places, order=3, mode="mirror")


@pytest.mark.parametrize("seed", range(4))
def test_is_scipys_resampling_of_scipys_field(seed):
    """The draws are repeated in the order in which they are told: factor, position, displacements, angle."""
    size, elastic, rotation = (40, 51), 4.0, 180.0
    rng = np.random.default_rng(seed)
    factor = rng.uniform(0.6, 1.7)
    scaled = [round(side * factor) for side in MASK.shape]
    offset = [rng.integers(min(0, s - c), max(0, s - c), endpoint=True) for s, c in zip(scaled, size, strict=True)]
    moves = rng.normal(scale=elastic, size=(2, 3, 3))
    angle = math.radians(rng.uniform(-rotation, rotation))
    # A complex number turns by a product: real is across, imaginary is up.
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    centre = complex((size[1] - 1) / 2, -(size[0] - 1) / 2)
    turned = (x - 1j * y - centre) * np.exp(-1j * angle) + centre
    ys, xs = -turned.imag + spline_field(moves[0], size), turned.real + spline_field(moves[1], size)
    ys, xs = (
        (along + o + 0.5) * n / s - 0.5 for along, o, n, s in zip((ys, xs), offset, MASK.shape, scaled, strict=True)
    )
    image, mask = crop(seed, size=size)
    expected = np.stack(
        [ndimage.map_coordinates(IMAGE[..., c].astype(float), (ys, xs), order=1, mode="mirror") for c in range(3)], -1
    )
    assert np.abs(image - expected).max() < 2
    np.testing.assert_array_equal(mask, ndimage.map_coordinates(MASK, (ys, xs), order=0, mode="mirror"))


@pytest.mark.parametrize("seed", range(6))
def test_without_deformation_it_is_the_plain_crop(seed):
    image, mask = crop(seed, elastic=0.0, rotation=0.0, size=(30, 36), scale=(0.7, 1.4))
    rng = np.random.default_rng(seed)
    plain, plain_mask = random_scale_crop(
        IMAGE, MASK, size=(30, 36), scale=(0.7, 1.4), fill=[0, 0, 0], fill_mask=255, rng=rng
    )
    np.testing.assert_array_equal(mask, plain_mask)
    assert np.abs(image.astype(int) - plain).max() <= 2


def test_the_displacements_are_those_of_the_nodes():
    """At the corners, the middles and the centre; between them no further than a little beyond the nodes'."""
    moves = np.random.default_rng(1).normal(scale=10, size=(2, 3, 3))
    places = crop_places((41, 81), moves, 0.0)
    field = places - np.mgrid[:41, :81]
    np.testing.assert_allclose(field[:, ::20, ::40], moves, atol=1e-9)
    assert np.abs(field).max() < 1.5 * np.abs(moves).max()
    assert np.abs(np.diff(field, axis=-1)).max() < 2  # pixels from one to the next: it is smooth


def test_a_quarter_turn_is_exact():
    square = MASK[:41, :41]
    places = crop_places((41, 41), np.zeros((2, 3, 3)), math.pi / 2)
    rows, cols = np.rint(places).astype(int)
    assert any(np.array_equal(square[rows, cols], np.rot90(square, turns)) for turns in (1, 3))


def test_the_standard_deviation_is_the_setting():
    """The middle of a crop as high as the image is displaced by its node alone."""
    ramp = np.arange(201, dtype=np.int32)[:, None].repeat(3, 1)  # each pixel's row
    image = np.zeros((201, 3, 3), np.uint8)
    settings = {"size": (201, 3), "scale": (1, 1), "elastic": 10.0, "rotation": 0.0}
    middles = [
        random_elastic_crop(image, ramp, rng=np.random.default_rng(seed), **settings)[1][100, 1] for seed in range(400)
    ]
    assert abs(np.mean(middles) - 100) < 2
    assert 9 < np.std(middles) < 11


def test_labels_move_with_the_image():
    mask = np.kron(RNG.integers(0, 2, (6, 8)), np.ones((16, 16), int)).astype(np.uint8)
    image = np.repeat(mask[..., None] * np.uint8(255), 3, -1)
    for seed in range(5):
        out, labels = random_elastic_crop(
            image, mask, size=(90, 120), scale=(1, 1), elastic=6, rotation=30, rng=np.random.default_rng(seed)
        )
        assert ((out[..., 0] > 127) == labels).mean() > 0.999


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2)])
def test_tiny_images_are_mirrored(shape):
    mask = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    settings = {"size": (17, 12), "scale": (0.5, 2), "elastic": 10, "rotation": 180, "rng": np.random.default_rng(0)}
    image, labels = random_elastic_crop(np.repeat(mask[..., None], 3, -1), mask, **settings)
    assert image.shape == (17, 12, 3)
    assert set(np.unique(labels)) <= set(mask.ravel())


def test_the_transform_is_a_function_of_the_seed():
    transform, other = (TrainTransform(crop_size=[32, 40], elastic=5, rotation=90) for _ in range(2))
    first, again, new = transform(IMAGE, MASK, seed=5), other(IMAGE, MASK, seed=5), other(IMAGE, MASK, seed=6)
    for a, b, c in zip(first, again, new, strict=True):
        assert a.equal(b)
        assert not a.equal(c)
    assert not first[0].equal(TrainTransform(crop_size=[32, 40])(IMAGE, MASK, seed=5)[0])


@pytest.mark.parametrize(("name", "other"), [("elastic", "rotation"), ("rotation", "elastic")])
def test_each_setting_deforms_alone_and_reads_the_whole_image(name, other):
    transform = TrainTransform(crop_size=[61, 83], **PLAIN | {name: 20, other: 0, "scale": [0.1, 0.2]})
    assert [transform.reduction(seed) for seed in range(5)] == [1] * 5
    whole = TrainTransform(crop_size=[61, 83], **PLAIN | {name: 20})
    _, mask = whole(IMAGE, MASK, seed=0)
    assert (mask.numpy() != MASK).mean() > 0.3


def test_a_large_image_is_read_where_the_crop_is():
    """OpenCV's remap takes no side of 32768 pixels."""
    mask = np.zeros((4, 40000), np.uint8)
    settings = {"size": (8, 8), "scale": (1, 1), "elastic": 3, "rotation": 45, "rng": np.random.default_rng(0)}
    _, labels = random_elastic_crop(np.zeros((4, 40000, 3), np.uint8), mask, **settings)
    assert labels.shape == (8, 8)
