import multiprocessing
import os
import time

import cv2
import numpy as np
import pytest
from fixtures import Reads, write_camvid

from atrous.data.camvid import CamVid
from atrous.data.class_counts import count_classes
from atrous.errors import DataError
from atrous.types import ClassInfo, RawSample


class Keyed(Reads):
    """Reads with a cache key."""

    key = "0123456789"

    def cache_key(self):
        return self.key


class Masks(Keyed):
    """Gives its masks alone too; of every third sample there is none."""

    def mask(self, index):
        return None if index % 3 == 2 else super().__getitem__(index).mask

    def __getitem__(self, index):
        raise AssertionError("the image was read")


def test_counts_of_camvid_are_those_of_its_files(tmp_path):
    root = write_camvid(tmp_path / "camvid", splits={"train": 5}, size=(19, 33), seed=1)
    dataset = CamVid(root=root, split="train")
    counts = count_classes(dataset, folder=tmp_path / "cache")
    assert (counts.shape, counts.dtype) == ((5, 11), np.int64)
    for path, row in zip(sorted((root / "trainannot").iterdir()), counts, strict=True):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert row.tolist() == [int((stored == value).sum()) for value in range(11)]  # 11 is void
    assert counts.sum() < 5 * 19 * 33
    np.testing.assert_array_equal(count_classes(dataset, folder=tmp_path / "cache"), counts)
    np.testing.assert_array_equal(count_classes(dataset, folder=None), counts)


def test_a_changed_mask_is_counted_anew(tmp_path):
    root = write_camvid(tmp_path / "camvid", splits={"train": 2}, seed=1)
    before = count_classes(CamVid(root=root, split="train"), folder=tmp_path / "cache")
    path = root / "trainannot" / "train_00001.png"
    cv2.imwrite(str(path), np.full((24, 32), 3, np.uint8))
    os.utime(path, (1, 1))
    after = count_classes(CamVid(root=root, split="train"), folder=tmp_path / "cache")
    np.testing.assert_array_equal(before[0], after[0])
    assert after[1].tolist() == [0, 0, 0, 24 * 32, *[0] * 7]


def test_masks_alone_are_read_where_a_dataset_gives_them():
    dataset = Masks(4, values=(0, 1, 255))
    assert count_classes(dataset, folder=None).tolist() == [[8, 8, 0], [8, 8, 0], [0, 0, 0], [8, 8, 0]]
    assert sorted(dataset.reads) == [0, 1, 3]


def test_counts_are_kept_by_key_and_made_again_where_the_file_is_damaged(tmp_path):
    dataset = Keyed(3)
    counts = count_classes(dataset, folder=tmp_path / "new" / "folder")
    (file,) = (tmp_path / "new" / "folder").glob("*.npz")
    assert "0123456789" in file.name
    whole = file.read_bytes()
    dataset.reads.clear()
    np.testing.assert_array_equal(count_classes(dataset, folder=file.parent), counts)
    assert dataset.reads == []
    for place in range(len(whole)):  # whatever byte is bad
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        np.testing.assert_array_equal(count_classes(dataset, folder=file.parent), counts)
    assert len(dataset.reads) > len(whole)
    dataset.reads.clear()
    for damaged in (b"", b"hello", whole[:-30], whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(count_classes(dataset, folder=file.parent), counts)
        assert len(dataset.reads) == 3, damaged
        assert file.read_bytes() != damaged
        dataset.reads.clear()
    for wrong in (counts[:2], counts[:, :2], counts.astype(np.int32)):
        np.savez(file, counts=wrong)
        np.testing.assert_array_equal(count_classes(dataset, folder=file.parent), counts)
    np.savez(file, other=counts)
    np.testing.assert_array_equal(count_classes(dataset, folder=file.parent), counts)
    dataset.key, dataset.values = "other", (2, 2)
    assert count_classes(dataset, folder=file.parent).tolist() == [[0, 0, 24]] * 3
    assert {path.suffix for path in file.parent.iterdir()} == {".npz", ".lock"}


def test_without_a_key_or_a_folder_every_call_counts(tmp_path):
    plain, keyed = Reads(2), Keyed(2)
    for _ in range(2):
        count_classes(plain, folder=tmp_path)
        count_classes(keyed, folder=None)
    assert len(plain.reads) == len(keyed.reads) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_no_counts(tmp_path):
    with pytest.raises(DataError, match="file 1 is bad"):
        count_classes(Keyed(3, bad=[1]), folder=tmp_path)
    assert list(tmp_path.glob("*.npz")) == []
    np.testing.assert_array_equal(count_classes(Keyed(3), folder=tmp_path), [[8, 8, 0]] * 3)


@pytest.mark.parametrize("value", [3, 200])
def test_a_value_that_is_no_class(value):
    with pytest.raises(DataError, match=rf"mask of '0' holds {value}, which is no class; expected 0 to 2 and 255"):
        count_classes(Reads(2, values=(0, value)), folder=None)


class Negative:
    """Ignored pixels are -1, in int32."""

    class_info = ClassInfo(("a", "b"), ((0, 0, 0), (1, 1, 1)), ignore_index=-1)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return RawSample(np.zeros((1, 4, 3), np.uint8), np.array([[-1, 1, 1, 0]], np.int32), "x")


def test_a_negative_ignore_index():
    assert count_classes(Negative(), folder=None).tolist() == [[1, 2]]


class Slow(Keyed):
    def __getitem__(self, index):
        time.sleep(0.02)
        return super().__getitem__(index)


def count_and_note(folder, barrier):
    dataset = Slow(40)
    barrier.wait()
    count_classes(dataset, folder=folder)
    (folder / f"{os.getpid()}.reads").write_text(str(len(dataset.reads)))


def test_of_several_processes_one_counts(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3, timeout=60)
    processes = [context.Process(target=count_and_note, args=(tmp_path, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(int(path.read_text()) for path in tmp_path.glob("*.reads")) == [0, 0, 40]
