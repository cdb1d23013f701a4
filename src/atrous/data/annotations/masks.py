"""From annotations to mask files, which are drawn once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from atrous.data.annotations import formats
from atrous.data.annotations.shapes import Annotated, draw
from atrous.data.io.files import BROKEN, first_few
from atrous.data.io.listing import list_images
from atrous.data.io.remote import open_file
from atrous.data.pairing import Names, Pair, Pairing, from_folders, with_listed
from atrous.errors import ConfigError, DataError
from atrous.system.locks import locked
from atrous.system.pool import in_processes
from atrous.system.text import printable
from atrous.types import ClassInfo

SUFFIXES = frozenset({".json", ".txt", ".xml"})
READ = (
    "Read are a COCO JSON or CVAT XML file, and a folder of LabelMe JSON, Cityscapes polygons or YOLO segmentation text files, one for "
    "each image; Roboflow exports COCO and YOLO."
)
_VERSION = 1  # of how masks are drawn; raise it when equal annotations make other masks
_INDEX = "index.json"


@dataclass(frozen=True)
class Classes:
    """Which value an annotation's pixels get.

    Args:
        info: The classes.
        value_map: From label to class index or ignore index; labels that it does not name are looked for among the
            classes' names.
        unannotated: The value of pixels in no shape. None: class 0, which then is no label of the annotations.
    """

    info: ClassInfo
    value_map: Mapping[Any, int] | None = None
    unannotated: int | None = None

    def __post_init__(self) -> None:
        for key, value in {**(self.value_map or {}), "unannotated": self.unannotated or 0}.items():
            if value not in {*range(self.info.num_classes), self.info.ignore_index}:
                raise ConfigError(
                    f"{key}: {value} in value_map or unannotated is no class; expected 0 to {self.info.num_classes - 1} or the ignore "
                    f"index {self.info.ignore_index}."
                )

    def values(self, labels: Counter[str], source: Path) -> dict[str, int]:
        """The value of each label.

        Raises:
            DataError: If one has none, or class 0 would be both a label and what nobody has labelled.
        """
        by_label = {name: index for index, name in enumerate(self.info.names)}
        by_label |= {str(label): value for label, value in (self.value_map or {}).items()}
        unknown = [label for label in labels if label not in by_label]
        if unknown:
            raise DataError(
                f"{source}: the labels {first_few([f'{label} ({labels[label]})' for label in unknown])} are no classes; class_names has "
                f"{first_few(self.info.names)}. Add them to class_names, or say what they are by value_map, such as "
                f"'data.value_map={{{unknown[0]}: {self.info.ignore_index}}}' to ignore them.",
                kind="labels",
                path=source,
            )
        if self.unannotated is None and (first := self.info.names[0]) in labels:
            raise DataError(
                f"{source}: {first!r} is class 0 and a label, so what are pixels in no shape? Say data.unannotated=0 for {first!r}, "
                f"data.unannotated={self.info.ignore_index} to ignore them; or begin class_names with a name for the background.",
                kind="labels",
                path=source,
            )
        return {label: by_label[label] for label in labels}


def masks_of_annotations(
    images: Path,
    annotations: Path,
    names: Names,
    classes: Classes,
    *,
    folder: str | None,
    more_images: Sequence[Path] = (),
) -> Pairing:
    """Pairs the images of a folder with masks that are drawn from annotations, as PNGs of class indices.

    Shapes are drawn in the order of the annotations, a later one over an earlier one; `polygon_pixels` tells which pixels
    an outline holds. The masks are kept until the annotations, the images or the classes change.

    Args:
        images: The images' folder.
        annotations: A file, or a folder with a file for each image.
        names: How images and annotation files are called, where there is one for each.
        classes: What the labels mean.
        folder: Where the masks are kept.
        more_images: Folders of other splits' images, whose annotations are here as well.

    Raises:
        ConfigError: If there is no `folder`.
        DataError: If an image has no annotations, or they can't be read, have labels of no class or another size.
    """
    if folder is None:
        raise ConfigError("annotations need data.cache_folder=..., a folder for the masks that are drawn.")
    kept = Path(folder) / f"annotations-{_key(images, annotations, names, classes, more_images)}"
    with_masks = kept / _INDEX
    if not with_masks.is_file():
        source = _open(images, annotations, names, more_images)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with locked(f"{kept}.lock", waiting="waiting for another process that draws the same masks"):
            if not with_masks.is_file():
                _draw_all(source, classes, annotations, kept)
    rows, left_out = json.loads(with_masks.read_text(encoding="utf-8"))
    return Pairing([Pair(name, image, str(kept / mask)) for name, image, mask in rows], tuple(left_out))


@dataclass(frozen=True)
class _Source:
    pairing: Pairing  # whose masks are files of annotations, or names in one
    read: Callable[[Pair, tuple[int, int]], Annotated]


def _open(images: Path, annotations: Path, names: Names, more_images: Sequence[Path]) -> _Source:
    if annotations.is_dir():
        files = list_images(annotations, suffixes=SUFFIXES)
        tables = [file for file in files if file.endswith(".coco.json")] or (files if len(files) == 1 else [])
        if len(tables) == 1 and _whole(annotations / tables[0]) is not None:
            annotations = annotations / tables[0]
    if annotations.is_file():
        by_name = _whole(annotations)
        if names != Names():
            raise ConfigError(
                f"image_name={names.image} and mask_name={names.mask} mean nothing for {annotations}, which lists the images; leave them out."
            )
        if by_name is None:
            raise DataError(
                f"{annotations} is neither COCO's JSON nor CVAT's XML. {READ}", kind="annotation", path=annotations
            )
        return _Source(
            with_listed(images, by_name, annotations, more_images=more_images), lambda pair, _: by_name[pair.mask]
        )
    if not annotations.is_dir():
        raise DataError(f"no file or folder {annotations} (annotations=...). {READ}")
    kinds = Counter(os.path.splitext(file)[1].lower() for file in files)
    suffix = kinds.most_common(1)[0][0] if kinds else ".json"
    pairing = from_folders(
        images, annotations, names, more_images=more_images, suffixes={suffix}, setting="annotations"
    )
    left_out = tuple(path for path in pairing.left_out if os.path.basename(path) != formats.YOLO_CLASSES)
    if suffix == ".txt":
        yolo_names = formats.yolo_names(annotations)
        return _Source(
            pairing._replace(left_out=left_out), lambda pair, size: formats.yolo(Path(pair.mask), size, yolo_names)
        )
    return _Source(pairing._replace(left_out=left_out), lambda pair, _: _read_one(Path(pair.mask)))


def _whole(path: Path) -> dict[str, Annotated] | None:
    """The annotations of all images that a file holds; None where it is of no such kind."""
    if path.suffix.lower() == ".xml":
        return formats.cvat(path)
    content = formats.read_json(path) if path.suffix.lower() == ".json" else None
    return formats.coco(content, path) if formats.kind_of(content) == "coco" else None


def _read_one(path: Path) -> Annotated:
    content = formats.read_json(path) if path.suffix.lower() == ".json" else None
    kind = formats.kind_of(content)
    if kind == "labelme":
        return formats.labelme(content, path)
    if kind == "cityscapes":
        return formats.cityscapes(content, path)
    raise DataError(f"{path} holds annotations of no known kind for one image. {READ}", kind="annotation", path=path)


def _draw_all(source: _Source, classes: Classes, annotations: Path, folder: Path) -> None:
    """Fills `folder`, which appears whole or not at all."""
    pairs, part = source.pairing.pairs, Path(f"{folder}.part")
    annotated = [_read(source, pair) for pair in pairs]
    labels = Counter(shape.label for _, found in annotated for shape in found.shapes)
    values = classes.values(labels, annotations)
    outside = classes.unannotated or 0
    dtype = np.uint8 if max(*values.values(), outside, 0) < 256 else np.uint16
    shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
    files = [f"{number:06d}_{_plain(pair.name)}.png" for number, pair in enumerate(pairs)]
    part.mkdir()

    def draw_one(index: int) -> None:
        size, found = annotated[index]
        mask = np.full(size, outside, dtype)
        for shape in found.shapes:
            draw(shape, mask, values[shape.label])
        Image.fromarray(mask).save(part / files[index], compress_level=1)

    try:
        for _ in in_processes(draw_one, range(len(pairs)), description="drawing masks"):
            pass
        rows = [(pair.name, pair.image, file) for pair, file in zip(pairs, files, strict=True)]
        (part / _INDEX).write_text(json.dumps([rows, source.pairing.left_out]), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # without its index
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _read(source: _Source, pair: Pair) -> tuple[tuple[int, int], Annotated]:
    size = _upright_size(Path(pair.image))
    found = source.read(pair, size)
    if found.size is not None and found.size != size:
        raise DataError(
            f"{pair.image} is {size[0]} x {size[1]}, its annotations are for {found.size[0]} x {found.size[1]} pixels (height x width). "
            "Export images and annotations together, or take the image that was annotated.",
            kind="size",
            path=pair.image,
        )
    return size, found


def _upright_size(path: Path) -> tuple[int, int]:
    """Height and width as `read_image` turns it."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size if turned else (image.height, image.width)
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is no image whose size can be read: {error}. Copy it again, or save it as PNG.",
            kind="damaged",
            path=path,
        ) from error


def _key(images: Path, annotations: Path, names: Names, classes: Classes, more_images: Sequence[Path]) -> str:
    """Twenty hex digits of what the masks are made of; opens no file."""
    settings = (
        _VERSION,
        str(images.absolute()),
        str(annotations.absolute()),
        names,
        classes,
        sorted(map(str, more_images)),
    )
    digest = hashlib.sha256(repr(settings).encode())
    files = [images / file for file in list_images(images)] if images.is_dir() else []
    if annotations.is_dir():
        files += [annotations / file for file in list_images(annotations, suffixes=SUFFIXES | {".yaml"})]
        files += [place / "data.yaml" for place in annotations.absolute().parents[:2]]
    for file in [*files, annotations]:
        if file.is_file():
            status = file.stat()
            digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:20]


def _plain(name: str) -> str:
    """A part of a file's name that people know the sample by."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in printable(name))[-60:]
