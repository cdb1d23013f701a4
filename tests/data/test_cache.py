import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import Reads, write_camvid
from PIL import Image

from atrous.data import cache
from atrous.data.cache import InMemory, OnDisk
from atrous.data.camvid import CamVid
from atrous.data.sampling import Transformed
from atrous.data.scale_crop import scale_crop
from atrous.data.transforms import TrainTransform
from atrous.errors import ConfigError, DataError
from atrous.types import RawSample


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
    monkeypatch.setattr(cache, "memory", lambda: 4096)
    InMemory(Reads(20))  # 20 x 96 bytes of 4096
    dataset = Reads(22)
    with pytest.raises(ConfigError, match=r"would keep 22 images in 0.0 GiB, more than half.*Set data.cache=disk"):
        InMemory(dataset)
    assert dataset.reads == [0]


class Keyed(Reads):
    """`Reads` whose samples are of several sizes, with masks that need int32 from `wide_from` on."""

    def __init__(self, length, *, wide_from=10**9, key="key", bad=()):
        super().__init__(length, bad=bad)
        self.wide_from, self.key = wide_from, key

    def cache_key(self):
        return self.key

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        height, width = rng.integers(1, 40, 2)
        kind = np.int32 if index >= self.wide_from else np.uint8
        sample = super().__getitem__(index)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return sample._replace(image=image, mask=rng.integers(0, 200, (height, width)).astype(kind), name=f"ü/{index}")


def assert_equal(first, second):
    assert len(first) == len(second)
    for index in range(len(first)):
        (image, mask, name), (other, other_mask, other_name) = first[index], second[index]
        np.testing.assert_array_equal(image, other)
        np.testing.assert_array_equal(mask, other_mask)
        assert (image.dtype, mask.dtype, name) == (other.dtype, other_mask.dtype, other_name)


def test_samples_on_disk_are_the_datasets_and_are_decoded_once(tmp_path):
    dataset = Keyed(50, wide_from=30)
    kept = OnDisk(dataset, folder=tmp_path / "new")
    assert_equal(kept, Keyed(50, wide_from=30))
    assert kept.class_info == dataset.class_info
    assert not kept[3].image.flags.writeable
    with pytest.raises(IndexError):
        kept[50]
    dataset.reads.clear()
    assert_equal(OnDisk(dataset, folder=tmp_path / "new"), kept)
    assert not dataset.reads


def test_another_key_is_another_cache(tmp_path):
    OnDisk(Keyed(3), folder=tmp_path)
    assert len(OnDisk(Keyed(5, key="other"), folder=tmp_path)) == 5
    assert len(OnDisk(Keyed(9), folder=tmp_path)) == 3


def test_a_changed_file_makes_a_new_cache(tmp_path):
    root = write_camvid(tmp_path / "camvid", splits={"train": 3})
    old = OnDisk(CamVid(root=root, split="train"), folder=tmp_path)
    Image.fromarray(np.full((24, 32), 7, np.uint8)).save(root / "trainannot" / "train_00001.png")
    new = OnDisk(CamVid(root=root, split="train"), folder=tmp_path)
    assert (new[1].mask == 7).all()
    assert not (old[1].mask == 7).all()
    assert_equal(new, CamVid(root=root, split="train"))


@pytest.mark.parametrize("cache_of", [InMemory, OnDisk])
def test_a_cache_changes_no_training_sample(tmp_path, cache_of):
    root = write_camvid(tmp_path / "camvid", splits={"train": 6})
    dataset = CamVid(root=root, split="train")
    cached = cache_of(dataset, **({"folder": tmp_path} if cache_of is OnDisk else {}))
    transform = TrainTransform(crop_size=[20, 24], cat_max_ratio=0.7)
    plain, other = (Transformed(dataset=source, transform=transform, seed=5) for source in (dataset, cached))
    for key in ((epoch, index) for epoch in range(8) for index in range(6)):
        assert torch.equal(plain[key]["image"], other[key]["image"])
        assert torch.equal(plain[key]["mask"], other[key]["mask"])


@pytest.mark.parametrize("cache_of", [InMemory, lambda dataset: OnDisk(dataset, folder=dataset.folder)])
def test_a_cache_knows_whether_there_are_labels(tmp_path, cache_of):
    dataset = Keyed(2)
    dataset.folder = tmp_path
    assert cache_of(dataset).labelled
    dataset.labelled = False
    assert not cache_of(dataset).labelled


def test_a_dataset_that_can_not_tell_when_it_changes(tmp_path):
    with pytest.raises(
        ConfigError, match=r"when Reads's samples change.*cache_key\(\).*Add one, or set data.cache=ram"
    ):
        OnDisk(Reads(3), folder=tmp_path)


