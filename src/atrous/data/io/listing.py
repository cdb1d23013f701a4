"""Finds image files."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection
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


def list_images(folder: str | Path, *, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[str]:
    """The image files in `folder` and the folders below it, relative to it, sorted; hidden ones are left out."""
    found: list[str] = []
    open_folders = [""]
    seen = set()  # a link to a folder above would lead round and round
    while open_folders:
        below = open_folders.pop()
        place = os.path.realpath(os.path.join(folder, below))
        if place in seen:
            continue
        seen.add(place)
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry)):
                    open_folders.append(f"{below}{entry.name}/")
                elif os.path.splitext(entry.name)[1].lower() in suffixes:
                    found.append(below + entry.name)
    return sorted(found)
