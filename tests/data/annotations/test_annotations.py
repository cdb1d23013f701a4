"""Outlines as annotation tools save them: equal masks whatever the tool, and nothing read wrongly in silence."""

import base64
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from data.annotations import writers
from PIL import Image
from pycocotools.coco import COCO

from atrous.config.upgrade import upgraded
from atrous.data.folder import Folder
from atrous.data.quick_check import check
from atrous.errors import ConfigError, DataError

NAMES = [f"image {number}" for number in range(5)]
CLASSES = ["ground", *writers.LABELS]
FORMATS = {
    "coco": lambda annotated, root: {"annotations": writers.coco(annotated, root / "all.json")},
    "roboflow": lambda annotated, root: {
        "annotations": writers.coco(annotated, root / "images" / "_annotations.coco.json").parent
    },
    "labelme": lambda annotated, root: {"annotations": writers.labelme(annotated, root / "json")},
    "labelme beside the images": lambda annotated, root: {"annotations": writers.labelme(annotated, root / "images")},
    "yolo": lambda annotated, root: {"annotations": writers.yolo(annotated, root / "yolo" / "labels")},
    "cityscapes": lambda annotated, root: {
        "annotations": writers.cityscapes(annotated, root / "gtFine"),
        "mask_name": "*_gtFine_polygons",
    },
    "cvat": lambda annotated, root: {"annotations": writers.cvat(annotated, root / "annotations.xml")},
}


@pytest.fixture
def annotated():
    return writers.outlines(NAMES)


@pytest.fixture
def root(tmp_path, annotated):
    return writers.write_images(tmp_path, annotated)


def dataset(root, annotations, split="train", **settings):
    annotations = str(annotations) if isinstance(annotations, Path) else annotations
    return Folder(
        **{"split": split, "class_names": CLASSES, "val_fraction": 0, "cache_folder": str(root / "cache")}
        | {"images": str(root / "images"), "annotations": annotations}
        | settings
    )


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_same_masks(root, annotated, name):
    data = dataset(root, **FORMATS[name](annotated, root))
    assert [data[index].name for index in range(5)] == NAMES
    assert data.left_out == ()
    check(data)
    for sample in map(data.__getitem__, range(5)):
        np.testing.assert_array_equal(sample.mask, writers.expected(annotated[sample.name]))


def test_coco_as_pycocotools_reads_it(root, annotated):
    path = writers.coco(annotated, root / "all.json")
    content = json.loads(path.read_text())
    pixels = np.zeros(writers.SIZE, bool)
    pixels[7:30, 11:60:2] = True
    flat = pixels.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    crowd = {
        "id": 5,
        "image_id": 100,
        "category_id": 8,
        "iscrowd": 1,
        "segmentation": {"counts": counts, "size": [60, 80]},
    }
    content["annotations"].append(crowd)
    content["annotations"][0]["segmentation"].append([60.2, 40.1, 79, 41, 70, 59.9])  # a second part
    path.write_text(json.dumps(content))
    data, reference = dataset(root, path), COCO(path)
    for index, image in enumerate(reference.imgs.values()):
        mask = np.zeros(writers.SIZE, np.uint8)
        for entry in reference.imgToAnns[image["id"]]:
            mask[reference.annToMask(entry) > 0] = entry["category_id"] - 6
        np.testing.assert_array_equal(data[index].mask, mask)


def test_yolo_rounded_to_six_digits_moves_edge_pixels_alone(root, annotated):
    data = dataset(root, writers.yolo(annotated, root / "yolo" / "labels", digits=6))
    for sample in map(data.__getitem__, range(5)):
        exact = writers.expected(annotated[sample.name])
        inside = cv2.morphologyEx(exact, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) == 0
        np.testing.assert_array_equal(sample.mask[inside], exact[inside])


def test_masks_are_drawn_once_and_again_where_a_file_has_changed(root, annotated):
    folder = writers.labelme(annotated, root / "json")
    first = dataset(root, folder)
    times = [first.mask_path(index).stat().st_mtime_ns for index in range(5)]
    again = dataset(root, folder)
    assert [again.mask_path(index).stat().st_mtime_ns for index in range(5)] == times
    annotated[NAMES[2]] = writers.outlines(NAMES, seed=1)[NAMES[2]]
    writers.labelme(annotated, folder)
    np.testing.assert_array_equal(dataset(root, folder)[2].mask, writers.expected(annotated[NAMES[2]]))
    np.testing.assert_array_equal(
        dataset(root, folder, value_map={"edge": 255})[2].mask == 255, writers.expected(annotated[NAMES[2]]) == 2
    )


