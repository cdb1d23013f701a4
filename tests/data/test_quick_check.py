import numpy as np
import pytest
from fixtures import Reads

from atrous.data.quick_check import check, fingerprint
from atrous.data.scenes.scenes import Scenes
from atrous.errors import DataError


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


def test_a_fingerprint_tells_data_apart():
    first, same = (Scenes(split="val", length=5, size=(32, 32), seed=0, context_distance=1) for _ in range(2))
    others = [
        Scenes(split="train", length=5, size=(32, 32), seed=0, context_distance=1),
        Scenes(split="val", length=6, size=(32, 32), seed=0, context_distance=1),
        Scenes(split="val", length=5, size=(32, 32), seed=1, context_distance=1),
    ]
    assert fingerprint(first) == fingerprint(same)
    assert len({fingerprint(first), *map(fingerprint, others)}) == 4


def test_a_split_without_labels_is_no_0_255_mask():
    dataset = Reads(4, values=(255,))
    dataset.labelled = False
    check(dataset)
