"""Files that lie elsewhere: under any URL that fsspec knows, such as s3://bucket/folder.

A remote folder has a mirror on the local disk: texts and Matlab files as they are, and for all others, images above all, an empty file
of their size, whose time stands for its version. So whatever lists, pairs or names files works on the mirror, which takes no room for
images; their bytes are read from where they are, here alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from atrous.errors import ConfigError, DataError
from atrous.system.files import write_text
from atrous.system.locks import locked

_URL = re.compile(r"[a-z][a-z0-9+.-]+://[^:]")
_MIRROR, _SOURCE = "remote-", ".source.json"  # a mirror's name begins so; it holds where it is from and what there was
_HEADER = 2**16  # bytes that are fetched at once of a file that is opened and not read whole
_COPIED = frozenset(
    [".csv", ".json", ".txt", ".xml", ".yaml", ".yml", ".mat"]
)  # what is read by others than this module


def local_places(value: Any, cache_folder: str | None) -> Any:
    """A setting of a data set with each URL in it replaced by the local path of its mirror.

    Args:
        value: Text, mappings and lists of it, or anything else, which stays as it is.
        cache_folder: Where mirrors are kept.

    Raises:
        ConfigError: If a URL's file system is not installed, or there is no `cache_folder`.
        DataError: If it can't be read.
    """
    if isinstance(value, Mapping):
        return {key: local_places(part, cache_folder) for key, part in value.items()}
    if not isinstance(value, str) or not _URL.match(value):
        return value
    if cache_folder is None:
        raise ConfigError(f"{value} needs data.cache_folder=..., a folder for the list of its files.")
    return str(_mirror(value, cache_folder))


def read_bytes(path: Path) -> bytes:
    """The bytes of a local file, or of the remote one that a mirror's file stands for.

    Raises:
        OSError: If there is no such local file, or it can't be read.
        DataError: If it is remote and can't be read.
    """
    remote = _remote(path)
    if remote is None:
        return path.read_bytes()
    with _reaching(remote):
        files, place = _opened(remote)
        data: bytes = files.cat_file(place)
        return data


def open_file(path: Path) -> BinaryIO:
    """The same, open for reading parts.

    Raises:
        OSError, DataError: As `read_bytes`.
    """
    remote = _remote(path)
    if remote is None:
        return path.open("rb")
    with _reaching(remote):
        files, place = _opened(remote)
        file: BinaryIO = files.open(place, "rb", block_size=_HEADER)
        return file


def _mirror(url: str, cache_folder: str) -> Path:
    """Lists what is there, and brings the mirror up to date; its path, or that of the file that the URL names."""
    with _reaching(url):
        files, place = _opened(url)
        name = PurePosixPath(place).name if files.isfile(place) else ""
        root = str(PurePosixPath(place).parent) if name else place.rstrip("/")
        found: dict[str, tuple[int, str]] = {
            path[len(root) :].strip("/"): (int(info.get("size") or 0), _version(info))
            for path, info in files.find(root, detail=True).items()
        }
    if not found:
        raise DataError(f"no files at {url}. Check the URL, and that its credentials are in the environment.")
    source = files.unstrip_protocol(root)
    readable = re.sub(r"[^A-Za-z0-9]+", "_", source)[-40:]
    folder = Path(cache_folder) / f"{_MIRROR}{hashlib.sha256(source.encode()).hexdigest()[:12]}-{readable}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(f"{folder}.lock", waiting="waiting for another process that lists the same files"):
        before = {file: (size, version) for file, (size, version) in _read_source(folder).get("files", {}).items()}
        for file in before.keys() - found.keys():
            (folder / file).unlink(missing_ok=True)
        changed = [file for file in found if before.get(file) != found[file] or not (folder / file).is_file()]
        _place(files, root, folder, {file: found[file] for file in changed}, source)
        if before != found:
            write_text(folder / _SOURCE, json.dumps({"url": source, "files": found}))
    return folder / name


def _place(files: Any, root: str, folder: Path, found: Mapping[str, tuple[int, str]], source: str) -> None:
    """Makes the mirror's files."""
    copied = [file for file in found if PurePosixPath(file).suffix.lower() in _COPIED]
    for file, (size, _) in found.items():
        if ".." in file.split("/"):
            raise DataError(f"{source} holds a file called {file}, which leads out of its folder. Rename it.")
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with (folder / file).open("wb") as empty:
            empty.truncate(size)  # takes no room where the file system keeps holes
    if copied:
        with _reaching(source):
            files.get([f"{root}/{file}" for file in copied], [str(folder / file) for file in copied])
    for file, (_, version) in found.items():
        stamp = int(hashlib.sha256(version.encode()).hexdigest()[:12], 16)
        os.utime(folder / file, ns=(stamp, stamp))


def _version(info: Mapping[str, Any]) -> str:
    """What changes with a file's content, as its file system tells it."""
    keys = ("ETag", "etag", "md5", "md5Hash", "sha256", "LastModified", "last_modified", "mtime", "created", "updated")
    return " ".join(str(info[key]) for key in keys if info.get(key) is not None)


def _remote(path: Path) -> str | None:
    """The URL of the image that a mirror's file stands for; None for local files."""
    text = os.fspath(path)
    if _MIRROR not in text or path.suffix.lower() in _COPIED:
        return None
    for folder in path.parents:
        if folder.name.startswith(_MIRROR):
            url = _url_of(folder)
            return None if url is None else f"{url}/{path.relative_to(folder).as_posix()}"
    return None


@functools.lru_cache(maxsize=64)
def _url_of(folder: Path) -> str | None:
    url = _read_source(folder).get("url")
    return str(url) if url is not None else None


def _read_source(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / _SOURCE).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def _opened(url: str) -> tuple[Any, str]:
    """fsspec's file system, which it keeps for each process, and the path in it."""
    import fsspec

    if "::" in url:
        raise ConfigError(f"{url} chains file systems, which is not read; give a plain URL such as s3://bucket/folder.")
    try:
        files, place = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ConfigError(f"{url} can't be opened: {error}. Install what is named there.") from error
    except ValueError as error:
        raise ConfigError(f"{url} can't be opened: {error}. Give a URL such as s3://bucket/folder.") from error
    return files, str(place)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Raises DataError where something remote can't be read; what a file system raises is of any kind."""
    try:
        yield
    except (ConfigError, DataError):
        raise
    except Exception as error:
        raise DataError(
            f"{url} can't be read: {type(error).__name__}: {error}. Check the URL, the connection, and that its credentials are in the "
            "environment.",
            kind="unreachable",
            path=url,
        ) from error
