import numpy as np
import pytest
from data.writers.coco_stuff import NUMBERS, UNUSED, write_coco_stuff
from hydra.utils import instantiate
from PIL import Image
from scipy.io import loadmat, savemat
from test_data_conf import load
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from atrous.data.coco_stuff import CLASS_INFO, COCOStuff
from atrous.errors import DataError


@pytest.fixture(params=["164k", "10k"])
def version(request):
    return request.param


@pytest.fixture
def root(tmp_path, version):
    return write_coco_stuff(tmp_path / "coco", version=version)


def category_numbers(root, name):
    """What a file says, 0 for unlabelled and COCO's numbers from 1 on."""
    (path,) = root.glob(f"annotations/**/{name}.*")
    return loadmat(path)["S"] if path.suffix == ".mat" else (np.asarray(Image.open(path), int) + 1) % 256


def test_classes_are_those_of_the_authors_list(version):
    info = CLASS_INFO[version]
    assert info.num_classes == 171
    assert info.ids == tuple(NUMBERS[1:] - (version == "164k"))
    number = {name: id_ + (version == "164k") for name, id_ in zip(info.names, info.ids, strict=True)}
    coco = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert {name: coco.index(name) for name in coco[1:] if name != "N/A"} == dict(list(number.items())[:80])
    assert {name: number[name] for name in ("banner", "desk-stuff", "door-stuff", "sky-other", "wood")} == {
        "banner": 92,
        "desk-stuff": 110,
        "door-stuff": 112,
        "sky-other": 157,
        "wood": 182,
    }
    assert list(info.names[80:]) == sorted(info.names[80:])
    assert info.things == tuple(range(80))
    assert len(set(info.palette)) == 171


def test_samples_are_the_files(root, version):
    dataset = COCOStuff(root=root, split="train", version=version)
    assert len(dataset) == 5
    shapes, seen = set(), set()
    for index in range(5):
        image, mask, name = dataset[index]
        assert name == dataset.image_path(index).stem
        np.testing.assert_array_equal(image, np.asarray(Image.open(dataset.image_path(index)).convert("RGB")))
        expected = np.array([255, *range(171)])[np.searchsorted(NUMBERS, category_numbers(root, name))]
        np.testing.assert_array_equal(mask, expected)
        shapes.add(mask.shape)
        seen.add(int(mask.max()))
    assert shapes == {(48, 64), (64, 48)}
    assert 255 in seen


def save_numbers(root, name, numbers):
    (path,) = root.glob(f"annotations/**/{name}.*")
    if path.suffix == ".mat":
        savemat(path, {"S": numbers.astype(float)})
    else:
        Image.fromarray(numbers - np.uint8(1)).save(path)


def test_every_stored_value(root, version):
    dataset = COCOStuff(root=root, split="train", version=version)
    for numbers in np.array_split(NUMBERS.astype(np.uint8), 3):
        save_numbers(root, dataset[1].name, np.resize(numbers, (48, 64)))
        expected = np.resize([255 if number == 0 else list(NUMBERS).index(number) - 1 for number in numbers], (48, 64))
        np.testing.assert_array_equal(dataset[1].mask, expected)


@pytest.mark.parametrize("number", [*UNUSED, 183])
def test_numbers_without_a_class(root, version, number):
    dataset = COCOStuff(root=root, split="train", version=version)
    save_numbers(root, dataset[1].name, np.full((48, 64), number, np.uint8))
    with pytest.raises(DataError, match=rf"mask values {number - (version == '164k')} \(3072 pixels\) are outside"):
        dataset[1]


def test_splits_of_the_whole(tmp_path):
    root = write_coco_stuff(tmp_path / "coco")
    train, val, test = (COCOStuff(root=root, split=split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (5, 2, 2)
    assert val.image_path(0).parent == root / "images/val2017"
    assert val.mask_path(0) == root / f"annotations/val2017/{val[0].name}.png"
    assert not test.labelled
    assert (test[1].mask == 255).all()
    assert test[1].mask.shape == test[1].image.shape[:2]


def test_maps_made_for_mmsegmentation_lie_beside_and_are_not_read(tmp_path):
    root = write_coco_stuff(tmp_path / "coco")
    before = COCOStuff(root=root, split="val")[0]
    for path in list((root / "annotations/val2017").iterdir()):
        Image.new("L", (64, 48)).save(path.with_name(f"{path.stem}_labelTrainIds.png"))
    dataset = COCOStuff(root=root, split="val")
    assert len(dataset) == 2
    np.testing.assert_array_equal(dataset[0].mask, before.mask)


def test_the_lists_of_10k_and_its_val_is_test(tmp_path):
    root = write_coco_stuff(tmp_path / "coco", version="10k")
    for split, listed in (("train", "train"), ("val", "test"), ("test", "test")):
        dataset = COCOStuff(root=root, split=split, version="10k")
        assert dataset.labelled
        names = [dataset[index].name for index in range(len(dataset))]
        assert names == (root / f"imageLists/{listed}.txt").read_text().split()


def test_through_its_config(root, version):
    settings = load("coco_stuff", {"root": str(root), "version": version})
    data = instantiate(settings, _convert_="all")
    assert data.class_info == CLASS_INFO[version]
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 40)
    for loader, labelled in ((data.val_dataloader(), True), (data.test_dataloader(), version == "10k")):
        values = {value for batch in loader for value in batch["mask"].unique().tolist()}
        assert values <= {*range(171), 255}
        assert (len(values) > 1) == labelled
