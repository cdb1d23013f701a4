import json
import os
import time

import pytest
from fixtures import Reads, write_camvid

from atrous.data.audit.audit import audit
from atrous.data.audit.cache import check_before_training, check_together, key_of, remember
from atrous.data.camvid import CamVid
from atrous.errors import DataError


@pytest.fixture
def root(tmp_path):
    return write_camvid(tmp_path / "camvid", splits={"train": 12, "val": 12})


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "deeper" / "cache"


class Noting(CamVid):
    """Notes what is read."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.reads = []

    def __getitem__(self, index):
        self.reads.append(index)
        return super().__getitem__(index)


def splits(root):
    return {split: Noting(root=root, split=split) for split in ("train", "val")}


def audited(root, cache, **settings):
    datasets = splits(root)
    keys = {split: key_of(dataset) for split, dataset in datasets.items()}
    report = audit(datasets, **settings)
    remember(report, keys, cache)
    return report


def start(root, cache):
    """What a training does; returns how many samples it reads."""
    datasets = splits(root)
    check_together({name: check_before_training(dataset, cache) for name, dataset in datasets.items()}, cache)
    return [len(dataset.reads) for dataset in datasets.values()]


def touch(path):
    later = time.time_ns() + 10**9
    os.utime(path, ns=(later, later))


def test_files_without_errors_are_not_read_again_until_one_changes(root, cache):
    assert not audited(root, cache).errors
    assert start(root, cache) == [0, 0]
    touch(root / "val" / "val_00003.png")
    assert start(root, cache) == [0, 12]
    touch(root / "trainannot" / "train_00003.png")
    assert start(root, cache) == [12, 0]


def test_a_check_without_audit_is_remembered_as_well(root, cache):
    assert start(root, cache) == [12, 12]
    assert start(root, cache) == [0, 0]
    assert start(root, None) == [12, 12]


def test_errors_that_an_audit_found_stop_every_start_until_files_change(root, cache):
    for number in (3, 4):
        (root / "valannot" / f"val_{number:05}.png").write_bytes(b"")
    report = audited(root, cache)
    for _ in range(2):
        with pytest.raises(DataError) as error:
            start(root, cache)
        assert f"the audit of these files found 1 error:\n  val: {report.errors[0].text}\n" in str(error.value)
        assert "atrous audit" in str(error.value)
        assert "accept=[kind]" in str(error.value)
    for number in (3, 4):
        (root / "valannot" / f"val_{number:05}.png").write_bytes((root / "valannot" / "val_00005.png").read_bytes())
    assert start(root, cache) == [0, 12]


def test_an_error_of_two_splits_stops_them_together_only(root, cache):
    (root / "val" / "val_00003.png").write_bytes((root / "train" / "train_00003.png").read_bytes())
    audited(root, cache)
    assert check_before_training(splits(root)["val"], cache) == key_of(splits(root)["val"])
    with pytest.raises(DataError, match="train and val: 1 of 12 images of val are in train as well"):
        start(root, cache)
    audited(root, cache, accept=["duplicates"])
    assert start(root, cache) == [0, 0]
    audited(root, cache)
    (root / "train" / "train_00003.png").write_bytes((root / "train" / "train_00004.png").read_bytes())
    assert start(root, cache) == [12, 0]


def test_a_failed_check_is_not_remembered(root, cache):
    path = root / "valannot" / "val_00003.png"
    good, status = path.read_bytes(), path.stat()
    path.write_bytes(b"\0" * len(good))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"val_00003.png .* is no complete image"):
        start(root, cache)
    path.write_bytes(good)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert start(root, cache) == [0, 12]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 1, "errors": 3}', '{"version": 0, "errors": []}']
)
def test_damaged_or_older_results_are_forgotten(root, cache, content):
    start(root, cache)
    kept = sorted(cache.iterdir())
    assert [path.suffix for path in kept] == [".json"] * 2
    for path in kept:
        assert json.loads(path.read_text())["errors"] == []
        path.write_text(content)
    assert start(root, cache) == [12, 12]
    assert sorted(cache.iterdir()) == kept
    assert start(root, cache) == [0, 0]


def test_a_folder_that_cannot_be_written_stops_nothing(root, tmp_path):
    (tmp_path / "file").write_text("")
    assert start(root, tmp_path / "file") == [12, 12]
    remember(audit(splits(root)), dict.fromkeys(("train", "val"), "key"), tmp_path / "file")


def test_a_dataset_without_files_is_checked_each_time(cache):
    for _ in range(2):
        dataset = Reads(100)
        assert check_before_training(dataset, cache) is None
        assert len(dataset.reads) == 64
    with pytest.raises(DataError, match="file 0 is bad"):
        check_before_training(Reads(9, bad=[0]), cache)
    check_together({"train": None, "val": None}, cache)
    assert not cache.exists()
