import hashlib
import re
import unicodedata

import numpy as np
import pytest
from fixtures import write_folder
from PIL import Image

from atrous.config.upgrade import upgraded
from atrous.data.audit.audit import audit
from atrous.data.drawn_split import Division, drawn_split
from atrous.data.folder import Folder
from atrous.data.quick_check import check
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


def test_drawn_splits_cover_everything_once_and_have_exactly_their_shares(many):
    splits = drawn(many, val_fraction=0.2, test_fraction=0.3)
    assert {split: len(names) for split, names in splits.items()} == {"train": 100, "val": 40, "test": 60}
    assert len(set.union(*splits.values())) == 200
    assert drawn(many, val_fraction=0.2, test_fraction=0.3, split_seed=1) != splits


def test_new_files_move_no_more_of_the_old_ones_over_a_boundary():
    for total, new, seed in ((10, 1, 0), (30, 7, 1), (150, 50, 2), (3, 1, 3)):
        names = [f"{number:03d}" for number in range(total + new)]
        division = Division(0.2, 0.1, seed)
        before = drawn_split(names[:total], division)
        after = drawn_split(names, division)[:total]
        for boundary in (("test",), ("test", "val")):
            moved = sum((old in boundary) != (now in boundary) for old, now in zip(before, after, strict=True))
            assert moved <= new


@pytest.mark.parametrize(
    ("total", "train", "val"), [(2, 1, 1), (3, 2, 1), (7, 6, 1), (8, 6, 2), (10, 8, 2), (30, 24, 6)]
)
def test_small_sets(total, train, val):
    splits = drawn_split([f"image {n}" for n in range(total)], Division(0.2, 0))
    assert (splits.count("train"), splits.count("val")) == (train, val)


def test_a_single_image_is_divided_by_no_share(tmp_path):
    root = write_folder(tmp_path, names=["only"])
    settings = {"class_names": TWO, **folders(root)}
    assert len(Folder(split="train", **settings)) == 1
    with pytest.raises(DataError, match=r"split 'val' is empty.*Add images.*'data.images={train: F, val: F}'"):
        Folder(split="val", **settings)
    twice = {kind: {"train": folder, "val": folder} for kind, folder in folders(root).items()}
    assert names_of(Folder(split="val", class_names=TWO, **twice)) == ["only"]


def test_two_forms_of_one_name_fall_to_one_split():
    names = [f"zelle ä ü {n}" for n in range(20)]
    composed, decomposed = (
        drawn_split([unicodedata.normalize(form, name) for name in names], Division(0.5, 0)) for form in ("NFC", "NFD")
    )
    assert composed == decomposed


def test_runs_of_before_keep_their_splits(many, tmp_path):
    """Of the rule "hash": a name's split hangs on nothing but itself."""
    names = [f"{number:03d}" for number in range(200)]
    splits = drawn_split(names, Division(0.2, 0.1, 3, "hash"))
    hashes = [int(hashlib.sha256(f"3/{name}".encode()).hexdigest()[:16], 16) / 2**64 for name in names]
    assert splits == ["test" if at < 0.1 else "val" if at < 0.1 + 0.2 else "train" for at in hashes]
    config = {"data": {"dataset": {"_target_": "atrous.data.folder.Folder"}, "val_fraction": 0.2}}
    assert upgraded(config)["data"]["split_rule"] == "hash"
    assert "split_rule" not in upgraded({"data": {"dataset": {"_target_": "atrous.data.camvid.CamVid"}}})["data"]
    root = write_folder(tmp_path, names=["train/a", "test/b", "train/c"])
    (root / "all.csv").write_text("image,mask,Split\nimages/train/a.jpg,masks/train/a.png,test\n")
    assert len(Folder(**ALL_TRAIN, **folders(root), split_rule="hash")) == 3
    assert len(Folder(**ALL_TRAIN, csv=str(root / "all.csv"), split_rule="hash")) == 1


