import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from atrous.data.io import sizes
from atrous.data.io.files import read_image, read_mask
from atrous.data.io.sizes import image_size
from atrous.data.io.strips import open_image
from atrous.errors import ConfigError, DataError

FORMATS = {
    "PNG": {},
    "JPEG": {},
    "JPEG, progressive": {"progressive": True},
    "TIFF": {},
    "TIFF, big": {"big_tiff": True},
    "TIFF, LZW": {"compression": "tiff_lzw"},
}


def encoded(kind, size):
    file = io.BytesIO()
    image = Image.fromarray(np.zeros((*size, 3), np.uint8))
    image.save(file, kind.partition(",")[0], **FORMATS[kind])
    return file


def bomb(width=50_000, height=40_000):
    """A PNG whose header promises two gigapixels."""
    chunks = (
        (b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (37, 300), (1000, 5)])
def test_sizes(kind, size):
    assert image_size(encoded(kind, size)) == size


def test_a_big_endian_tiff():
    entries = ((256, 3, 7), (257, 4, 9))
    packed = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, value in entries
    )
    assert image_size(io.BytesIO(b"MM\0*" + struct.pack(">IH", 8, 2) + packed + bytes(4))) == (9, 7)


@pytest.mark.parametrize("kind", FORMATS)
def test_files_that_end_in_their_header(kind):
    data = encoded(kind, (5, 5)).getvalue()
    for length in (0, 1, 3, 8, 12, 20):
        assert image_size(io.BytesIO(data[:length])) is None


def test_what_is_no_image_has_no_size():
    assert image_size(io.BytesIO(b"GIF8" + bytes(30))) is None
    assert image_size(io.BytesIO(b"some text")) is None


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_bomb_in_a_data_set(read, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(bomb())
    message = (
        r"a.png has 40000 x 50000 = 2,000,000,000 pixels by its header, more than the limit of 178,956,970. If you trust "
        r"the file, set the environment variable ATROUS_MAX_PIXELS=2000000000."
    )
    with pytest.raises(DataError, match=message):
        read(path)
    monkeypatch.setenv("ATROUS_MAX_PIXELS", "99")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(path)
    with pytest.raises(DataError, match="100 pixels by its header, more than the limit of 99"):
        read(path)
    monkeypatch.setenv("ATROUS_MAX_PIXELS", "100")
    assert read(path).shape[:2] == (10, 10)


def test_a_format_whose_header_pillow_reads(tmp_path, monkeypatch):
    path = tmp_path / "a.gif"
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(path)
    monkeypatch.setenv("ATROUS_MAX_PIXELS", "300")
    with pytest.raises(DataError, match=r"a.gif has 20 x 20 = 400 pixels by its header, more than the limit of 300"):
        read_mask(path)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_bomb_that_pillow_finds(read, tmp_path):
    path = tmp_path / "a.bmp"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    data[18:26] = struct.pack("<ii", 50_000, 50_000)
    path.write_bytes(data)
    # Pillow's message, or ours where another library has raised Pillow's limit.
    with pytest.raises(DataError, match=r"a.bmp.*(2500000000|2,500,000,000) pixels.*ATROUS_MAX_PIXELS="):
        read(path)


def test_a_bomb_for_predict(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bomb())
    with pytest.raises(
        DataError, match=r"more than the limit of 1,000. If you trust the file, give max_pixels=2000000000"
    ):
        open_image(path, max_pixels=1000)


@pytest.mark.parametrize("text", ["many", "0", "-5", "1e9"])
def test_a_limit_that_is_no_number(text, monkeypatch):
    monkeypatch.setenv("ATROUS_MAX_PIXELS", text)
    with pytest.raises(ConfigError, match=f"ATROUS_MAX_PIXELS={text} is impossible; give a number of pixels"):
        sizes.max_pixels()
