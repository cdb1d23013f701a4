import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from atrous.data.io import strips
from atrous.data.io.files import read_image
from atrous.data.io.strips import StripReader, open_image
from atrous.errors import DataError

HUGE = 10**9


@pytest.fixture
def small_pieces(monkeypatch):
    """Everything counts as large, and a few rows are decoded at a time."""
    monkeypatch.setattr(strips, "LARGE", 1)
    monkeypatch.setattr(strips, "_PIECE", 1000)


def picture(height=45, width=61, channels=3, seed=0):
    """Smooth with some noise, so that encoders choose all kinds of filters."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 9, channels), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    noise = rng.integers(0, 3, smooth.shape, np.uint8) * (np.arange(height) > height // 2)[:, None, None].astype(
        np.uint8
    )
    return (smooth // 2 + noise).astype(np.uint8)


PNGS = {
    "RGB": lambda: Image.fromarray(picture()),
    "RGBA": lambda: Image.fromarray(picture(channels=4), "RGBA"),
    "grey": lambda: Image.fromarray(picture(channels=1)[..., 0]),
    "grey, 16 bits": lambda: Image.fromarray(picture(channels=1)[..., 0].astype(np.uint16) * 257 + 5),
    "grey and transparency": lambda: Image.fromarray(picture(channels=2), "LA"),
    "indexed": lambda: Image.fromarray(picture()).quantize(50),
}


@pytest.mark.parametrize("kind", PNGS)
def test_pngs_are_read_as_read_image_reads_them(kind, tmp_path, small_pieces):
    path = tmp_path / "a.png"
    PNGS[kind]().save(path)
    found = open_image(path, max_pixels=HUGE)
    assert isinstance(found, StripReader)
    assert found.shape == (45, 61, 3)
    np.testing.assert_array_equal(found[0:45], read_image(path))
    np.testing.assert_array_equal(found[7:20], read_image(path)[7:20])


@pytest.mark.parametrize("orientation", [1, None])
def test_a_png_with_exif_that_does_not_turn_it(orientation, tmp_path, small_pieces):
    exif = Image.Exif()
    exif[0x010F] = "a camera's maker"
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    found = open_image(tmp_path / "a.png", max_pixels=HUGE)
    assert isinstance(found, StripReader)
    np.testing.assert_array_equal(found[0:45], picture())


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colours_are_cut_to_the_upper_8(channels, tmp_path, small_pieces):
    path = tmp_path / "a.png"
    deep = picture(channels=channels).astype(np.uint16) * 256 + picture(channels=channels, seed=1)
    cv2.imwrite(str(path), deep)
    found = open_image(path, max_pixels=HUGE)
    np.testing.assert_array_equal(found[0:45], (deep[..., 2::-1] >> 8).astype(np.uint8))


@pytest.mark.parametrize("kind", range(5))
def test_every_filter_of_png(kind, tmp_path, small_pieces):
    """Rows filtered by the specification's formulas (section 9.2), which encoders mix as they like."""
    pixels = picture(20, 30).reshape(20, -1).astype(int)
    left = np.pad(pixels, ((0, 0), (3, 0)))[:, :-3]
    above = np.pad(pixels, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(pixels, ((1, 0), (3, 0)))[:-1, :-3]
    guess = left + above - corner
    distances = np.abs(np.stack([guess - left, guess - above, guess - corner]))
    paeth = np.take_along_axis(np.stack([left, above, corner]), distances.argmin(0)[None], 0)[0]
    predicted = [np.zeros_like(pixels), left, above, (left + above) // 2, paeth][kind]
    lines = np.concatenate([np.full((20, 1), kind), pixels - predicted], axis=1).astype(np.uint8)
    data = zlib.compress(lines.tobytes())
    chunks = [(b"IHDR", struct.pack(">II5B", 30, 20, 8, 2, 0, 0, 0)), (b"tEXt", b"a\0b")]
    chunks += [(b"IDAT", data[start : start + 100]) for start in range(0, len(data), 100)]  # in many chunks
    body = b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in [*chunks, (b"IEND", b"")]
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    found = open_image(tmp_path / "a.png", max_pixels=HUGE)
    np.testing.assert_array_equal(found[0:20], pixels.reshape(20, 30, 3))


TIFFS = {
    "plain": {},
    "strips of 4 rows": {"tiffinfo": {278: 4}},
    "LZW": {"compression": "tiff_lzw"},
    "deflate": {"compression": "tiff_adobe_deflate"},
    "deflate with predictor": {"compression": "tiff_adobe_deflate", "tiffinfo": {317: 2, 278: 4}},
    "packbits": {"compression": "packbits"},
    "JPEG": {"compression": "jpeg", "quality": 95},
}


@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_tiffs_are_read_as_read_image_reads_them(kind, mode, tmp_path, small_pieces):
    if kind == "JPEG" and mode != "RGB":
        pytest.skip("JPEG has colours only")
    path = tmp_path / "a.tif"
    Image.fromarray(picture()).convert(mode).save(path, **TIFFS[kind])
    found = open_image(path, max_pixels=HUGE)
    assert isinstance(found, StripReader)
    np.testing.assert_array_equal(found[0:45], read_image(path))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_tiles(order, tmp_path, small_pieces):
    """Written by hand, 16 x 16 pixels each; the last ones pass the border."""
    pixels = picture()
    padded = np.pad(pixels, ((0, 3), (0, 3), (0, 0)))
    tiles = [padded[y : y + 16, x : x + 16].tobytes() for y in range(0, 48, 16) for x in range(0, 64, 16)]
    offsets = [8 + 768 * index for index in range(12)]
    at = 8 + 768 * 12
    lists = struct.pack(f"{order}3H12I12I", 8, 8, 8, *offsets, *[768] * 12)
    directory = at + len(lists)
    entries = [(256, 4, 1, 61), (257, 4, 1, 45), (258, 3, 3, at), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3)]
    entries += [(322, 4, 1, 16), (323, 4, 1, 16), (324, 4, 12, at + 6), (325, 4, 12, at + 54)]
    packed = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in entries
    )
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, directory)
    data = head + b"".join(tiles) + lists + struct.pack(f"{order}H", len(entries)) + packed + bytes(4)
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data))), pixels)  # it is a good file
    found = open_image(tmp_path / "a.tif", max_pixels=HUGE)
    assert isinstance(found, StripReader)
    np.testing.assert_array_equal(found[0:45], pixels)


