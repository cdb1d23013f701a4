import numpy as np
import pytest
from data.writers.mapillary import write_mapillary
from hydra.utils import instantiate
from PIL import Image
from test_data_conf import load

from atrous.data.mapillary import CLASS_INFO, MapillaryVistas
from atrous.errors import ConfigError, DataError

VERSIONS = {"1.2": 66, "2.0": 124}  # labels
IGNORED = {  # the labels with "evaluate": false in config_v1.2.json and config_v2.0.json
    "1.2": {65: "Unlabeled"},
    "2.0": {
        2: "Ambiguous Barrier",
        31: "Person Group",
        38: "Lane Marking - Ambiguous",
        79: "Signage - Ambiguous",
        86: "Pole Group",
        96: "Traffic Sign - Ambiguous",
        115: "Vehicle Group",
        123: "Unlabeled",
    },
}
LANDMARKS = {  # stored value, name, colour, is a thing; from the same files
    "1.2": [
        (0, "Bird", (165, 42, 42), True),
        (8, "Crosswalk - Plain", (140, 140, 200), True),
        (13, "Road", (128, 64, 128), False),
        (27, "Sky", (70, 130, 180), False),
        (48, "Traffic Light", (250, 170, 30), True),
        (55, "Car", (0, 0, 142), True),
        (58, "On Rails", (0, 80, 100), False),
        (64, "Ego Vehicle", (120, 10, 10), False),
    ],
    "2.0": [
        (0, "Bird", (165, 42, 42), True),
        (3, "Concrete Block", (250, 170, 32), False),
        (21, "Road", (128, 64, 128), False),
        (30, "Person", (220, 20, 60), True),
        (39, "Lane Marking - Arrow (Left)", (250, 170, 26), True),
        (58, "Lane Marking (only) - Test", (255, 255, 255), False),
        (61, "Sky", (70, 130, 180), False),
        (91, "Traffic Light - Pedestrians", (250, 170, 30), True),
        (95, "Traffic Light - Other", (250, 170, 30), True),
        (108, "Car", (0, 0, 142), True),
        (111, "On Rails", (0, 80, 100), True),
        (122, "Static", (111, 111, 0), False),
    ],
}


@pytest.fixture
def root(tmp_path):
    return write_mapillary(tmp_path / "mapillary")


@pytest.mark.parametrize(("version", "classes", "things"), [("1.2", 65, 37), ("2.0", 116, 70)])
def test_classes_are_the_labels_that_are_evaluated(version, classes, things):
    info = CLASS_INFO[version]
    assert info.num_classes == classes
    assert len(info.things) == things
    assert set(range(VERSIONS[version])) - set(info.ids) == set(IGNORED[version])
    assert not set(IGNORED[version].values()) & set(info.names)
    for value, name, color, thing in LANDMARKS[version]:
        index = info.ids.index(value)
        assert (info.names[index], info.palette[index], index in info.things) == (name, color, thing)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_stored_value(tmp_path, version):
    root = write_mapillary(tmp_path, splits={"val": 1}, size=(4, 31))
    path = next((root / f"validation/v{version}/labels").iterdir())
    values = np.arange(124, dtype=np.uint8).reshape(4, 31) % VERSIONS[version]
    mask = Image.open(path)
    mask.paste(Image.fromarray(values), (0, 0))
    mask.save(path)
    assert Image.open(path).mode == "P"
    expected = values.astype(int)
    for count, value in enumerate(sorted(IGNORED[version])):
        expected[values > value] = values[values > value] - count - 1
    expected[np.isin(values, list(IGNORED[version]))] = 255
    np.testing.assert_array_equal(MapillaryVistas(root=root, split="val", version=version)[0].mask, expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_value_beyond_the_labels(root, version):
    path = min((root / f"validation/v{version}/labels").iterdir())
    Image.fromarray(np.full((48, 64), VERSIONS[version], np.uint8)).save(path)
    with pytest.raises(DataError, match=rf"labels/.*png: mask values {VERSIONS[version]} \(3072 pixels\) are outside"):
        MapillaryVistas(root=root, split="val", version=version)[0]


@pytest.mark.parametrize(
    ("release", "version", "below"),
    [("2.0", "1.2", "v1.2/labels"), ("2.0", "2.0", "v2.0/labels"), ("2.0", 2.0, "v2.0/labels"), ("1.1", 1.2, "labels")],
)
def test_samples_of_every_release_and_version(tmp_path, release, version, below):
    root = write_mapillary(tmp_path, release=release)
    for split, folder, count in (("train", "training", 5), ("val", "validation", 3)):
        dataset = MapillaryVistas(root=root, split=split, version=version)
        assert dataset.labelled
        assert len(dataset) == count
        ids = np.array([*dataset.class_info.ids])
        for index in range(count):
            image, mask, name = dataset[index]
            assert name == f"_x-{index:04d}N9c72sICO990Ue"
            stored = np.asarray(Image.open(root / folder / below / f"{name}.png"))
            decoded = np.asarray(Image.open(root / folder / "images" / f"{name}.jpg"))
            assert abs(image.astype(int) - decoded).max() <= 3  # OpenCV's decoder and Pillow's
            assert image.shape[:2] == mask.shape == ((48, 64) if index % 2 == 0 else (69, 51))
            np.testing.assert_array_equal(ids[mask[mask != 255]], stored[mask != 255])
            assert set(stored[mask == 255]) <= set(IGNORED[str(version)])


@pytest.mark.parametrize("release", ["1.1", "2.0"])
def test_test_has_no_labels(tmp_path, release):
    dataset = MapillaryVistas(root=write_mapillary(tmp_path, release=release), split="test")
    assert not dataset.labelled
    assert len(dataset) == 2
    assert (dataset[1].mask == 255).all()
    assert dataset[1].mask.shape == (69, 51)


def test_version_2_0_by_the_config(root):
    data = instantiate(
        load(
            "mapillary",
            {"root": str(root), "version": 2.0, "num_classes": 116, "train_transform": {"crop_size": [9, 7]}},
        ),
        _convert_="all",
    )
    batch = next(iter(data.train_dataloader()))
    assert batch["mask"].shape == (4, 9, 7)
    assert max(batch["mask"][batch["mask"] != 255]) > 64
    forgotten = instantiate(load("mapillary", {"root": str(root), "version": 2.0}), _convert_="all")
    with pytest.raises(ConfigError, match=r"num_classes=65, but the dataset has 116 classes.*Set data.num_classes=116"):
        forgotten.check()