def test_a_split_for_each_file(root, annotated, tmp_path):
    other = writers.outlines(["x", "y"], seed=2)
    writers.write_images(root / "more", other)
    places = {"train": root / "images", "val": root / "more" / "images"}
    files = {"train": writers.coco(annotated, root / "a.json"), "val": writers.coco(other, root / "b.json")}
    settings = {"images": {k: str(v) for k, v in places.items()}, "annotations": {k: str(v) for k, v in files.items()}}
    data = dataset(root, split="val", **settings)
    np.testing.assert_array_equal(data[1].mask, writers.expected(other["y"]))
    with pytest.raises(DataError, match="annotations has train, val"):
        dataset(root, split="test", **settings)
    both = writers.coco(annotated | other, root / "c.json")  # one file for both is as good
    data = dataset(root, split="val", **settings | {"annotations": {"train": str(both), "val": str(both)}})
    assert (len(data), data.left_out) == (2, ())


def test_shapes_of_labelme_that_are_no_polygons(root, annotated):
    folder = writers.labelme(annotated, root / "json")
    path = folder / f"{NAMES[0]}.json"
    content = json.loads(path.read_text())
    bits, buffer = np.random.default_rng(0).random((9, 14)) < 0.5, io.BytesIO()
    Image.fromarray(bits).save(buffer, format="PNG")
    content["shapes"] = [
        {"label": "cell", "points": [[30, 9], [10, 5]], "shape_type": "rectangle"},
        {"label": "edge", "points": [[50, 30], [50, 40]], "shape_type": "circle"},
        {"label": "cell", "points": [[60, 50], [73, 58]], "shape_type": "mask", "mask": base64.b64encode(buffer.getvalue()).decode()},
    ]  # fmt: skip
    path.write_text(json.dumps(content))
    mask = dataset(root, folder)[0].mask
    assert (mask[5:9, 10:30] == 1).all()
    y, x = np.mgrid[:60, :80] + 0.5
    assert ((mask == 2) != ((x - 50) ** 2 + (y - 30) ** 2 < 100)).sum() < 12
    np.testing.assert_array_equal(mask[50:59, 60:74] == 1, bits)
    content["shapes"][0]["shape_type"] = "linestrip"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"shape 0 \('cell'\) is of the type linestrip.*polygon"):
        dataset(root, folder)


def test_boxes_ellipses_and_masks_of_cvat(root, annotated):
    path = writers.cvat(annotated, root / "annotations.xml")
    shapes = (
        '<mask label="edge" z_order="99" rle="3, 4, 5, 2" left="70" top="50" width="7" height="2"/>'
        '<box label="cell" z_order="98" xtl="60" ytl="40" xbr="80" ybr="60"/><tag label="ignored"/>'
        '<ellipse label="edge" z_order="98" cx="20" cy="20" rx="10" ry="5"/>'
    )
    path.write_text(path.read_text().replace("</image>", f"{shapes}</image>", 1))
    mask = dataset(root, path)[0].mask
    corner = np.ones((20, 20), int)
    runs = np.array([0, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0, 0, 2, 2]).reshape(2, 7)
    corner[10:12, 10:17][runs == 2] = 2
    np.testing.assert_array_equal(mask[40:, 60:], corner)
    assert (mask[16:24, 14:26] == 2).all()
    path.write_text(path.read_text().replace("<box", '<box rotation="30"'))
    with pytest.raises(DataError, match=r"a box .* is turned"):
        dataset(root, path)


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


