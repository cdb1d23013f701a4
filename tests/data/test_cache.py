import numpy as np
import pytest
from fixtures import Reads

from atrous.data import cache
from atrous.data.cache import InMemory
from atrous.errors import ConfigError, DataError


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
    monkeypatch.setattr(cache.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1}[name])
    InMemory(Reads(20))  # 20 x 96 bytes of 4096
    dataset = Reads(22)
    with pytest.raises(ConfigError, match=r"would keep 22 images in 0.0 GiB, more than half.*Set data.cache=disk"):
        InMemory(dataset)
    assert dataset.reads == [0]
