import numpy as np
import pytest
from fixtures import write_camvid
from PIL import Image

from atrous.data.camvid import CamVid
from atrous.errors import DataError


@pytest.fixture
def root(tmp_path):
    return write_camvid(tmp_path / "camvid", splits={"train": 7, "val": 2})


def test_a_sample_is_the_files_with_void_ignored(root):
    dataset = CamVid(root=root, split="train")
    assert len(dataset) == 7
    image, mask, name = dataset[3]
    assert name == "train_00003"
    np.testing.assert_array_equal(image, np.asarray(Image.open(root / "train" / "train_00003.png")))
    stored = np.asarray(Image.open(root / "trainannot" / "train_00003.png"))
    np.testing.assert_array_equal(mask, np.where(stored == 11, 255, stored))


def test_eleven_classes_in_the_tutorials_order_and_colours(root):
    info = CamVid(root=root, split="val").class_info
    assert info.names[0] == "sky"
    assert info.names[10] == "bicyclist"
    assert info.palette[info.names.index("road")] == (128, 64, 128)
    assert [info.names[index] for index in info.things] == ["car", "pedestrian", "bicyclist"]
    assert info.ignore_index == 255


def test_255_is_no_value_of_camvid(root):
    Image.fromarray(np.full((24, 32), 255, np.uint8)).save(root / "valannot" / "val_00001.png")
    with pytest.raises(DataError, match=r"val_00001.png: mask values 255 \(768 pixels\) are outside"):
        CamVid(root=root, split="val")[1]


def test_the_real_camvid(camvid_root):
    train, val = (CamVid(root=camvid_root, split=split) for split in ("train", "val"))
    assert (len(train), len(val)) == (367, 101)
    counts, rows = np.zeros(256, int), np.zeros(11)
    for index in range(0, 367, 12):
        image, mask, _ = train[index]
        assert image.shape == (360, 480, 3)
        counts += np.bincount(mask.ravel(), minlength=256)
        rows += [(mask == label).argmax(0).mean() for label in range(11)]
    share = dict(zip(train.class_info.names, counts[:11] / counts.sum(), strict=True))
    assert sorted(share, key=share.get)[-3:] == ["sky", "building", "road"]
    assert counts[255] / counts.sum() < 0.1
    sky, _, _, road, pavement = rows[:5]
    assert sky < road
    assert sky < pavement