# What is wrong -> (what is done to which annotations, what must be said).
WRONG = {
    "a label of no class": (lambda a, r: changed(writers.coco(a, r / "a.json"), lambda c: c["categories"][0].update(name="Cell")),
        ["labels Cell (", "class_names has ground, cell, edge", "'data.value_map={Cell: 255}'"]),
    "an image without annotations": (lambda a, r: changed(writers.coco(a, r / "a.json"), lambda c: c["images"].pop()),
        ["can't be read", "104"]),
    "an image that is not listed": (lambda a, r: writers.coco({k: a[k] for k in NAMES[1:]}, r / "a.json"),
        ["1 of 5 images", "are not in", "image 0.png"]),
    "boxes": (lambda a, r: changed(writers.coco(a, r / "a.json"), lambda c: c["annotations"][1].update(segmentation=[])),
        ["is a box", "polygon"]),
    "another size": (lambda a, r: changed(writers.coco(a, r / "a.json"), lambda c: c["images"][1].update(height=30)),
        ["image 1.png is 60 x 80", "for 30 x 80"]),
    "two corners": (lambda a, r: changed(writers.coco(a, r / "a.json"),
        lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4]])), ["annotation 0", "2 corners"]),
    "no numbers": (lambda a, r: changed(writers.coco(a, r / "a.json"),
        lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, "x", 6]])), ["annotation 0", "Export"]),
    "no JSON": (lambda a, r: text(r / "a.json", "{"), ["a.json: it can't be read"]),
    "another JSON": (lambda a, r: text(r / "a.json", "[1]"), ["neither COCO's JSON nor CVAT's XML", "Read are"]),
    "another XML": (lambda a, r: text(r / "a.xml", "<annotation/>"), ["root is <annotation>", "CVAT for images"]),
    "a bomb": (lambda a, r: text(r / "a.xml", BOMB), ["a.xml: it can't be read"]),
    "no LabelMe": (lambda a, r: changed(writers.labelme(a, r / "j") / "image 3.json", dict.clear).parent,
        ["image 3.json holds annotations of no known kind", "Read are"]),
    "a missing file": (lambda a, r: gone(writers.labelme(a, r / "j"), "image 3.json"), ["1 of 5 images", "image 3.json"]),
    "boxes of YOLO": (lambda a, r: text(writers.yolo(a, r / "y" / "l") / "image 1.txt", "0 .1 .2 .3 .4").parent,
        ["line 1 is a box"]),
    "pixels instead of shares": (lambda a, r: text(writers.yolo(a, r / "y" / "l") / "image 1.txt", "\n0 1 2 3 4 50 6").parent,
        ["line 2", "corners as shares of width and height"]),
    "classes without names": (lambda a, r: gone(gone(writers.yolo(a, r / "y" / "l"), "../data.yaml"), "missing", ok=True),
        ["labels 0 (", "'data.value_map={"]),
    "nothing": (lambda a, r: r / "none", ["no file or folder", "Read are"]),
}  # fmt: skip
ENTITIES = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(12))
BOMB = f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{ENTITIES}]><annotations><image name="&a12;"/></annotations>'


def text(path, content):
    path.write_text(content)
    return path


def gone(folder, name, ok=False):
    (folder / name).unlink(missing_ok=ok)
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(root, annotated, name):
    spoil, parts = WRONG[name]
    with pytest.raises(DataError) as error:
        dataset(root, spoil(annotated, root))
    for part in parts:
        assert part in str(error.value)


def test_pixels_that_nobody_labelled(root, annotated):
    path = writers.coco(annotated, root / "all.json")
    with pytest.raises(DataError, match=r"'cell' is class 0 and a label.*unannotated=0.*unannotated=255"):
        dataset(root, path, class_names=["cell", "edge"])
    for value in (0, 255):
        mask = dataset(root, path, class_names=["cell", "edge"], unannotated=value)[0].mask
        np.testing.assert_array_equal(mask, np.array([value, 0, 1])[writers.expected(annotated[NAMES[0]])])
    with pytest.raises(ConfigError, match="unannotated: 7"):
        dataset(root, path, unannotated=7)
    with pytest.raises(ConfigError, match="edge: 7 in value_map"):
        dataset(root, path, value_map={"edge": 7})


def test_yolo_by_numbers(root, annotated):
    folder = writers.yolo(annotated, root / "y" / "labels")
    (root / "y" / "data.yaml").unlink()
    (folder / "classes.txt").write_text("cell\nedge\n")
    assert dataset(root, folder).left_out == ()
    (folder / "classes.txt").unlink()
    data = dataset(root, folder, value_map={0: 1, 1: 2})
    np.testing.assert_array_equal(data[0].mask, writers.expected(annotated[NAMES[0]]))


def test_images_that_are_listed_and_not_there(root, annotated):
    path = writers.coco(annotated, root / "all.json")
    (root / "images" / f"{NAMES[0]}.png").unlink()
    assert dataset(root, path).left_out == (f"{NAMES[0]}.png of {path}",)


def test_masks_where_annotations_lie_are_told_so(root, annotated):
    folder = writers.labelme(annotated, root / "json")
    settings = {"masks": str(folder), "annotations": None}
    with pytest.raises(DataError, match=r"5 \.json, which are no images, annotations=... reads"):
        Folder(split="train", class_names=CLASSES, images=str(root / "images"), **settings)
    with pytest.raises(ConfigError, match="give one of them"):
        dataset(root, folder, masks="x")
    with pytest.raises(ConfigError, match="cache_folder"):
        dataset(root, folder, cache_folder=None)


def test_runs_of_before_have_none():
    data = upgraded({"data": {"dataset": {"_target_": "atrous.data.folder.Folder"}}})["data"]
    assert (data["annotations"], data["unannotated"]) == (None, None)
