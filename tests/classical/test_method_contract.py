"""What every method of conf/method must do. A new yaml is covered without being told."""

import numpy as np
import pytest
from fixtures import blocks, image_of

from atrous.classical.method import described, enlarged, numbered
from atrous.classical.seeds import UNMARKED
from atrous.config.compose import CONF_DIR, compose_groups, instantiate
from atrous.config.possible import METHOD
from atrous.errors import ConfigError

NAMES = sorted(path.stem for path in (CONF_DIR / "method").glob("*.yaml"))
SMALL = {
    "slic": ["method.segments=12"],
    "watershed": ["method.segments=12"],
    "felzenszwalb": ["method.min_size=4"],
    "mean_shift": ["method.min_size=4"],
    "spectral": ["method.clusters=3", "method.superpixels=12"],
    "normalized_cuts": ["method.superpixels=12"],
}


def built(name, *overrides):
    config = compose_groups([f"method={name}", *SMALL.get(name, []), *overrides], ("method", "matching", "trainer"))
    return config["method"], instantiate(config["method"])


def needed(name, size):
    """What a method takes beside the image: seeds where it needs them."""
    if "scribbles" not in built(name)[0]:
        return []
    seeds = np.full(size, UNMARKED, np.int32)
    seeds[0, :2], seeds[-1, -2:] = 0, 1
    return [seeds]


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(3)
    return image_of(blocks(rng, 4, (25, 37)), rng)


@pytest.mark.parametrize("name", NAMES)
def test_segments_are_numbered_at_the_images_size_and_the_same_again(name, image):
    _, method = built(name)
    kept = image.copy()
    segments = method(image, *needed(name, image.shape[:2]))
    assert segments.dtype == np.int32
    assert segments.shape == image.shape[:2]
    assert len(np.unique(segments)) == segments.max() + 1 > 1
    np.testing.assert_array_equal(built(name)[1](image, *needed(name, image.shape[:2])), segments)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_image_is_segmented_smaller(name, image):
    _, method = built(name, "method.side=20")
    assert max(method.reduced(image).shape) == 20
    assert method(image, *needed(name, image.shape[:2])).shape == image.shape[:2]


@pytest.mark.parametrize("name", NAMES)
def test_the_last_iterate_is_the_result(name, image):
    _, method = built(name)
    seeds = needed(name, image.shape[:2])
    *_, last = method.steps(image, *seeds)
    np.testing.assert_array_equal(numbered(enlarged(last.segments, image.shape[:2])), numbered(method(image, *seeds)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(16, 16), (1, 40)])
def test_an_image_of_one_colour(name, size):
    _, method = built(name)
    segments = method(np.full((*size, 3), 90, np.uint8), *needed(name, size))
    assert segments.shape == size
    assert len(np.unique(segments)) == segments.max() + 1


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_is_too_large_names_the_remedy(name):
    _, method = built(name, "method.side=null")
    length = method.most_pixels // 1000 + 1
    with pytest.raises(ConfigError, match=r"method\.side=\d+ or less"):
        method(np.broadcast_to(np.uint8(7), (length, 1000, 3)), *needed(name, (length, 1000)))


@pytest.mark.parametrize("name", NAMES)
def test_its_text_and_its_checks_know_each_setting(name):
    config, method = built(name)
    for key in config.keys() - {"_target_"}:
        assert f"{key} " in described(method)
        assert key in ("features", "seed") or f"method.{key}" in METHOD


@pytest.mark.parametrize("name", NAMES)
def test_it_is_told_and_shown(name):
    page = CONF_DIR.parent / "docs" / "methods.md"
    assert f"\n## {name}\n" in page.read_text(encoding="utf-8")
    assert (page.parent / "methods" / f"{name}.png").is_file(), "python docs/methods/pictures.py"