def test_what_is_decoded_whole(tmp_path, small_pieces):
    """A JPEG, a PNG turned by EXIF, a black and white one, a TIFF turned: the same pixels, in memory."""
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "a.jpg")
    image.save(tmp_path / "turned.png", exif=exif)
    image.convert("1").save(tmp_path / "bits.png")
    image.save(tmp_path / "turned.tif", tiffinfo={274: 6})
    for path in sorted(tmp_path.iterdir()):
        found = open_image(path, max_pixels=HUGE)
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, read_image(path))


def test_small_images_are_held_in_memory(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert isinstance(open_image(tmp_path / "a.png", max_pixels=HUGE), np.ndarray)


def test_progress_ends_at_one(tmp_path, small_pieces):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    told = []
    open_image(tmp_path / "a.png", max_pixels=HUGE, folder=tmp_path, progress=told.append)
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]  # the temporary file has no name


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_damaged_png(share, tmp_path, small_pieces):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 61, 3), np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    middle = int(len(data) * share)
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a.png is no complete image"):
        open_image(path, max_pixels=HUGE)


def test_a_png_with_a_damaged_header(tmp_path, small_pieces):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    data = bytearray(path.read_bytes())
    data[25] = 6  # the colour type, which the check sum then contradicts
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a.png \(\d+ bytes\) is no complete image"):
        open_image(path, max_pixels=HUGE)


def test_a_tiff_that_ends_early(tmp_path, small_pieces):
    """Its directory stands before its pixels here, as the file's that is cut in a download."""
    path = tmp_path / "a.tif"
    Image.fromarray(picture()).save(path, tiffinfo={278: 4})
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    with pytest.raises(DataError, match=r"a.tif is no complete image: it ends in piece 6 of 12"):
        open_image(path, max_pixels=HUGE)


def test_a_png_that_ends_early(tmp_path, small_pieces):
    path = tmp_path / "a.png"
    lines = np.zeros((10, 91), np.uint8).tobytes()
    chunks = ((b"IHDR", struct.pack(">II5B", 30, 20, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(DataError, match=r"a.png is no complete image: it ends after 10 of 20 rows"):
        open_image(path, max_pixels=HUGE)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"no file .*a.png"):
        open_image(tmp_path / "a.png", max_pixels=HUGE)
