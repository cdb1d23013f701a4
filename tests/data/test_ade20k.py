import numpy as np
import pytest
from data.writers.ade20k import write_ade20k
from PIL import Image

from atrous.data.ade20k import ADE20K, CLASS_INFO
from atrous.errors import DataError


@pytest.fixture
def root(tmp_path):
    return write_ade20k(tmp_path / "ade20k")


# Lines of objectInfo150.txt (its Idx and the first of its names), and colours of mmsegmentation's ade.py.
LANDMARKS = {
    1: ("wall", (120, 120, 120)),
    2: ("building", (180, 120, 120)),
    3: ("sky", (6, 230, 230)),
    7: ("road", (140, 140, 140)),
    13: ("person", (150, 5, 61)),
    21: ("car", (0, 102, 200)),
    45: ("chest of drawers", (6, 51, 255)),
    49: ("skyscraper", (140, 140, 140)),
    60: ("stairway", (31, 0, 255)),
    75: ("computer", (0, 255, 173)),
    90: ("television", (0, 255, 194)),
    100: ("buffet", (255, 112, 0)),
    120: ("ball", (255, 0, 163)),
    137: ("traffic light", (41, 0, 255)),
    150: ("flag", (92, 0, 255)),
}


def test_classes_are_those_of_the_benchmark():
    assert CLASS_INFO.num_classes == 150
    assert CLASS_INFO.ids == tuple(range(1, 151))
    assert {number: (CLASS_INFO.names[number - 1], CLASS_INFO.palette[number - 1]) for number in LANDMARKS} == LANDMARKS
    assert len(set(CLASS_INFO.palette)) == 149  # road's is skyscraper's


def test_a_hundred_classes_are_things():
    assert len(CLASS_INFO.things) == 100  # as in the instance track, and in Mask2Former
    things = {CLASS_INFO.names[index] for index in CLASS_INFO.things}
    assert {"bed", "person", "door", "car", "stairs", "step", "palm", "clock", "flag"} <= things
    assert not {"wall", "sky", "road", "house", "stairway", "tower", "escalator", "tent", "shower"} & things


def test_every_value_becomes_its_class(root):
    stored = np.arange(151, dtype=np.uint8).reshape(1, 151)
    Image.new("RGB", (151, 1)).save(root / "ADEChallengeData2016/images/validation/ADE_val_00000001.jpg")
    Image.fromarray(stored).save(root / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png")
    np.testing.assert_array_equal(ADE20K(root=root, split="val")[0].mask, [[255, *range(150)]])


def test_a_sample_is_the_files(root):
    dataset = ADE20K(root=root, split="train")
    assert [dataset[index].name for index in range(len(dataset))] == [f"ADE_train_{n:08d}" for n in range(1, 6)]
    shapes = [dataset[index].image.shape for index in range(len(dataset))]
    assert shapes == [(24, 32, 3), (32, 28, 3), (24, 32, 3), (32, 28, 3), (24, 32, 3)]
    image, mask, name = dataset[1]
    folder = root / "ADEChallengeData2016"
    np.testing.assert_array_equal(
        mask + np.uint8(1), np.asarray(Image.open(folder / f"annotations/training/{name}.png"))
    )
    expected = np.asarray(Image.open(folder / f"images/training/{name}.jpg")).astype(int)
    assert abs(image - expected).max() <= 2  # two JPEG decoders
    grey = dataset[4].image
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def test_the_test_images_have_no_labels(root):
    dataset = ADE20K(root=root, split="test")
    assert dataset.labelled is False
    assert [dataset[index].name for index in range(2)] == ["ADE_test_00000001", "ADE_test_00000002"]
    assert (dataset[1].mask == 255).all()
    assert dataset[1].mask.shape == dataset[1].image.shape[:2] == (32, 28)
    assert ADE20K(root=root, split="val").labelled is True


def test_values_above_150_are_no_classes(root):
    path = root / "ADEChallengeData2016/annotations/validation/ADE_val_00000002.png"
    Image.fromarray(np.full((32, 28), 151, np.uint8)).save(path)
    with pytest.raises(DataError, match=r"ADE_val_00000002.png: mask values 151 \(896 pixels\) are outside"):
        ADE20K(root=root, split="val")[1]