def test_folders_called_train_and_test_are_not_divided_anew(tmp_path):
    root = write_folder(tmp_path, names=["site/Train/a", "site/test/b"])
    (root / "all.csv").write_text(
        "image,mask\nimages/site/Train/a.jpg,masks/site/Train/a.png\nimages/site/test/b.jpg,masks/site/test/b.png\n"
    )
    for files in (folders(root), {"csv": str(root / "all.csv")}):
        with pytest.raises(DataError, match=r"folders called Train, test.*'data.images={train: ..., val: ...}'.*CSV"):
            Folder(**ALL_TRAIN, **files)
    assert len(Folder(**ALL_TRAIN, **folders(write_folder(tmp_path / "one", names=["train/a", "more/b"])))) == 2


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
        ({"images": None}, "give images with masks .*or csv alone"),
        ({"csv": "a.csv"}, "give images with masks .*or csv alone"),
        ({"images": {"train": "a"}}, "give images with masks .*or csv alone"),
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "val_fraction=0.6 and test_fraction=0.4: .*below 1"),
        ({"split_rule": "random"}, "split_rule=random.*rank, hash"),
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
    with pytest.raises(DataError, match=r"split 'test' is empty: of 3 samples.*Raise test_fraction") as error:
        Folder(split="test", class_names=TWO, **folders(root))
    assert error.value.kind == "absent"


@pytest.mark.parametrize("header", ["Image,MASK,Split", "image, mask , split", "image,mask,SPLIT"])
def test_capitals_and_spaces_in_a_csv_mean_nothing(root, header):
    (root / "all.csv").write_text(header + "\nimages/c.jpg,masks/c.png, Val\nimages/a/1.jpg,masks/a/1.png,TRAIN\n")
    settings = {"class_names": TWO, "csv": str(root / "all.csv")}
    assert names_of(Folder(split="train", **settings)) == ["images/a/1"]
    assert names_of(Folder(split="val", **settings)) == ["images/c"]


@pytest.mark.parametrize(
    ("column", "values"), [("subset", "01"), ("Usage", ["train", "test"]), ("part of", ["training", "Validation"])]
)
def test_a_split_under_another_name_is_not_drawn_anew(root, column, values):
    lines = [f"images/{name}.jpg,masks/{name}.png,{value}" for name, value in zip(("c", "a/1"), values, strict=True)]
    (root / "all.csv").write_text("\n".join([f"image,mask,{column}", *lines]))
    with pytest.raises(DataError, match=rf"no column split.*'{column.lower()}'.*Call it split"):
        Folder(**ALL_TRAIN, csv=str(root / "all.csv"))


def test_other_columns_of_a_csv_are_left_alone(root):
    (root / "all.csv").write_text(
        "image,mask,patient,notes\nimages/c.jpg,masks/c.png,7,\nimages/a/1.jpg,masks/a/1.png\n"
    )
    assert names_of(Folder(**ALL_TRAIN, csv=str(root / "all.csv"))) == ["images/c", "images/a/1"]


def test_two_columns_of_one_name(root):
    (root / "all.csv").write_text("image,mask,split,Split\nimages/c.jpg,masks/c.png,train,test\n")
    with pytest.raises(DataError, match="2 columns called split"):
        Folder(**ALL_TRAIN, csv=str(root / "all.csv"))


def renamed(root, image, mask):
    for folder, pattern in (("images", image), ("masks", mask)):
        for path in sorted((root / folder).rglob("*.*")):
            path.rename(path.with_name(pattern.replace("*", path.stem) + path.suffix))


@pytest.mark.parametrize(
    ("image", "mask"),
    [("*_leftImg8bit", "*_gtFine_labelIds"), ("img_*", "mask_*"), ("*", "gt.*"), ("im-*-x", "*")],
)
def test_names_with_something_before_and_after(tmp_path, image, mask):
    root = write_folder(tmp_path, names=["a/x_1", "a/x_2", "b/x_10"])
    expected = [Folder(**ALL_TRAIN, **folders(root))[index].mask for index in range(3)]
    renamed(root, image, mask)
    with pytest.raises(DataError, match="have no mask") as error:
        Folder(**ALL_TRAIN, **folders(root))
    said = re.findall(r"'data\.(image_name|mask_name)=([^']*)'", str(error.value))  # as proposed, it works
    for names in (dict(said), {"image_name": image, "mask_name": mask}):
        dataset = Folder(**ALL_TRAIN, **folders(root), **names)
        for index, values in enumerate(expected):
            np.testing.assert_array_equal(dataset[index].mask, values)
    assert dataset.left_out == ()


def test_two_forms_of_a_name_are_one(tmp_path):
    root = write_folder(tmp_path, names=["größe 1", "é"])
    renamed(root, "*", "*")
    for path in list((root / "images").iterdir()):
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    for path in list((root / "masks").iterdir()):
        path.rename(path.with_name(unicodedata.normalize("NFC", path.name)))
    assert len(Folder(**ALL_TRAIN, **folders(root))) == 2


