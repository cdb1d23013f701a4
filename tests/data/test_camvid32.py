import numpy as np
import pytest
from data.writers.camvid32 import FRAMES, LABEL_COLORS, write_camvid32
from hydra.utils import instantiate
from PIL import Image
from test_data_conf import load

from atrous.data import camvid
from atrous.data.camvid32 import CLASS_INFO, STRAY_COLORS, CamVid32
from atrous.errors import DataError

COLORS = {tuple(map(int, line.split()[:3])): line.split()[3] for line in LABEL_COLORS.splitlines()}

# camvidPixelLabelIDs of MathWorks' SegNet example; its names of the 11 groups are those of `data=camvid` without case.
GROUPS = {
    "sky": ["Sky"],
    "building": ["Bridge", "Building", "Wall", "Tunnel", "Archway"],
    "pole": ["Column_Pole", "TrafficCone"],
    "road": ["Road", "LaneMkgsDriv", "LaneMkgsNonDriv"],
    "pavement": ["Sidewalk", "ParkingBlock", "RoadShoulder"],
    "tree": ["Tree", "VegetationMisc"],
    "sign_symbol": ["SignSymbol", "Misc_Text", "TrafficLight"],
    "fence": ["Fence"],
    "car": ["Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"],
    "pedestrian": ["Pedestrian", "Child", "CartLuggagePram", "Animal"],
    "bicyclist": ["Bicyclist", "MotorcycleScooter"],
}


@pytest.fixture
def root(tmp_path):
    return write_camvid32(tmp_path / "camvid32")


def all_colors_in(root, frame):
    """Writes a frame whose label holds each of the 32 colours once, in the order of label_colors.txt."""
    label = np.array([list(COLORS)], np.uint8)  # (1, 32, 3)
    Image.fromarray(label).save(root / "LabeledApproved_full" / f"{frame}_L.png")
    Image.fromarray(label).save(root / "701_StillsRaw_full" / f"{frame}.png")


def test_classes_are_those_of_label_colors_txt_but_void():
    assert dict(zip(CLASS_INFO.palette, CLASS_INFO.names, strict=True)) | {(0, 0, 0): "Void"} == COLORS
    assert CLASS_INFO.num_classes == 31
    things = [CLASS_INFO.names[index] for index in CLASS_INFO.things]
    assert things == sorted(GROUPS["car"] + GROUPS["pedestrian"] + GROUPS["bicyclist"], key=str.lower)


def test_every_colour_becomes_its_class(root):
    all_colors_in(root, "0016E5_07959")
    mask = CamVid32(root=root, split="val")[0].mask
    assert [CLASS_INFO.names[index] if index != 255 else "Void" for index in mask[0]] == list(COLORS.values())


def test_eleven_groups(root):
    all_colors_in(root, "0016E5_07959")
    dataset = CamVid32(root=root, split="val", classes=11)
    assert dataset.class_info == camvid.CLASS_INFO
    group_of = {name: group for group, names in GROUPS.items() for name in names} | {"Void": None}
    found = [camvid.CLASS_INFO.names[index] if index != 255 else None for index in dataset[0].mask[0]]
    assert found == [group_of[name] for name in COLORS.values()]


def test_the_stray_colours_of_the_published_files_are_void(root):
    assert not set(STRAY_COLORS) & set(COLORS)
    stray = np.array([[(26, 26, 26), (128, 128, 102), (154, 154, 51), (64, 128, 64)]], np.uint8)
    Image.fromarray(stray).save(root / "LabeledApproved_full" / "Seq05VD_f00000_L.png")
    Image.new("RGB", (4, 1)).save(root / "701_StillsRaw_full" / "Seq05VD_f00000.png")
    assert CamVid32(root=root, split="test")[2].mask.tolist() == [[255, 255, 255, 0]]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_sample_is_the_files(root, split):
    dataset = CamVid32(root=root, split=split)
    assert {dataset[index].name for index in range(len(dataset))} == set(FRAMES[split])
    image, mask, name = dataset[1]
    np.testing.assert_array_equal(image, np.asarray(Image.open(root / "701_StillsRaw_full" / f"{name}.png")))
    label = np.asarray(Image.open(root / "LabeledApproved_full" / f"{name}_L.png"))
    painted = np.array([*CLASS_INFO.palette, *[(0, 0, 0)] * 225], np.uint8)[mask]
    np.testing.assert_array_equal(painted, label)


def whole(folder, frames):
    """Empty files called as `frames` of CamVid, with their labels: a split is made from names alone."""
    for name in ("701_StillsRaw_full", "LabeledApproved_full"):
        (folder / name).mkdir(parents=True)
    for frame in frames:
        (folder / "701_StillsRaw_full" / f"{frame}.png").touch()
        (folder / "LabeledApproved_full" / f"{frame}_L.png").touch()
    return folder


def members(root, split):
    dataset = CamVid32(root=root, split=split)
    return [dataset.image_path(index).stem for index in range(len(dataset))]


def test_splits_are_segnets(camvid_root, tmp_path):
    """Train and val against the files of SegNet's tutorial, test against its test.txt."""
    train, val = ([path.stem for path in sorted((camvid_root / split).iterdir())] for split in ("train", "val"))
    test = [f"0001TP_{number:06d}" for number in range(8550, 10381, 30)]
    test += [f"Seq05VD_f{number:05d}" for number in range(0, 5101, 30)]
    root = whole(tmp_path / "camvid32", train + val + test)
    assert (len(train), len(val), len(test)) == (367, 101, 233)
    assert {split: members(root, split) for split in ("train", "val", "test")} == {
        "train": train,
        "val": val,
        "test": test,
    }


def test_an_unknown_colour(root):
    Image.new("RGB", (32, 24), (1, 2, 3)).save(root / "LabeledApproved_full" / "0016E5_08159_L.png")
    with pytest.raises(DataError, match=r"0016E5_08159_L.png: colour \[1, 2, 3\] \(768 pixels\) is not in the palette"):
        CamVid32(root=root, split="val")[3]


def test_labels_that_hold_numbers(root):
    Image.new("L", (32, 24), 4).save(root / "LabeledApproved_full" / "0016E5_08159_L.png")
    with pytest.raises(DataError, match=r"0016E5_08159_L.png: mask values 4 \(768 pixels\).*expected colours"):
        CamVid32(root=root, split="val")[3]


@pytest.mark.parametrize("classes", [31, 11])
def test_the_config(root, classes):
    settings = load("camvid32", {"root": str(root), "classes": classes})
    assert settings["num_classes"] == classes
    data = instantiate(settings, _convert_="all")
    data.check()
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 3, 32, 40)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert [batch["mask"].shape for batch in loader] == [(2, 24, 32)] * 2
        labels = {int(label) for batch in loader for label in batch["mask"].unique()}
        assert max(labels - {255}) >= classes // 2
