import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from atrous.data.io import png
from atrous.data.io.files import read_image, read_mask
from atrous.data.io.listing import find_images, list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import read_pair
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo

RGB = np.zeros((4, 6, 3), np.uint8)
RGB[...] = (200, 100, 50)
RGB[0, 0] = (10, 20, 30)
THREE = ClassInfo(names=("sky", "road", "car"), palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)))
COLORS = {(10, 0, 0): 0, (0, 20, 0): 1, (0, 0, 30): 2, (0, 0, 0): 255}


def save(path, array, mode=None, **options):
    Image.fromarray(array).convert(mode).save(path, **options) if mode else Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm"])
def test_images_come_as_rgb(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", RGB, **({"lossless": True} if suffix == ".webp" else {}))
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_images_of_other_modes_come_as_rgb(tmp_path, mode):
    path = save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), RGB, mode)
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert abs(read_image(path) - expected).max() <= 3  # OpenCV and Pillow convert CMYK a little differently


def test_a_format_that_only_pillow_reads(tmp_path):
    path = save(tmp_path / "a.pcx", RGB)
    np.testing.assert_array_equal(read_image(path), RGB)


def test_16_bits_are_cut_to_the_upper_8(tmp_path):
    deep = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2570
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    assert abs(read_image(tmp_path / "a.png")[..., 1].astype(int) - deep // 256).max() <= 1


def test_exif_turns_image_and_mask_alike(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    grey = np.zeros((16, 32), np.uint8)
    grey[:8, :16] = 1
    image = save(tmp_path / "a.jpg", np.stack([grey * 200] * 3, -1), exif=exif, quality=100)
    mask = save(tmp_path / "a.png", grey, exif=exif)
    turned = np.rot90(grey, -1)
    np.testing.assert_array_equal(read_mask(mask), turned)
    np.testing.assert_array_equal(read_image(image)[..., 0] > 100, turned == 1)


def test_masks_come_as_stored(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "grey.png", values)), values)
    indexed = Image.fromarray(values)
    indexed.putpalette([255 - value for value in range(256) for _ in range(3)])
    indexed.save(tmp_path / "indexed.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "indexed.png"), values)
    expected = np.repeat(255 - values[..., None], 3, -1)
    np.testing.assert_array_equal(read_mask(tmp_path / "indexed.png", by_color=True), expected)
    deep = values.astype(np.uint16) * 300
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    np.testing.assert_array_equal(read_mask(tmp_path / "deep.png"), deep)
    two = (values % 2).astype(bool)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "two.png", two)), two.astype(np.uint8))
    np.testing.assert_array_equal(read_mask(save(tmp_path / "alpha.png", values, "LA")), values)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "grey_rgb.png", values, "RGB")), values)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "rgb.png", RGB)), RGB)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "rgba.png", RGB, "RGBA")), RGB)


def test_values_become_classes(tmp_path):
    stored = np.array([[0, 2, 255], [1, 1, 255]], np.uint8)
    path = save(tmp_path / "a.png", stored)
    plain = MaskReader(class_info=THREE)(path)
    np.testing.assert_array_equal(plain, stored)
    assert plain.dtype == np.uint8
    mapped = MaskReader(class_info=THREE, value_map={0: 2, 1: 255, 2: 0, 255: 1})(path)
    np.testing.assert_array_equal(mapped, [[2, 0, 1], [255, 255, 1]])


def test_16_bit_values_become_classes(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[1000, 40000]], np.uint16))
    mask = MaskReader(class_info=THREE, value_map={1000: 0, 40000: 2})(tmp_path / "a.png")
    np.testing.assert_array_equal(mask, [[0, 2]])


