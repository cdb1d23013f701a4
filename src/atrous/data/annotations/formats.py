"""Reads what annotation tools save: COCO's, LabelMe's and Cityscapes' JSON, YOLO's text, CVAT's XML.

Roboflow exports the first and the fourth of these. Each is documented by its makers:
https://cocodataset.org/#format-data, https://github.com/wkentaro/labelme, https://github.com/mcordts/cityscapesScripts,
https://docs.ultralytics.com/datasets/segment, https://docs.cvat.ai/docs/manual/advanced/xml_format.
"""

from __future__ import annotations

import base64
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from atrous.data.annotations.shapes import (
    Annotated,
    Bitmap,
    Part,
    Points,
    Shape,
    ellipse,
    from_run_lengths,
    rectangle,
    run_lengths,
)
from atrous.errors import DataError

YOLO_CLASSES = "classes.txt"


def read_json(path: Path) -> Any:
    """Raises DataError where the file holds no JSON."""
    with _reading(path, "it"):
        return json.loads(path.read_text(encoding="utf-8-sig"))


def kind_of(content: Any) -> str:
    """What a JSON file is by its keys: "coco", "labelme", "cityscapes" or, for something else, "unknown"."""
    keys = set(content) if isinstance(content, dict) else set()
    if {"images", "annotations", "categories"} <= keys:
        return "coco"
    return (
        "labelme" if "shapes" in keys else "cityscapes" if {"imgHeight", "imgWidth", "objects"} <= keys else "unknown"
    )


def coco(content: Any, path: Path) -> dict[str, Annotated]:
    """The annotations of each image by its `file_name`: polygons and runs, crowds included; boxes alone are refused."""
    with _reading(path, "it"):
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        shapes: dict[Any, list[Shape]] = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        what = f"annotation {entry.get('id')}"
        with _reading(path, what):
            segmentation = entry.get("segmentation")
            if not segmentation:
                raise _no_area(path, what, "a box")
            if isinstance(segmentation, dict):
                counts, size = segmentation["counts"], tuple(segmentation["size"])
                counts = run_lengths(counts) if isinstance(counts, str) else counts
                parts: list[Part] = [Bitmap(0, 0, from_run_lengths(counts, size, by_column=True))]
            else:
                parts = [_corners(np.reshape(flat, (-1, 2))) for flat in segmentation]
            shapes[entry["image_id"]].append(Shape(names[entry["category_id"]], parts))
    with _reading(path, "its images"):
        return {
            str(image["file_name"]): Annotated(_size(image.get("height"), image.get("width")), shapes[image["id"]])
            for image in content["images"]
        }


def labelme(content: Any, path: Path) -> Annotated:
    """Polygons, rectangles, circles and masks; lines and points have no area and are refused."""
    shapes = []
    for number, entry in enumerate(content["shapes"]):
        what = f"shape {number} ({entry.get('label')!r})"
        with _reading(path, what):
            kind, points = entry.get("shape_type", "polygon"), np.array(entry["points"], np.float64).reshape(-1, 2)
            if kind == "polygon":
                part: Part = _corners(points)
            elif kind == "rectangle":
                part = rectangle(*points.min(0), *points.max(0))
            elif kind == "circle":
                radius = float(np.hypot(*(points[1] - points[0])))
                part = ellipse(points[0, 0], points[0, 1], radius, radius)
            elif kind == "mask":
                left, top = points.min(0).round().astype(int)
                with Image.open(io.BytesIO(base64.b64decode(entry["mask"]))) as image:
                    part = Bitmap(int(top), int(left), np.array(image) > 0)
            else:
                raise _no_area(path, what, f"of the type {kind}")
            shapes.append(Shape(str(entry["label"]), [part]))
    return Annotated(_size(content.get("imageHeight"), content.get("imageWidth")), shapes)


def cityscapes(content: Any, path: Path) -> Annotated:
    """Polygons in the order of the file; those marked as deleted are left out."""
    shapes = []
    for number, entry in enumerate(content["objects"]):
        with _reading(path, f"object {number}"):
            if not entry.get("deleted"):
                shapes.append(Shape(str(entry["label"]), [_corners(entry["polygon"])]))
    return Annotated(_size(content["imgHeight"], content["imgWidth"]), shapes)


