import shutil

import numpy as np
import pytest
from data.writers.voc import label_color_map, write_aug, write_voc
from PIL import Image
from scipy.io import loadmat
from torchvision.models.segmentation import FCN_ResNet50_Weights

from atrous.data.voc import CLASS_INFO, VOC
from atrous.errors import DataError


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path)


def open_voc(root, split, **settings):
    return VOC(root=root, split=split, **settings)


def names(dataset):
    return [dataset.image_path(index).stem for index in range(len(dataset))]


def listed(root, split):
    return (root / f"VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt").read_text().split()


def annotated(root):
    return {path.stem for path in (root / "benchmark_RELEASE/dataset/cls").iterdir()}


def stored(path):
    return loadmat(path)["GTcls"]["Segmentation"][0, 0] if path.suffix == ".mat" else np.asarray(Image.open(path))


def test_classes_are_torchvisions_and_colours_the_development_kits():
    categories = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
    assert CLASS_INFO.names == ("background", *categories[1:])
    np.testing.assert_array_equal(CLASS_INFO.palette, label_color_map()[:21])
    assert CLASS_INFO.palette[15] == (192, 128, 128)
    assert CLASS_INFO.things == tuple(range(1, 21))
    assert CLASS_INFO.ignore_index == 255


@pytest.mark.parametrize(
    ("split", "trainval", "image_set"), [("train", False, "train"), ("train", True, "trainval"), ("val", True, "val")]
)
def test_vocs_own_splits(root, split, trainval, image_set):
    shutil.rmtree(root / "benchmark_RELEASE")
    dataset = open_voc(root, split, augmented=False, trainval=trainval)
    assert names(dataset) == listed(root, image_set)
    for index in range(len(dataset)):
        image, mask, name = dataset[index]
        assert name == names(dataset)[index]
        np.testing.assert_array_equal(image, np.asarray(Image.open(dataset.image_path(index))))
        np.testing.assert_array_equal(mask, stored(root / f"VOCdevkit/VOC2012/SegmentationClass/{name}.png"))
        assert (mask == 255).any()


def test_train_has_sbds_images_but_none_of_val(root):
    train, val = set(listed(root, "train")), set(listed(root, "val"))
    assert annotated(root) & train
    assert annotated(root) & val
    assert annotated(root) - train - val
    dataset = open_voc(root, "train")
    assert names(dataset) == sorted((annotated(root) | train) - val)
    assert names(open_voc(root, "train", trainval=True)) == sorted(annotated(root) | train | val)
    assert names(open_voc(root, "val")) == listed(root, "val")


@pytest.mark.parametrize("trainval", [False, True])
def test_vocs_mask_is_read_where_it_has_one(root, trainval):
    voc, sbd = set(listed(root, "trainval" if trainval else "train")), root / "benchmark_RELEASE/dataset/cls"
    dataset = open_voc(root, "train", trainval=trainval)
    for index, name in enumerate(names(dataset)):
        own = root / f"VOCdevkit/VOC2012/SegmentationClass/{name}.png"
        np.testing.assert_array_equal(dataset[index].mask, stored(own if name in voc else sbd / f"{name}.mat"))


@pytest.mark.parametrize("paths", [True, False])
@pytest.mark.parametrize("trainval", [False, True])
def test_deeplabs_folder_is_the_same_data(root, paths, trainval):
    write_aug(root, paths=paths)
    dataset = open_voc(root, "train", trainval=trainval)
    assert ".mat" in {dataset.mask_path(index).suffix for index in range(len(dataset))}
    expected = {name: dataset[index] for index, name in enumerate(names(dataset))}
    shutil.rmtree(root / "benchmark_RELEASE")
    dataset = open_voc(root, "train", trainval=trainval)
    assert names(dataset) == sorted(expected)
    for index, name in enumerate(names(dataset)):
        np.testing.assert_array_equal(dataset[index].mask, expected[name].mask)
        assert dataset.mask_path(index).suffix == ".png"


def test_the_test_split_has_no_labels(root):
    shutil.rmtree(root / "VOCdevkit/VOC2012/SegmentationClass")
    dataset = open_voc(root, "test")
    assert names(dataset) == listed(root, "test")
    assert not dataset.labelled
    image, mask, _ = dataset[1]
    assert mask.shape == image.shape[:2]
    assert (mask == 255).all()


def test_a_value_that_is_no_class(root):
    path = root / f"VOCdevkit/VOC2012/SegmentationClass/{listed(root, 'val')[0]}.png"
    Image.fromarray(np.full_like(stored(path), 21)).save(path)
    with pytest.raises(DataError, match=r"mask values 21 \(3072 pixels\) are outside the classes; expected 0 to 20"):
        open_voc(root, "val")[0]


def test_deeplabs_folder_without_its_list(root):
    write_aug(root, paths=False)
    shutil.rmtree(root / "benchmark_RELEASE")
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt").unlink()
    with pytest.raises(DataError, match=r"no list .*Segmentation/trainaug.txt\. data.augmented=true adds"):
        open_voc(root, "train")
