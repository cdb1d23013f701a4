"""Masks of one data set that mean different things by one value stop a training, unless an audit accepts them."""

import numpy as np
import pytest
from fixtures import write_folder
from PIL import Image

from atrous.data.audit.audit import audit
from atrous.data.audit.cache import check_before_training, remember
from atrous.data.folder import Folder
from atrous.data.quick_check import check
from atrous.errors import DataError

NAMES = [f"{number}" for number in range(6)]


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path, names=NAMES)


def dataset(root, names=("ground", "cell"), **settings):
    files = {"images": str(root / "images"), "masks": str(root / "masks")}
    return Folder(split="train", val_fraction=0, class_names=list(names), **files, **settings)


def change(root, which, change):
    for name in which:
        path = root / "masks" / f"{name}.png"
        with Image.open(path) as file:
            values = np.array(file)
        Image.fromarray(change(values)).save(path)


def refused(data, *parts):
    with pytest.raises(DataError) as error:
        check(data)
    for part in ("accept=[mixed]", *parts):
        assert part in str(error.value)
    return [found for found in audit({"train": data}).findings if found.kind == "mixed"]


def test_masks_of_0_and_255_among_masks_of_0_and_1(root):
    check(dataset(root))
    change(root, "24", lambda values: values * 255)
    (found,) = refused(dataset(root), "2 of 6 masks", "value_map={0: 0, 1: 1, 255: 1}")
    assert (found.severity, found.count, found.examples) == ("error", 2, ("2", "4"))
    mended = dataset(root, value_map={0: 0, 1: 1, 255: 1})
    check(mended)
    for name, sample in zip(NAMES, map(mended.__getitem__, range(6)), strict=True):
        with Image.open(root / "masks" / f"{name}.png") as file:
            np.testing.assert_array_equal(sample.mask, np.array(file) > 0)


def test_255_is_ignored_where_a_mask_has_it_beside_both_classes(root):
    change(root, "2", lambda values: values * 255)
    change(root, "3", lambda values: np.where(np.arange(32) < 2, 255, values).astype(np.uint8))
    check(dataset(root))


def test_a_mask_whose_ignored_pixels_are_meant_is_accepted_by_an_audit(root, tmp_path):
    change(root, "2", lambda values: values * 255)
    data, cache = dataset(root), tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(DataError, match=r"accept=\[mixed\]"):
        check_before_training(data, cache)
    remember(audit({"train": data}, accept=["mixed"]), {"train": data.cache_key()}, cache)
    check_before_training(data, cache)


def test_colour_tables_that_differ_in_order(root):
    def indexed(name, table):
        path = root / "masks" / f"{name}.png"
        with Image.open(path) as file:
            image = Image.fromarray(np.array(file), mode="P")
        image.putpalette([part for color in table for part in color])
        image.save(path)

    black, red, green = (0, 0, 0), (255, 0, 0), (0, 255, 0)
    three = ["ground", "cell", "edge"]
    for name in NAMES:
        indexed(name, [black, red, green])
    check(dataset(root, three))
    indexed("1", [black, (9, 9, 9), green])  # another shade of the same
    check(dataset(root, three))
    indexed("5", [black, green, red])
    (found,) = refused(
        dataset(root, three), "5.png", "palette=[[r, g, b], ...]", "[0, 255, 0] is value 1 in", "and 2 in"
    )
    assert (found.severity, found.count, found.examples) == ("error", 1, ("5",))
    indexed("1", [black, red, green])
    by_color = dataset(root, three, palette=[black, red, green])
    check(by_color)
    with Image.open(root / "masks" / "5.png") as file:
        np.testing.assert_array_equal(by_color[5].mask, np.array([0, 2, 1])[np.array(file)])