def test_a_bad_file_on_the_way_to_disk_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="file 5 is bad"):
        OnDisk(Keyed(9, bad=(6, 5)), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]
    assert_equal(OnDisk(Keyed(9), folder=tmp_path), Keyed(9))


def test_a_disk_that_is_too_small_is_told_before_it_is_filled(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=5 * 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(
        ConfigError,
        match=r"key needs about 0.\d\d GiB; its disk has 0.00 GiB free. Free some space, set data.cache_fol",
    ):
        OnDisk(Keyed(10_000), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_a_disk_that_becomes_full_on_the_way(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        ConfigError, match=r"can't be written: No space left on device; its disk has .* data.cache=none"
    ):
        OnDisk(Keyed(20), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_a_folder_that_can_not_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/below/key can't be written: Not a directory; its disk has"):
        OnDisk(Keyed(2), folder=tmp_path / "file" / "below")


# A process that fills a cache slowly; each of its reads is a line of `log`.
FILL = """
import os, sys, time
import numpy as np
from atrous.data.cache import OnDisk
from atrous.types import RawSample

class Slow:
    class_info = None
    def __len__(self):
        return 40
    def __getitem__(self, index):
        time.sleep(0.02)
        with open(sys.argv[2], "a") as log:
            log.write(f"{os.getpid()}\\n")
        return RawSample(np.full((64, 64, 3), index, np.uint8), np.full((64, 64), index, np.uint8), str(index))
    def cache_key(self):
        return "slow"

kept = OnDisk(Slow(), folder=sys.argv[1])
print(sum(int(kept[index].image.mean()) for index in range(40)))
"""


def start_filling(folder, log):
    return subprocess.Popen(
        [sys.executable, "-c", FILL, folder, log], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_of_two_processes_one_fills_and_the_other_waits(tmp_path):
    both = [start_filling(tmp_path / "cache", tmp_path / "log") for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [out for out, _ in said] == ["780\n"] * 2, said
    readers = (tmp_path / "log").read_text().split()
    assert len(set(readers)) == 1
    assert len(readers) == 40 + 8  # eight tell how large it will be
    assert sum("waiting for another process" in err for _, err in said) <= 1
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["slow", "slow.lock"]


def test_a_process_killed_on_the_way_leaves_no_cache(tmp_path):
    cache, log = tmp_path / "cache", tmp_path / "log"
    process = start_filling(cache, log)
    try:
        samples = cache / "slow.part" / "samples.bin"
        deadline = time.monotonic() + 60
        while not (samples.exists() and log.read_text().count("\n") > 20):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    assert samples.exists()
    assert not (cache / "slow").exists()
    out, err = start_filling(cache, log).communicate(timeout=60)
    assert out == "780\n", err
    assert sorted(path.name for path in cache.iterdir()) == ["slow", "slow.lock"]


def test_what_a_spawned_worker_is_sent_does_not_grow(tmp_path):
    small, large = (OnDisk(Keyed(length, key=str(length)), folder=tmp_path) for length in (5, 2000))
    sent = pickle.dumps(large)
    assert len(sent) < len(pickle.dumps(small)) + 20
    assert_equal(pickle.loads(sent), large)


def loaded():
    """KiB of the samples' files in this process's memory."""
    maps = Path("/proc/self/smaps").read_text().split("samples.bin")[1:]
    return sum(int(re.search(r"Rss:\s+(\d+) kB", part).group(1)) for part in maps)


needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux what is loaded")


@needs_smaps
def test_a_process_does_not_grow_with_the_samples_it_has_read(tmp_path):
    class Images(Keyed):
        def __getitem__(self, index):
            return RawSample(np.full((500, 700, 3), index, np.uint8), np.zeros((500, 700), np.uint8), str(index))

    kept = OnDisk(Images(40), folder=tmp_path)
    before = loaded()
    first = kept[0]
    for index in range(40):
        assert (kept[index].image == index).all()
    assert loaded() - before < 5000  # of 56,000
    assert (first.image == 0).all()


@needs_smaps
def test_only_the_pixels_that_survive_are_loaded(tmp_path):
    class Large(Keyed):
        def __getitem__(self, index):
            return RawSample(np.ones((3000, 4000, 3), np.uint8), np.ones((3000, 4000), np.uint8), "large")

    before = loaded()
    image, mask, _ = OnDisk(Large(1), folder=tmp_path)[0]
    assert loaded() - before < 1000
    for offset in ((0, 0), (1000, 2000), (2900, 3900)):
        crop, _ = scale_crop(
            image, mask, scaled=(3000, 4000), offset=offset, size=(100, 100), fill=(0, 0, 0), fill_mask=255
        )
        assert (crop == 1).all()
    # 3 x 100 rows of both files in pages, and the 64 KiB around each page that Linux loads with it, of 47,000
    assert loaded() - before < 20_000
