"""Folds, groups and strata of a data set that is divided by drawing."""

from collections import Counter

import pytest
from fixtures import write_folder

from atrous.data.drawn_split import Division, drawn_split
from atrous.data.folder import Folder
from atrous.errors import ConfigError, DataError

NAMES = [f"p{number % 9}_{'ab'[number % 3 == 0]}{number:02}" for number in range(40)]


def of_fold(fold, names=NAMES, folds=5, test=0.0, **how):
    return drawn_split(names, Division(0.2, test, folds=folds, fold=fold), **how)


def test_each_sample_is_val_in_one_fold():
    splits = [of_fold(fold) for fold in range(5)]
    for sample in zip(*splits, strict=True):
        assert sorted(sample) == ["train"] * 4 + ["val"]
    assert [split.count("val") for split in splits] == [8] * 5
    uneven = [of_fold(fold, NAMES[:38]).count("val") for fold in range(5)]
    assert sorted(uneven) == [7, 7, 8, 8, 8]


def test_test_is_of_no_fold():
    splits = [of_fold(fold, test=0.25) for fold in range(5)]
    assert [split.count("test") for split in splits] == [10] * 5
    for sample in zip(*splits, strict=True):
        assert sorted(sample) in (["test"] * 5, ["train"] * 4 + ["val"])


def test_groups_stay_together():
    groups = [name.split("_")[0] for name in NAMES]
    for fold in range(3):
        splits = of_fold(fold, folds=3, groups=groups, test=0.2)
        for group in set(groups):
            assert len({split for split, own in zip(splits, groups, strict=True) if own == group}) == 1
        assert splits.count("val") in range(7, 15)  # nine groups of four or five
    for seed in range(5):
        splits = drawn_split(NAMES, Division(0.2, 0.2, seed), groups=groups)
        for group in set(groups):
            assert len({split for split, own in zip(splits, groups, strict=True) if own == group}) == 1
        assert min(splits.count(split) for split in ("train", "val", "test")) >= 4


def test_strata_have_their_share_in_each_split():
    strata = [name.split("_")[1][0] for name in NAMES]  # 26 of one, 14 of the other
    for fold in range(5):
        found = Counter(s for s, split in zip(strata, of_fold(fold, strata=strata), strict=True) if split == "val")
        assert abs(found["a"] - 26 / 5) <= 1
        assert abs(found["b"] - 14 / 5) <= 1
    found = Counter(
        s
        for s, split in zip(strata, drawn_split(NAMES, Division(0.5, 0), strata=strata), strict=True)
        if split == "val"
    )
    assert abs(found["a"] - 13) <= 1
    assert abs(found["b"] - 7) <= 1


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_folder(tmp_path_factory.mktemp("own"), names=NAMES, size=(4, 4))
    lines = [f"images/{name}.jpg,masks/{name}.png,{name.split('_')[0]}" for name in NAMES]
    (root / "all.csv").write_text("\n".join(["image,mask,Patient", *lines]))
    return root


def dataset(root, split="val", **settings):
    files = {} if "csv" in settings else {"images": str(root / "images"), "masks": str(root / "masks")}
    return Folder(split=split, class_names=["ground", "cell"], **files, **settings)


@pytest.mark.parametrize("settings", [{"group": "^(.*?)_"}, {"csv": "all.csv", "group": "patient"}])
def test_groups_by_a_column_or_by_names(root, settings):
    settings = {key: str(root / value) if key == "csv" else value for key, value in settings.items()}
    patients = []
    for fold in range(3):
        data = dataset(root, folds=3, fold=fold, **settings)
        patients.append({data[index].name.split("/")[-1].split("_")[0] for index in range(len(data))})
    assert sum(map(len, patients)) == len(set.union(*patients)) == 9


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"folds": 5}, r"folds=5 and fold=None: give both.*-m data.folds=5 data.fold=0,1,2,3,4"),
        ({"folds": 5, "fold": 5}, "fold=5: .*0 to folds - 1"),
        ({"folds": 1, "fold": 0}, "two folds or more"),
        ({"folds": 41, "fold": 0}, "folds=41, but there are 40 samples"),
        ({"folds": 10, "fold": 0, "group": "^(.*?)_"}, "folds=10, but there are 9 "),
        ({"group": "patient"}, "group=patient is neither a column of csv"),
        ({"group": "("}, "group=.* is no regular expression"),
        ({"stratify": "(q)"}, r"stratify=\(q\) is not found in 40 of 40 names"),
    ],
)
def test_impossible_settings(root, settings, said):
    with pytest.raises(ConfigError, match=said):
        dataset(root, **settings)


def test_given_splits_are_not_divided(root):
    both = {kind: {split: str(root / kind) for split in ("train", "val")} for kind in ("images", "masks")}
    with pytest.raises(ConfigError, match=r"folds=5.*splits that are drawn; here they are given"):
        Folder(split="val", class_names=["ground", "cell"], **both, folds=5, fold=0)


def test_a_column_is_named_as_in_the_file_and_filled(root, tmp_path):
    csv = str(root / "all.csv")
    assert len(dataset(root, csv=csv, group="Patient", folds=3, fold=0)) > 0
    lines = (root / "all.csv").read_text().replace(",p1\n", ",\n")
    (root / "holes.csv").write_text(lines)
    with pytest.raises(DataError, match="group=patient: the column is empty for 'images/p1_"):
        dataset(root, csv=str(root / "holes.csv"), group="patient")
