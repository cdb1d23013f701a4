"""Finds image files."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from atrous.data.io.files import IMAGE_SUFFIXES
from atrous.errors import ConfigError, DataError

# Files of these kinds are images that can't be read here, which must not be passed over in silence.
UNREAD_SUFFIXES = (
    frozenset(
        [
            ".jp2",
            ".j2k",
            ".jpx",
            ".jxl",
            ".heic",
            ".heif",
            ".avif",
            ".npy",
            ".npz",
            ".dcm",
            ".nii",
            ".nrrd",
            ".mha",
            ".mhd",
            ".mrc",
            ".exr",
            ".hdr",
            ".tga",
            ".psd",
            ".svg",
            ".pcx",
            ".raw",
            ".dng",
            ".cr2",
            ".nef",
            ".arw",
            ".svs",
            ".ndpi",
            ".mrxs",
            ".scn",
            ".czi",
            ".nd2",
            ".lif",
            ".lsm",
            ".oib",
            ".vsi",
            ".fits",
            ".h5",
            ".hdf5",
        ]
    )
    - IMAGE_SUFFIXES
)


def find_images(images: str) -> dict[Path, Path]:
    """The images that a file, folder or glob names -> their paths relative to what was named, in name order.

    Raises:
        DataError: If there are none.
    """
    path = Path(images)
    if path.is_file():
        return {path: Path(path.name)}
    if path.is_dir():
        found = {path / file: Path(file) for file in list_images(path)}
        unread = list_images(path, suffixes=UNREAD_SUFFIXES)
        if found and unread:
            raise DataError(
                f"{images} holds {len(unread)} images that can't be read: {unread[0]}{', ...' * (len(unread) > 1)}. Save them as "
                f"PNG, or name the others by a quoted glob such as '{images}/*{next(iter(found)).suffix}'."
            )
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


def result_names(images: dict[Path, Path]) -> dict[Path, str]:
    """The name of each image's results without suffix; where two images differ in the suffix alone, with it.

    Raises:
        ConfigError: If two images would still share a name.
    """
    stems = Counter(str(name.with_suffix("")) for name in images.values())
    names = {
        path: str(name if stems[str(name.with_suffix(""))] > 1 else name.with_suffix(""))
        for path, name in images.items()
    }
    shared = [name for name, count in Counter(names.values()).items() if count > 1]
    if shared:
        raise ConfigError(
            f"several images are called {shared[0]}; their results would overwrite each other. Predict one folder at a time."
        )
    return names


def refuse_overwriting(jobs: dict[Path, str], out: Path, kinds: list[str]) -> None:
    """Raises ConfigError where a result would be written over an input image."""
    inputs = {path.resolve() for path in jobs}
    for kind in kinds:
        for name in jobs.values():
            target = (out / kind / f"{name}.png").resolve()
            if target in inputs:
                raise ConfigError(
                    f"the result {target} would overwrite an input image. Choose another folder with out=..."
                )


def list_images(folder: str | Path, *, suffixes: Collection[str] | None = IMAGE_SUFFIXES) -> list[str]:
    """The files with these suffixes in `folder` and the folders below it, relative to it, sorted; hidden ones are left out.

    None: with any suffix.
    """
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
                elif suffixes is None or os.path.splitext(entry.name)[1].lower() in suffixes:
                    found.append(below + entry.name)
    return sorted(found)
