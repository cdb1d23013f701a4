"""The same outlines as the files of several annotation tools."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from atrous.data.annotations.shapes import Shape, draw

SIZE = (60, 80)  # height, width
LABELS = ("cell", "edge")


def outlines(names, seed=0):
    """Name -> [(label, corners (K, 2) of whole and half pixels)], overlapping, a few beyond the image."""
    rng = np.random.default_rng(seed)
    return {
        name: [
            (LABELS[number % 2], (rng.integers(-10, 2 * 80, (rng.integers(3, 8), 2)) / 2).clip(-5, [85, 65]))
            for number in range(rng.integers(1, 5))
        ]
        for name in names
    }


def expected(shapes, size=SIZE):
    """The mask by the rule that tests/data/annotations/test_shapes.py holds against pycocotools; later over earlier."""
    mask = np.zeros(size, np.uint8)
    for label, corners in shapes:
        draw(Shape(label, [corners]), mask, 1 + LABELS.index(label))
    return mask


def write_images(root: Path, annotated, size=SIZE):
    for name, shapes in annotated.items():
        path = root / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array([(20, 20, 20), (220, 40, 40), (40, 40, 220)], np.uint8)[expected(shapes, size)]).save(
            path
        )
    return root


def coco(annotated, path: Path):
    content = {"images": [], "annotations": [], "categories": [{"id": 7 + n, "name": x} for n, x in enumerate(LABELS)]}
    for number, (name, shapes) in enumerate(annotated.items()):
        height, width = SIZE
        content["images"].append({"id": 100 + number, "file_name": f"{name}.png", "height": height, "width": width})
        content["annotations"] += [
            {
                "id": 1000 * number + at,
                "image_id": 100 + number,
                "category_id": 7 + LABELS.index(label),
                "iscrowd": 0,
                "segmentation": [corners.ravel().tolist()],
            }
            for at, (label, corners) in enumerate(shapes)
        ]
    path.write_text(json.dumps(content))
    return path


def labelme(annotated, folder: Path):
    for name, shapes in annotated.items():
        entries = [{"label": x, "points": p.tolist(), "shape_type": "polygon", "flags": {}} for x, p in shapes]
        height, width = SIZE
        content = {"shapes": entries, "imagePath": f"{name}.png", "imageHeight": height, "imageWidth": width}
        (folder / f"{name}.json").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def yolo(annotated, folder: Path, *, digits=17):
    folder.mkdir(parents=True)
    (folder.parent / "data.yaml").write_text(f"nc: 2\nnames: {list(LABELS)}\n")
    for name, shapes in annotated.items():
        lines = [
            " ".join([str(LABELS.index(label)), *(f"{v:.{digits}g}" for v in (corners / SIZE[::-1]).ravel())])
            for label, corners in shapes
        ]
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return folder


def cityscapes(annotated, folder: Path):
    folder.mkdir(parents=True)
    for name, shapes in annotated.items():
        objects = [{"label": label, "polygon": corners.tolist()} for label, corners in shapes]
        objects.append({"label": "gone", "polygon": [[0, 0], [9, 9], [0, 9]], "deleted": 1})
        content = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects}
        (folder / f"{name}_gtFine_polygons.json").write_text(json.dumps(content))
    return folder


def cvat(annotated, path: Path):
    images = []
    for number, (name, shapes) in enumerate(annotated.items()):
        drawn = [
            f'<polygon label="{x}" z_order="{z}" points="{";".join(f"{a:.2f},{b:.2f}" for a, b in p)}" occluded="0"/>'
            for z, (x, p) in enumerate(shapes)
        ]
        opening = f'<image id="{number}" name="{name}.png" width="{SIZE[1]}" height="{SIZE[0]}">'
        images.append(f"{opening}{''.join(reversed(drawn))}</image>")
    path.write_text(f'<?xml version="1.0"?><annotations><version>1.1</version>{"".join(images)}</annotations>')
    return path
