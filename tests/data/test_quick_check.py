import numpy as np
import pytest

from atrous.data import quick_check
from atrous.data.quick_check import InMemory, check, fingerprint
from atrous.data.scenes import Scenes
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo, RawSample


class Reads:
    """Samples whose reading is noted and fails for `bad` indices."""

    class_info = ClassInfo(("ground", "cell", "edge"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))

    def __init__(self, length, bad=(), values=(0, 1, 255)):
        self.length, self.bad, self.values = length, bad, values
        self.reads = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.reads.append(index)
        if index in self.bad:
            raise DataError(f"file {index} is bad")
        mask = np.resize(np.array(self.values, np.uint8), (4, 6))
        return RawSample(np.full((4, 6, 3), index % 256, np.uint8), mask, str(index))


@pytest.mark.parametrize(("length", "max_files", "count"), [(1000, 8, 8), (5, 8, 5), (1, 8, 1)])
def test_a_check_reads_evenly_spaced_samples(length, max_files, count):
    dataset = Reads(length)
    check(dataset, max_files=max_files)
    reads = sorted(dataset.reads)
    assert len(reads) == len(set(reads)) == count
    assert (reads[0], reads[-1]) == (0, length - 1)
    gaps = np.diff(reads)
    assert count == 1 or gaps.max() - gaps.min() <= 1


def test_a_check_raises_the_first_error():
    with pytest.raises(DataError, match=r"^file 3 is bad"):
        check(Reads(9, bad=(7, 3, 8)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 255), r"the 4 masks read hold only class 'ground' and ignored pixels \(255\).*value_map=\{0: 0, 255: 1\}"),
        ((255,), "hold only ignored pixels"),
    ],
)
def test_masks_in_which_255_may_be_meant_as_a_class(values, message):
    with pytest.raises(DataError, match=message):
        check(Reads(4, values=values))


@pytest.mark.parametrize("values", [(0,), (0, 1), (1, 2, 255)])
def test_masks_that_are_fine(values):
    check(Reads(4, values=values))


def test_samples_in_memory_are_the_datasets_and_are_read_once():
    dataset, reference = Reads(20), Reads(20)
    kept = InMemory(dataset)
    assert len(kept) == 20
    assert kept.class_info == dataset.class_info
    dataset.reads.clear()
    for index in range(20):
        np.testing.assert_array_equal(kept[index].image, reference[index].image)
        np.testing.assert_array_equal(kept[index].mask, reference[index].mask)
        assert kept[index].name == str(index)
    assert not dataset.reads


def test_a_bad_file_on_the_way_to_memory():
    with pytest.raises(DataError, match="file 5 is bad"):
        InMemory(Reads(9, bad=(6, 5)))


def test_more_than_the_memory(monkeypatch):
    monkeypatch.setattr(quick_check.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1}[name])
    InMemory(Reads(20))  # 20 x 96 bytes of 4096
    dataset = Reads(22)
    with pytest.raises(ConfigError, match=r"would keep 22 images in 0.0 GiB, more than half.*Set data.cache=false"):
        InMemory(dataset)
    assert dataset.reads == [0]


def test_a_fingerprint_tells_data_apart():
    first, same = (Scenes(split="val", length=5, size=(32, 32), seed=0, context_distance=1) for _ in range(2))
    others = [
        Scenes(split="train", length=5, size=(32, 32), seed=0, context_distance=1),
        Scenes(split="val", length=6, size=(32, 32), seed=0, context_distance=1),
        Scenes(split="val", length=5, size=(32, 32), seed=1, context_distance=1),
    ]
    assert fingerprint(first) == fingerprint(same)
    assert len({fingerprint(first), *map(fingerprint, others)}) == 4
