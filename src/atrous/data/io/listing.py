"""The image files that a user names."""

from __future__ import annotations

import glob
from pathlib import Path

from atrous.data.io.files import IMAGE_SUFFIXES
from atrous.errors import DataError


def find_images(images: str) -> dict[Path, Path]:
    """The images that a file, folder or glob names -> their paths relative to what was named, in name order.

    Raises:
        DataError: If there are none.
    """
    path = Path(images)
    if path.is_file():
        return {path: Path(path.name)}
    if path.is_dir():
        found = {
            file: file.relative_to(path) for file in sorted(path.rglob("*")) if file.suffix.lower() in IMAGE_SUFFIXES
        }
        where = f"folder {images} and its subfolders"
    else:
        files = map(Path, sorted(glob.glob(images, recursive=True)))
        found = {file: Path(file.name) for file in files if file.is_file()}
        where = f"files that match {images!r}"
    if not found:
        raise DataError(
            f"no images: there are none among the {where}. Give a file, a folder or a quoted glob; read are {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return found