def yolo(path: Path, size: tuple[int, int], names: dict[str, str]) -> Annotated:
    """A line for each polygon: its class's number and corners x y x y ... as shares of width and height.

    Args:
        path: The text file; an empty one says that there is nothing.
        size: Height and width of the image.
        names: The classes' names by number; a number without one is its own label.
    """
    shapes = []
    with _reading(path, "it"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) == 5:
            raise _no_area(path, f"line {number}", "a box")
        with _reading(path, f"line {number}"):
            if words:
                corners = _corners(np.array(words[1:], np.float64).reshape(-1, 2))
                if not words[0].isdecimal() or corners.min() < -1 or corners.max() > 2:
                    raise ValueError("expected a class's number and corners as shares of width and height")
                shapes.append(Shape(names.get(words[0], words[0]), [corners * size[::-1]]))
    return Annotated(None, shapes)


def yolo_names(folder: Path) -> dict[str, str]:
    """The classes' names by number, of the data.yaml or classes.txt beside the labels or above; none without such files."""
    for place in (folder, *folder.absolute().parents[:2]):
        for path in (place / "data.yaml", place / "dataset.yaml"):
            if path.is_file():
                with _reading(path, "its names"):
                    names = yaml.safe_load(path.read_text(encoding="utf-8"))["names"]
                    pairs = names.items() if isinstance(names, dict) else enumerate(names)
                    return {str(number): str(label) for number, label in pairs}
        path = place / YOLO_CLASSES
        if path.is_file():
            with _reading(path, "it"):
                lines = path.read_text(encoding="utf-8-sig").split("\n")
                return {str(number): line.strip() for number, line in enumerate(lines) if line.strip()}
    return {}


def cvat(path: Path) -> dict[str, Annotated]:
    """The annotations of each image of "CVAT for images" by its name: polygons, boxes, ellipses and masks by their z-order."""
    with _reading(path, "it"):
        root = ElementTree.parse(path).getroot()
        if root.tag != "annotations" or root.find("image") is None:
            raise ValueError(f'its root is <{root.tag}>; expected "CVAT for images 1.1"')
    images: dict[str, Annotated] = {}
    for image in root.iter("image"):
        with _reading(path, f"image {image.get('name')!r}"):
            ordered = sorted(image, key=lambda entry: int(entry.get("z_order", 0)))
            drawn = [entry for entry in ordered if entry.tag != "tag"]
            shapes = [Shape(str(entry.attrib["label"]), [_cvat_part(path, entry)]) for entry in drawn]
            images[image.attrib["name"]] = Annotated(_size(image.attrib["height"], image.attrib["width"]), shapes)
    return images


def _cvat_part(path: Path, entry: ElementTree.Element) -> Part:
    def numbers(*names: str) -> list[float]:
        return [float(entry.attrib[name]) for name in names]

    what = f"a {entry.tag} ({entry.get('label')!r})"
    if float(entry.get("rotation", 0)):
        raise _no_area(path, what, "turned")
    if entry.tag == "polygon":
        return _corners([pair.split(",") for pair in entry.attrib["points"].split(";")])
    if entry.tag == "box":
        return rectangle(*numbers("xtl", "ytl", "xbr", "ybr"))
    if entry.tag == "ellipse":
        return ellipse(*numbers("cx", "cy", "rx", "ry"))
    if entry.tag == "mask":
        left, top, width, height = map(int, numbers("left", "top", "width", "height"))
        runs = [int(run) for run in entry.attrib["rle"].split(",")]
        return Bitmap(top, left, from_run_lengths(runs, (height, width), by_column=False))
    raise _no_area(path, what, f"a {entry.tag}")


def _corners(given: Any) -> Points:
    points = np.array(given, np.float64).reshape(-1, 2)
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(f"{len(points)} corners; expected three or more, each two numbers")
    return points


def _size(height: Any, width: Any) -> tuple[int, int] | None:
    return None if height is None or width is None else (int(height), int(width))


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Raises DataError where a part of a file is something else than is expected."""
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ElementTree.ParseError,
        yaml.YAMLError,
    ) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path}: {what} can't be read: {why}. Export the annotations again.", kind="annotation", path=path
        ) from error


def _no_area(path: Path, what: str, is_what: str) -> DataError:
    return DataError(
        f"{path}: {what} is {is_what}, which says no pixels; expected polygons, or masks. Draw it as a polygon, or delete it.",
        kind="annotation",
        path=path,
    )
