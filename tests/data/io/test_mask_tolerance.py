"""Masks with soft edges, JPEG's noise or negative values: recognised, and read where a setting says how."""

import cv2
import numpy as np
import pytest
from fixtures import blocks
from PIL import Image

from atrous.data.io.masks import MaskReader
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo

BLACK = (0, 0, 0)
TWO = ClassInfo(("ground", "cell"), (BLACK, (255, 0, 0)))
THREE = ClassInfo(("ground", "cell", "edge"), (BLACK, (255, 0, 0), (0, 0, 255)))
TRUTH = cv2.resize(blocks(np.random.default_rng(0), 3, (48, 64)), (512, 384), interpolation=cv2.INTER_NEAREST)
BINARY = (TRUTH > 0).astype(np.uint8)


def saved(tmp_path, values, suffix=".png", **options):
    path = tmp_path / f"mask{suffix}"
    Image.fromarray(values).save(path, **options)
    return path


def smooth(values):
    return cv2.GaussianBlur(values, (5, 5), 0.8)


def inside(values):
    """Away from edges, where even blurred values say their class."""
    return cv2.morphologyEx(values, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) == 0


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_two_classes_by_a_threshold(tmp_path, suffix):
    values = BINARY * 255 if suffix == ".jpg" else smooth(BINARY * 255)
    path = saved(tmp_path, values if suffix != ".tif" else values.astype(np.float32) / 255, suffix)
    threshold = 0.5 if suffix == ".tif" else 128
    mask = MaskReader(class_info=TWO, threshold=threshold)(path)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask[inside(BINARY)], BINARY[inside(BINARY)])
    with pytest.raises(DataError, match=r"mask_threshold=128|mode F"):
        MaskReader(class_info=TWO)(path)
    assert (mask == (values >= (threshold * 255 if suffix == ".tif" else 128))).mean() > 0.999


def test_a_threshold_is_where_it_says(tmp_path):
    path = saved(tmp_path, np.arange(256, dtype=np.uint8)[None])
    np.testing.assert_array_equal(MaskReader(class_info=TWO, threshold=7)(path)[0], np.arange(256) >= 7)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_three_classes_by_the_nearest_value(tmp_path, suffix):
    path = saved(tmp_path, smooth(TRUTH * 100) if suffix == ".png" else TRUTH * 100, suffix)
    with pytest.raises(DataError, match="nearest_value=true"):
        MaskReader(class_info=THREE)(path)
    reader = MaskReader(class_info=THREE, value_map={0: 0, 100: 1, 200: 2}, nearest=True)
    mask = reader(path)
    stored = np.asarray(Image.open(path)).astype(int)
    np.testing.assert_array_equal(mask, abs(stored[..., None] - [0, 100, 200]).argmin(-1))
    np.testing.assert_array_equal(mask[inside(TRUTH)], TRUTH[inside(TRUTH)])
    assert reader.key() != MaskReader(class_info=THREE, value_map={0: 0, 100: 1, 200: 2}).key()


def test_colours_by_the_nearest(tmp_path):
    colors = dict(zip(THREE.palette, range(3), strict=True))
    pixels = np.array(THREE.palette, np.uint8)[TRUTH]
    path = saved(tmp_path, smooth(pixels))
    with pytest.raises(DataError, match=r"not in the palette.*nearest_value=true"):
        MaskReader(class_info=THREE, colors=colors)(path)
    mask = MaskReader(class_info=THREE, colors=colors, nearest=True)(path)
    distance = np.square(smooth(pixels)[:, :, None].astype(int) - np.array(THREE.palette)).sum(-1)
    assert (distance[np.arange(384)[:, None], np.arange(512), mask] == distance.min(-1)).all()
    np.testing.assert_array_equal(mask[inside(TRUTH)], TRUTH[inside(TRUTH)])


def test_what_soft_masks_are_told_and_what_hard_ones_are(tmp_path):
    for values, info, said in (
        (smooth(BINARY * 255), TWO, "set mask_threshold=128."),
        (smooth(BINARY * 200), TWO, "set mask_threshold=100."),
        (smooth(TRUTH * 100), THREE, "set nearest_value=true and value_map={0: 0, 100: 1, 200: 2}."),
        (BINARY * 255, ClassInfo(TWO.names, TWO.palette, ignore_index=254), "value_map={0: 0, 255: 1}"),
        (np.array([0, 128, 255], np.uint8)[TRUTH], THREE, "value_map={0: 0, 128: 1, 255: 2}"),
        (TRUTH + 7, THREE, "Set class_names"),
    ):
        with pytest.raises(DataError) as error:
            MaskReader(class_info=info)(saved(tmp_path, values))
        assert said in str(error.value)


def test_minus_one_is_ignored_where_value_map_says_so(tmp_path):
    values = np.array([[-1, 0, 1], [1, 0, -1]])
    expected = np.array([[255, 0, 1], [1, 0, 255]])
    for dtype in (np.int32, np.float32):
        path = saved(tmp_path, values.astype(dtype), ".tif")
        if dtype == np.int32:
            with pytest.raises(DataError, match=r"-1 \(2 pixels\).*value_map={-1: 255, 0: 0, 1: 1"):
                MaskReader(class_info=TWO)(path)
            np.testing.assert_array_equal(MaskReader(class_info=TWO, value_map={-1: 255, 0: 0, 1: 1})(path), expected)
        reader = MaskReader(class_info=TWO, value_map={-1: 255, 0: 0, 1: 1}, nearest=True)
        np.testing.assert_array_equal(reader(path), expected)
    info = ClassInfo(TWO.names, TWO.palette, ignore_index=-1)
    np.testing.assert_array_equal(MaskReader(class_info=info)(saved(tmp_path, values.astype(np.int32), ".tif")), values)


def test_numbers_that_are_none_are_no_background(tmp_path):
    path = saved(tmp_path, np.full((4, 4), np.nan, np.float32), ".tif")
    with pytest.raises(DataError, match="not finite"):
        MaskReader(class_info=TWO, threshold=0.5)(path)


@pytest.mark.parametrize(
    ("info", "settings", "said"),
    [
        (THREE, {"threshold": 1}, r"mask_threshold=1 .*two classes.*nearest_value=true"),
        (TWO, {"threshold": 1, "value_map": {0: 0}}, "value_map"),
        (TWO, {"nearest": True}, "nearest_value=true needs .*value_map=.*palette"),
    ],
)
def test_settings_that_contradict(info, settings, said):
    with pytest.raises(ConfigError, match=said):
        MaskReader(class_info=info, **settings)