def test_an_ignore_index_beyond_uint8(tmp_path):
    info = ClassInfo(THREE.names, THREE.palette, ignore_index=-1)
    mask = MaskReader(class_info=info, value_map={0: 0, 7: -1})(save(tmp_path / "a.png", np.array([[0, 7]], np.uint8)))
    np.testing.assert_array_equal(mask, [[0, -1]])
    many = ClassInfo(tuple(map(str, range(300))), ((0, 0, 0),) * 300, ignore_index=65535)
    cv2.imwrite(str(tmp_path / "b.png"), np.array([[299, 255, 65535]], np.uint16))
    np.testing.assert_array_equal(MaskReader(class_info=many)(tmp_path / "b.png"), [[299, 255, 65535]])


def test_colours_become_classes(tmp_path):
    image = Image.new("RGB", (4, 1))
    for x, color in enumerate(COLORS):
        image.putpixel((x, 0), color)
    image.save(tmp_path / "rgb.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "indexed.png")
    reader = MaskReader(class_info=THREE, colors=COLORS)
    for name in ("rgb.png", "indexed.png"):
        np.testing.assert_array_equal(reader(tmp_path / name), [[0, 1, 2, 255]])
    grey = save(tmp_path / "grey.png", np.array([[0, 2, 255]], np.uint8))
    np.testing.assert_array_equal(reader(grey), [[0, 2, 255]])


@pytest.mark.parametrize(
    ("values", "options", "parts"),
    [
        ([[0, 1, 7, 7]], {}, ["mask values 7 (2 pixels)", "0 to 2 and 255 (ignored)", "class_names", "value_map"]),
        ([[1, 2, 3]], {}, ["mask values 3 (1 pixels)", "counted from 1", "value_map={1: 0, 2: 1, 3: 2}"]),
        ([[*range(10, 20)]], {}, ["10 (1 pixels), 11", "and 5 more"]),
        ([[0, 3]], {"value_map": {0: 0, 255: 1}}, ["3 (1 pixels)", "value_map: 0, 255. Add"]),
    ],
)
def test_values_outside_the_classes(tmp_path, values, options, parts):
    path = save(tmp_path / "a.png", np.array(values, np.uint8))
    with pytest.raises(DataError) as error:
        MaskReader(class_info=THREE, **options)(path)
    for part in (str(path), *parts):
        assert part in str(error.value)


def test_the_errors_fields_tell_what_is_wrong_in_another_process_too(tmp_path):
    values = save(tmp_path / "values.png", np.array([[0, 7, 9, 7, *range(100, 120)]], np.uint8))
    colors = save(tmp_path / "colors.png", np.array([[(9, 9, 9), (0, 0, 33), (0, 0, 33), (10, 0, 0)]], np.uint8))
    wrong = {7: 2, 9: 1, **dict.fromkeys(range(100, 120), 1)}
    for path, options, kind, expected, stored in (
        (values, {}, "values", wrong, (0, *wrong)),
        (values, {"value_map": {0: 0}}, "unmapped values", wrong, (0, *wrong)),
        (colors, {"colors": COLORS}, "colours", {(0, 0, 33): 2, (9, 9, 9): 1}, ()),
        (tmp_path / "absent.png", {}, "missing", {}, ()),
    ):
        with pytest.raises(DataError) as raised:
            MaskReader(class_info=THREE, **options)(path)
        for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):
            assert (error.kind, error.path, error.wrong, error.stored) == (kind, str(path), expected, stored)
            assert str(error) == str(raised.value)


