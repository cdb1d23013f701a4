import numpy as np
import pytest
from fixtures import write_folder
from PIL import Image

from atrous.data.folder import Folder
from atrous.errors import ConfigError, DataError

NAMES = ["b/2", "a/1", "c"]
TWO = ["ground", "cell"]
ALL_TRAIN = {"split": "train", "class_names": TWO, "val_fraction": 0}


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "own", names=NAMES)


def folders(root):
    return {"images": str(root / "images"), "masks": str(root / "masks")}


def names_of(dataset):
    return [dataset[index].name for index in range(len(dataset))]


def test_pairs_by_path_and_stem(root):
    dataset = Folder(**ALL_TRAIN, **folders(root))
    assert names_of(dataset) == ["a/1", "b/2", "c"]
    np.testing.assert_array_equal(dataset[1].mask, np.asarray(Image.open(root / "masks" / "b" / "2.png")))
    assert dataset.class_info.names == ("ground", "cell")
    assert dataset.class_info.palette == ((0, 0, 0), (128, 0, 0))  # PASCAL VOC's colour map


def test_a_mask_suffix_also_within_one_folder(root):
    both = root / "both"
    both.mkdir()
    (root / "images" / "c.jpg").rename(both / "c.jpg")
    (root / "masks" / "c.png").rename(both / "c_mask.png")
    dataset = Folder(**ALL_TRAIN, images=str(both), masks=str(both), mask_suffix="_mask")
    assert names_of(dataset) == ["c"]


def test_a_folder_for_each_split(tmp_path):
    for split, count in {"train": 3, "val": 1}.items():
        write_folder(tmp_path / split, names=[f"{split}{number}" for number in range(count)])
    settings = {
        "images": {split: str(tmp_path / split / "images") for split in ("train", "val")},
        "masks": {split: str(tmp_path / split / "masks") for split in ("train", "val")},
        "class_names": TWO,
    }
    assert names_of(Folder(split="val", **settings)) == ["val0"]
    assert len(Folder(split="train", **settings)) == 3
    with pytest.raises(DataError, match=r"split 'test': images has train, val.* Add images.test=... and masks.test="):
        Folder(split="test", **settings)


def test_pairs_and_splits_from_a_csv(root):
    (root / "all.csv").write_text(
        "image,mask,split\nimages/c.jpg,masks/c.png,val\nimages/a/1.jpg,masks/a/1.png,train\n"
    )
    settings = {"class_names": TWO, "csv": str(root / "all.csv")}
    assert names_of(Folder(split="train", **settings)) == ["images/a/1"]
    assert names_of(Folder(split="val", **settings)) == ["images/c"]
    with pytest.raises(DataError, match="no rows of the split 'test', only of train, val"):
        Folder(split="test", **settings)


def test_a_csv_without_splits_is_drawn(root):
    (root / "all.csv").write_text("image,mask\nimages/c.jpg,masks/c.png\n")
    assert names_of(Folder(**ALL_TRAIN, csv=str(root / "all.csv"))) == ["images/c"]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("many"), names=[f"{number:03d}" for number in range(200)], size=(2, 2))


def drawn(root, **settings):
    return {
        split: set(names_of(Folder(split=split, class_names=TWO, **folders(root), **settings)))
        for split in ("train", "val", "test")
    }


def test_drawn_splits_cover_everything_once_and_have_their_shares(many):
    splits = drawn(many, val_fraction=0.2, test_fraction=0.3)
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 200
    assert len(splits["val"]) == pytest.approx(40, abs=15)
    assert len(splits["test"]) == pytest.approx(60, abs=18)
    assert drawn(many, val_fraction=0.2, test_fraction=0.3, split_seed=1) != splits


def test_new_files_move_none_of_the_old_ones(many, tmp_path):
    fewer = write_folder(tmp_path, names=[f"{number:03d}" for number in range(150)], size=(2, 2))
    before, after = (drawn(root, val_fraction=0.2, test_fraction=0.1) for root in (fewer, many))
    for split, names in before.items():
        assert names <= after[split]


def test_masks_by_colour(root):
    for path in (root / "masks").rglob("*.png"):
        stored = np.asarray(Image.open(path))
        Image.fromarray(np.array([(255, 0, 0), (0, 255, 0)], np.uint8)[stored]).save(path)
    Image.fromarray(np.full((24, 32, 3), 9, np.uint8)).save(root / "masks" / "a" / "1.png")
    dataset = Folder(**ALL_TRAIN, **folders(root), palette=[[255, 0, 0], [0, 255, 0]], ignore_colors=[[9, 9, 9]])
    assert set(np.unique(dataset[0].mask)) == {255}
    assert set(np.unique(dataset[1].mask)) <= {0, 1}
    assert dataset.class_info.palette == ((255, 0, 0), (0, 255, 0))


def test_a_value_map(root):
    for path in (root / "masks").rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) * 255).save(path)
    dataset = Folder(**ALL_TRAIN, **folders(root), value_map={0: 0, 255: 1})
    assert set(np.unique(np.stack([dataset[index].mask for index in range(3)]))) == {0, 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "training"}, "no split 'training'; choose one of"),
        ({"images": None}, "give images and masks .*or csv alone"),
        ({"csv": "a.csv"}, "give images and masks .*or csv alone"),
        ({"images": {"train": "a"}}, "give images and masks .*or csv alone"),
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "val_fraction=0.6 and test_fraction=0.4: .*below 1"),
        ({"val_fraction": -0.1}, "val_fraction=-0.1"),
        ({"class_names": ["a", "a"]}, "class names repeat"),
        ({"ignore_index": 1}, "ignore_index 1 is the class 'cell'"),
        ({"palette": [[0, 0, 0]]}, "2 class names but 1 palette colours"),
        ({"palette": [[0, 0, 0], [0, 0, 256]]}, r"colour \[0, 0, 256\] is impossible; expected \[red, green, blue\]"),
        ({"palette": [[0, 0, 0], [0, 0, 0]]}, "name a colour twice"),
        ({"palette": [[0, 0, 0], [1, 0, 0]], "ignore_colors": [[1, 0, 0]]}, "name a colour twice"),
        ({"value_map": {255: 2}}, "value_map {255: 2}: expected"),
    ],
)
def test_impossible_settings(root, change, message):
    with pytest.raises(ConfigError, match=message):
        Folder(**{**ALL_TRAIN, **folders(root), **change})


def test_an_empty_drawn_split(root):
    with pytest.raises(DataError, match=r"split 'test' is empty: none of 3 samples .*Raise test_fraction, or"):
        Folder(split="test", class_names=TWO, **folders(root))
    with pytest.raises(DataError, match="split 'train' is empty: all 3 samples"):
        Folder(split="train", class_names=TWO, **folders(root), val_fraction=0.999)