def test_a_pattern_with_an_extension_chooses_between_two_images_of_one_name(root):
    Image.new("RGB", (8, 8)).save(root / "images" / "c.png")
    with pytest.raises(DataError, match=r"have one name.*'data.image_name=\*.png'.*CSV"):
        Folder(**ALL_TRAIN, **folders(root))
    assert names_of(Folder(**ALL_TRAIN, **folders(root), image_name="*.jpg")) == ["a/1", "b/2", "c"]


def test_a_folder_of_masks_inside_that_of_the_images(root):
    (root / "masks").rename(root / "images" / "masks")
    inside = {"images": str(root / "images"), "masks": str(root / "images" / "masks")}
    dataset = Folder(**ALL_TRAIN, **inside)
    assert (names_of(dataset), dataset.left_out) == (["a/1", "b/2", "c"], ())


def test_no_file_is_its_own_mask(root):
    with pytest.raises(ConfigError, match=r"each file would be its own mask.*data.mask_name=\*_mask"):
        Folder(**ALL_TRAIN, images=str(root / "masks"), masks=str(root / "masks"))


def test_files_that_belong_to_no_sample_are_refused_unless_accepted(root):
    assert Folder(**ALL_TRAIN, **folders(root)).left_out == ()
    good = Folder(**ALL_TRAIN, **folders(root)).cache_key()
    Image.new("L", (8, 8)).save(root / "masks" / "alone.png")
    (root / "images" / "scan.jp2").write_bytes(b"x")
    dataset = Folder(**ALL_TRAIN, **folders(root))
    assert dataset.cache_key() != good
    with pytest.raises(DataError, match=r"2 files belong to no sample.*alone.png.*scan.jp2.*accept=\[unpaired\]"):
        check(dataset)
    assert [(found.kind, found.severity) for found in audit({"train": dataset}).findings[:1]] == [("unpaired", "error")]
    assert audit({"train": dataset}, accept=["unpaired"]).errors == ()
    check(Folder(**ALL_TRAIN, **folders(root), split_rule="hash"))  # a run of before goes on


def test_masks_of_several_splits_in_one_folder_belong_to_all(tmp_path):
    root = write_folder(tmp_path, names=["a", "b"])
    (root / "val").mkdir()
    (root / "images" / "b.jpg").rename(root / "val" / "b.jpg")
    masks = str(root / "masks")
    settings = {
        "images": {"train": str(root / "images"), "val": str(root / "val")},
        "masks": {"train": masks, "val": masks},
    }
    assert Folder(split="train", class_names=TWO, **settings).left_out == ()


def test_a_jfif_is_a_jpeg(root):
    (root / "images" / "c.jpg").rename(root / "images" / "c.jfif")
    assert names_of(Folder(**ALL_TRAIN, **folders(root))) == ["a/1", "b/2", "c"]


@pytest.mark.parametrize("names", [{"image_name": "img_"}, {"mask_name": "*_*"}, {"image_name": "a/*"}])
def test_impossible_patterns(root, names):
    with pytest.raises(ConfigError, match=r"_name=.*one \* for"):
        Folder(**ALL_TRAIN, **folders(root), **names)
    with pytest.raises(ConfigError, match=r"mask_suffix=_m and mask_name=m_\* say the same"):
        Folder(**ALL_TRAIN, **folders(root), mask_suffix="_m", mask_name="m_*")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"unannotated": 1}, "unannotated=1 means nothing for masks that are images"),
        ({"annotations": "a", "masks": None, "mask_threshold": 3}, "mask_threshold=3 means nothing for annotations"),
        ({"annotations": "a", "masks": None, "nearest_value": True}, "nearest_value=True means nothing"),
        ({"csv": "a", "images": None, "masks": None, "mask_name": "m_*"}, r"mask_name=m_\* means nothing for csv"),
        ({"value_map": {"0": 0}}, "value_map {0: 0}: expected a stored value"),
        ({"value_map": {True: 0}}, "value_map {True: 0}: expected a stored value"),
    ],
)
def test_settings_that_would_mean_nothing(root, settings, said):
    with pytest.raises(ConfigError, match=said):
        Folder(**{**ALL_TRAIN, **folders(root), **settings})