def test_an_unknown_colour_names_the_nearest(tmp_path):
    path = save(tmp_path / "a.png", np.array([[(10, 0, 0), (0, 0, 33), (0, 0, 33), (9, 9, 9)]], np.uint8))
    with pytest.raises(DataError) as error:
        MaskReader(class_info=THREE, colors=COLORS)(path)
    for part in (
        str(path),
        "[0, 0, 33] (2 pixels)",
        "1 other unknown",
        "nearest is [0, 0, 30], class 'car'",
        "palette",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("value_map", [{0: 3}, {-32769: 0}, {70000: 0}])
def test_an_impossible_value_map(value_map):
    with pytest.raises(
        ConfigError, match=r"value_map .* expected a stored value from -32768 to 65535 and a class from 0 to 2"
    ):
        MaskReader(class_info=THREE, value_map=value_map)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_bad_files(tmp_path, read):
    (tmp_path / "folder.png").mkdir()
    for name, kind, message in (
        ("folder.png", "folder", "expected an image file"),
        ("a.png", "missing", "Copy it there"),
    ):
        with pytest.raises(DataError, match=rf"{name}.*{message}") as error:
            read(tmp_path / name)
        assert (error.value.kind, error.value.path) == (kind, str(tmp_path / name))


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(DataError, match="can't be read: Permission denied"):
        read_image(tmp_path / "a.png")


def test_listing_goes_through_folders_and_leaves_out_other_files(tmp_path):
    for name in ("b/2.JPG", "a/1.png", ".hidden/3.png", "a/._1.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["a/1.png", "b/2.JPG"]
    assert find_images(str(tmp_path)) == {tmp_path / name: Path(name) for name in ("a/1.png", "b/2.JPG")}


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_a_jpeg_is_reduced_while_it_is_decoded(tmp_path, reduction):
    ramp = np.add.outer(np.arange(50), 2 * np.arange(83)).astype(np.uint8)
    path = save(tmp_path / "a.jpeg", np.stack([ramp] * 3, -1), quality=100, subsampling=0)
    whole, reduced = read_image(path), read_image(path, reduction=reduction)
    assert reduced.shape == (*(-(-side // reduction) for side in whole.shape[:2]), 3)
    rows, cols = (side // reduction for side in whole.shape[:2])
    blocks = whole[: rows * reduction, : cols * reduction].reshape(rows, reduction, cols, reduction, 3).mean((1, 3))
    assert abs(reduced[:rows, :cols] - blocks).max() <= 4


def test_other_formats_and_turned_images_are_not_reduced(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(save(tmp_path / "a.jpg", RGB, exif=exif), reduction=2).shape == (6, 4, 3)
    for name in ("a.png", "a.tif", "a.webp"):
        assert read_image(save(tmp_path / name, RGB), reduction=4).shape == RGB.shape


def test_a_reduced_image_keeps_its_whole_mask(tmp_path):
    mask = np.random.default_rng(0).integers(0, 3, (51, 83), dtype=np.uint8)
    image, mask_path = save(tmp_path / "a.jpg", np.stack([mask] * 3, -1)), save(tmp_path / "m.png", mask)
    sample = read_pair(image, mask_path, "a", MaskReader(class_info=THREE), reduction=4)
    assert sample.image.shape == (13, 21, 3)
    np.testing.assert_array_equal(sample.mask, mask)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_message_on_sizes_is_of_the_whole_image(tmp_path, suffix):
    """An image of half of its mask's size too, which is what a reduction looks like."""
    image = save(tmp_path / f"a{suffix}", np.zeros((10, 16, 3), np.uint8))
    mask = save(tmp_path / "m.png", np.zeros((20, 32), np.uint8))
    for reduction in (1, 2, 4, 8):
        with pytest.raises(DataError, match=f"m.png is 20 x 32, its image .*a{suffix} 10 x 16"):
            read_pair(image, mask, "a", MaskReader(class_info=THREE), reduction=reduction)


def write_pngs(folder):
    """PNGs of every kind that concerns which decoder reads them."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    indexed = Image.fromarray(rgb[..., 0] % 20).convert("P")
    indexed.putpalette(bytes(rng.integers(0, 256, 60, dtype=np.uint8)))
    indexed.save(folder / "indexed8.png", bits=8)
    indexed.save(folder / "indexed8_clear.png", bits=8, transparency=3)
    Image.fromarray(rgb[..., 0] % 4).convert("P").save(folder / "indexed2.png", bits=2)
    save(folder / "rgb.png", rgb)
    save(folder / "turned.png", rgb, exif=exif)
    save(folder / "one_colour_clear.png", rgb, transparency=(1, 2, 3))
    save(folder / "rgba.png", rgb, "RGBA")
    save(folder / "grey.png", rgb[..., 1])
    save(folder / "grey_turned.png", rgb[..., 1], exif=exif)
    save(folder / "grey_clear.png", rgb[..., 1], "LA")
    save(folder / "bits.png", rgb[..., 1] > 99)
    cv2.imwrite(str(folder / "deep.png"), rgb[..., 0].astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "by_opencv.png"), rgb)
    cv2.imwrite(str(folder / "grey_by_opencv.png"), rgb[..., 0])
    return sorted(folder.glob("*.png"))


def test_all_decoders_read_pngs_alike(tmp_path, monkeypatch):
    pytest.importorskip("kornia_rs", reason="the other decoder")
    paths = write_pngs(tmp_path)

    def read_all():
        return [(read_image(path), read_mask(path), read_mask(path, by_color=True)) for path in paths]

    decoded = []
    monkeypatch.setattr(
        png, "decode_image_png_u8", lambda *args, f=png.decode_image_png_u8: decoded.append(1) or f(*args)
    )
    fast = read_all()
    # Images: the 3 plain RGB ones. Masks: 4 of 8 bits by value, and of those the 2 that are not indexed by colour.
    assert len(decoded) == 3 + 4 + 2
    monkeypatch.setattr(png, "decode_image_png_u8", None)
    for path, one, other in zip(paths, fast, read_all(), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=path.name)
            assert (a.dtype, a.flags.writeable) == (b.dtype, b.flags.writeable)


def test_threads_leave_the_decoder_that_holds_pythons_lock_alone(tmp_path, monkeypatch):
    data = save(tmp_path / "a.png", RGB).read_bytes()
    monkeypatch.setattr(png, "decode_image_png_u8", lambda data, shape, mode: np.zeros((*shape, 3), np.uint8))
    assert png.decode_png(data, kinds=(png.RGB,)) is not None
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(png.decode_png, data, kinds=(png.RGB,)).result() is None


def test_a_header_that_claims_more_than_the_file_holds_allocates_nothing(tmp_path, monkeypatch):
    data = bytearray(save(tmp_path / "a.png", RGB).read_bytes())
    data[16:24] = (2**30).to_bytes(4) * 2
    monkeypatch.setattr(png, "decode_image_png_u8", pytest.fail)
    assert png.decode_png(bytes(data), kinds=(png.RGB,)) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_are_written_row_by_row(tmp_path, dtype):
    labels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (50, 31)).astype(dtype)
    with png.write_labels(tmp_path / "a.png", labels.shape, labels.dtype) as append:
        for top in range(0, 50, 7):
            append(labels[top : top + 7])
        assert not (tmp_path / "a.png").exists()
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), labels)
    with (
        pytest.raises(ValueError, match=r"3 rows were written to .*b.png, which has 50"),
        png.write_labels(tmp_path / "b.png", labels.shape, labels.dtype) as append,
    ):
        append(labels[:3])
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_images_of_a_folder_that_cannot_be_read_are_not_passed_over(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    assert list(find_images(str(tmp_path))) == [tmp_path / "a.png"]
    (tmp_path / "b.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match=r"1 images that can't be read: b\.HEIC.*PNG.*\*\.png"):
        find_images(str(tmp_path))


def test_the_tags_of_a_geotiff_are_read_without_a_word(tmp_path, capfd):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, value in ((33550, 12, (1.0, 1.0, 0.0)), (34735, 3, (1, 1, 0, 1)), (42113, 2, "nan")):
        tags.tagtype[tag] = kind
        tags[tag] = value
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo=tags)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)
    assert read_mask(tmp_path / "a.tif").shape == (8, 9, 3)
    assert capfd.readouterr() == ("", "")
