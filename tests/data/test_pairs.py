import os
import shutil

import numpy as np
import pytest
from fixtures import write_folder
from PIL import Image

from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split, missing_files, read_list
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo

TWO = ClassInfo(names=("ground", "cell"), palette=((0, 0, 0), (9, 9, 9)))
NAMES = ["a", "über/b", "c"]


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "data", names=NAMES)


def pairs(root, *, names=NAMES, masks=True, value_map=None):
    return FilePairs(
        title="the split 'train'",
        remedy="Get it anew.",
        names=names,
        images=[f"{root}/images/{name}.jpg" for name in names],
        masks=[f"{root}/masks/{name}.png" for name in names] if masks else None,
        reader=MaskReader(class_info=TWO, value_map=value_map),
    )


def test_samples_are_the_files_in_the_order_given(root):
    dataset = pairs(root)
    assert len(dataset) == 3
    assert dataset.labelled
    assert dataset.class_info == TWO
    for index, name in enumerate(NAMES):
        image, mask, found = dataset[index]
        assert found == name
        assert dataset.image_path(index) == root / "images" / f"{name}.jpg"
        assert dataset.mask_path(index) == root / "masks" / f"{name}.png"
        np.testing.assert_array_equal(mask, np.asarray(Image.open(root / "masks" / f"{name}.png")))
        stored = np.asarray(Image.open(root / "images" / f"{name}.jpg")).astype(int)
        assert abs(stored - image).max() <= 4  # two decoders' rounding


def test_a_reduced_sample_has_the_whole_mask(root):
    dataset = pairs(root)
    image, mask, name = dataset.read(1, reduction=4)
    assert image.shape == (6, 8, 3)
    np.testing.assert_array_equal(mask, dataset[1].mask)
    assert name == dataset[1].name


def test_a_split_without_labels_is_ignored_everywhere(root):
    dataset = pairs(root, masks=False)
    assert not dataset.labelled
    assert dataset.mask_path(0) is None
    for image, mask, _ in (dataset[0], dataset.read(0, reduction=2)):
        assert image.shape == (24, 32, 3)
        assert mask.shape == (24, 32)
        assert (mask == 255).all()


def test_missing_and_no_files(root):
    (root / "images" / "über" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"split 'train': 1 of 3 images are missing: .*images/über/b.jpg. Get it anew"):
        pairs(root)
    shutil.rmtree(root / "masks")
    with pytest.raises(DataError, match=r"2 of 2 masks are missing: .*masks/a.png, .*masks/c.png. Get it anew"):
        pairs(root, names=["a", "c"])
    with pytest.raises(DataError, match=r"split 'train' has no images. Get it anew"):
        pairs(root, names=[])


def test_missing_files_are_found_folder_by_folder(root, monkeypatch):
    (root / "images" / "folder.jpg").mkdir()
    there = [root / "images" / f"{name}.jpg" for name in NAMES]
    absent = [root / "images" / "folder.jpg", root / "nowhere" / "a.jpg", root / "images" / "z.jpg"]
    listed = []
    monkeypatch.setattr("os.scandir", lambda path, f=os.scandir: listed.append(path) or f(path))
    assert sorted(missing_files([*there, *absent])) == sorted(map(str, absent))
    assert sorted(listed) == sorted(str(root / folder) for folder in ("images", "images/über", "nowhere"))
    monkeypatch.chdir(root / "images")
    assert missing_files(["a.jpg", "b.jpg"]) == ["b.jpg"]


def touch(root):
    path = root / "images" / "a.jpg"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def grow(root):
    path = root / "masks" / "c.png"
    times = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_key_of_a_cache_is_that_of_its_files(root):
    key = pairs(root).cache_key()
    assert key == pairs(root).cache_key()
    assert len(key) == 20
    assert int(key, 16) >= 0
    moved = root.parent / "moved"
    root.rename(moved)
    assert pairs(moved).cache_key() == key
    keys = {
        key,
        pairs(moved, names=["a", "c"]).cache_key(),
        pairs(moved, names=NAMES[::-1]).cache_key(),
        pairs(moved, masks=False).cache_key(),
        pairs(moved, value_map={0: 1, 1: 0}).cache_key(),
    }
    assert len(keys) == 5
    for change in (touch, grow):
        change(moved)
        keys.add(pairs(moved).cache_key())
    assert len(keys) == 7


def test_the_key_tells_names_apart(root):
    """The same files under other names are other samples."""
    files = {"images": [root / "images" / "a.jpg"], "masks": None, "title": "", "remedy": ""}
    reader = MaskReader(class_info=TWO)
    first, second = (FilePairs(names=[name], reader=reader, **files).cache_key() for name in ("a", "b"))
    assert first != second


def test_splits_and_folders_are_checked(root):
    check_split("val", ("train", "val"), "Cells")
    with pytest.raises(ConfigError, match=r"Cells has no split 'x'; choose one of train, val."):
        check_split("x", ("train", "val"), "Cells")
    check_folders(root, ("images", "masks"), dataset="Cells", remedy="Get it anew.")
    with pytest.raises(
        DataError, match=r"Cells at .*data lacks the folder x, y; there are: images, masks. Get it anew"
    ):
        check_folders(root, ("images", "x", "y"), dataset="Cells", remedy="Get it anew.")
    with pytest.raises(DataError, match=r"no Cells folder at .*nowhere. Get it anew"):
        check_folders(root / "nowhere", ("images",), dataset="Cells", remedy="Get it anew.")


def test_a_list_is_read_without_its_empty_lines(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("\ufeffa\r\n\r\nb\n", encoding="utf-8")
    assert read_list(path, title="Cells", remedy="Get it anew.") == ["a", "b"]
    with pytest.raises(DataError, match=r"Cells: no list .*val.txt. Get it anew"):
        read_list(tmp_path / "val.txt", title="Cells", remedy="Get it anew.")
