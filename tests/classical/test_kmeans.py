import itertools

import numpy as np
import pytest
from skimage.color import rgb2lab
from sklearn.cluster import KMeans as Reference

from atrous.classical.features import PixelFeatures, lab
from atrous.classical.kmeans import KMeans, lloyd
from atrous.errors import ConfigError

RGB = {"rgb": 1, "lab": 0, "position": 0, "gradient": 0, "texture": 0}


def kmeans(**settings):
    kept = {
        "side": None,
        "clusters": 3,
        "init": "kmeans++",
        "restarts": 1,
        "iterations": 50,
        "seed": 0,
        "train_images": 0,
    }
    return KMeans(**{**kept, "features": PixelFeatures(**RGB), **settings})


@pytest.mark.parametrize("spread", [0.0, 8.0])  # 8: some centres start without points
def test_iterates_are_those_of_scikit_learn(spread):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 4)).astype(np.float32)
    start = points[:6].astype(float) + spread * rng.normal(size=(6, 4))
    steps = list(lloyd(points, start, 40))
    energies = [step.energy for step in steps]
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(energies))
    found = Reference(6, init=start.astype(np.float32), n_init=1, algorithm="lloyd", max_iter=40).fit(points)
    np.testing.assert_allclose(steps[-1].energy, found.inertia_, rtol=1e-4)
    np.testing.assert_array_equal(steps[-1].labels, found.labels_)


def test_restarts_never_do_worse():
    image = np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)
    once, often = (list(kmeans(init="random", clusters=7, restarts=count).iterates(image)) for count in (1, 8))
    assert often[-1].energy <= once[-1].energy


def test_centres_common_to_all_images_number_them_alike():
    method = kmeans(train_images=2, clusters=2)
    dark, light = np.full((8, 8, 3), 20, np.uint8), np.full((8, 8, 3), 200, np.uint8)
    with pytest.raises(ConfigError, match="train_images=2"):
        method(dark)
    method.fit([dark, light])
    assert {int(method(dark).min()), int(method(light).min())} == {0, 1}


def test_more_clusters_than_pixels_are_refused():
    with pytest.raises(ConfigError, match=r"method\.clusters=3.* 2 pixels.*clusters=2"):
        kmeans()(np.zeros((1, 2, 3), np.uint8))


def test_features_are_the_fields():
    image = np.random.default_rng(2).integers(0, 256, (6, 9, 3), np.uint8)
    np.testing.assert_allclose(lab(image) * 100, rgb2lab(image), atol=0.5)
    everything = PixelFeatures(rgb=1, lab=1, position=2, gradient=1, texture=1)(image)
    assert everything.shape == (6, 9, 3 + 3 + 2 + 1 + 10)
    np.testing.assert_allclose(everything[-1, -1, 6:8], [2 * 5 / 9, 2 * 8 / 9])
    with pytest.raises(ConfigError, match="rgb=0"):
        PixelFeatures(**{**RGB, "rgb": 0})
