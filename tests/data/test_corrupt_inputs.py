"""What people's folders hold instead of images and masks: each is refused before a training, by name, with a remedy."""

import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from fixtures import write_folder
from PIL import Image

from atrous.data.datamodule import SegmentationDataModule
from atrous.data.folder import Folder
from atrous.data.transforms import EvalTransform, TrainTransform
from atrous.errors import DataError

SIZE = (48, 64)  # height, width
TWO = {"class_names": ["ground", "cell"], "num_classes": 2}
BROKEN = ["no complete image of a known format", "Copy it again, or save it as PNG"]
STATISTICS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.fixture
def root(tmp_path):
    """Three samples to train and one to validate; a case spoils the one called b."""
    write_folder(tmp_path / "train", names=["a", "b", "c"], size=SIZE)
    write_folder(tmp_path / "val", names=["d"], size=SIZE, seed=1)
    return tmp_path


def image_of_b(root):
    return root / "train" / "images" / "b.jpg"


def mask_of_b(root):
    return root / "train" / "masks" / "b.png"


def data_of(root, **changes):
    folders = {kind: {split: str(root / split / kind) for split in ("train", "val")} for kind in ("images", "masks")}
    settings = TWO | {"batch_size": 2, "num_workers": 0} | folders | changes
    return SegmentationDataModule(
        dataset=Folder,
        train_transform=TrainTransform(
            crop_size=[32, 40], ignore_index=settings.get("ignore_index", 255), **STATISTICS
        ),
        eval_transform=EvalTransform(**STATISTICS),
        **settings,
    )


def refusal(root, **changes):
    with pytest.raises(DataError) as error:
        data_of(root, **changes).check()
    return str(error.value)


# ---------------------------------------------------------------------------------------------- files that are no images


def cut(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def as_png(path):
    """The same picture as a PNG, in the place of the file."""
    Image.open(path).save(path.with_suffix(".png"))
    path.unlink()
    return path.with_suffix(".png")


def filled(path, content):
    path.write_bytes(content)
    return path


def linked(path, target):
    path.unlink()
    path.symlink_to(target)
    return path


def a_folder(path):
    path.unlink()
    path.mkdir()
    return path.with_suffix("")  # it is looked into, and so the sample's name is missed


def zipped(path):
    content = path.read_bytes()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("b.png", content)
    return path


def flipped(path, chunk, offset):
    """One bit of a PNG's chunk turned, without a new checksum."""
    content = bytearray(path.read_bytes())
    content[content.index(chunk) + 4 + offset] ^= 1
    return filled(path, bytes(content))


def of_declared_size(path, side):
    """A PNG that says that it is `side` x `side`, and is 70 bytes long."""

    def part(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0" * 9)) + part(b"IEND", b"")
    return filled(path, b"\x89PNG\r\n\x1a\n" + parts)


def saved_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(SIZE, np.uint8))
    return path


def frames(path, count=3, **options):
    pages = [Image.fromarray(np.full(SIZE, number % 2, np.uint8)) for number in range(count)]
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    return path


def instead(path, suffix, array):
    path.unlink()
    Image.fromarray(array).save(path.with_suffix(suffix))
    return path.with_suffix(suffix)


HTML = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>"

# What is wrong -> (what is done to sample b, giving the file that the message must name; what else it must say).
FILES = {
    "a truncated JPEG image": (lambda root: cut(image_of_b(root)), BROKEN),
    "a truncated PNG image": (lambda root: cut(as_png(image_of_b(root))), BROKEN),
    "a truncated PNG mask": (lambda root: cut(mask_of_b(root)), BROKEN),
    "an empty image": (lambda root: cut(image_of_b(root), 0), ["is empty (0 bytes)", "Copy it again"]),
    "an empty mask": (lambda root: cut(mask_of_b(root), 0), ["is empty (0 bytes)", "Copy it again"]),
    "a text file as mask": (lambda root: filled(mask_of_b(root), b"a mask"), ["(6 bytes)", *BROKEN]),
    "an HTML error page as image": (lambda root: filled(image_of_b(root), HTML), [f"({len(HTML)} bytes)", *BROKEN]),
    "a zip file as image": (lambda root: zipped(image_of_b(root)), BROKEN),
    "an npy file as mask": (lambda root: saved_array(mask_of_b(root)), BROKEN),
    "a mask with a flipped bit": (lambda root: flipped(mask_of_b(root), b"IDAT", 12), BROKEN),
    "a mask whose header has a flipped bit": (lambda root: flipped(mask_of_b(root), b"IHDR", 3), BROKEN),
    "a mask of 0 x 0": (lambda root: of_declared_size(mask_of_b(root), 0), BROKEN),
    "a huge declared mask": (lambda root: of_declared_size(mask_of_b(root), 40_000),
        ["1,600,000,000 pixels", "ATROUS_MAX_PIXELS"]),
    "a huge declared image": (lambda root: of_declared_size(as_png(image_of_b(root)), 40_000),
        ["1,600,000,000 pixels", "ATROUS_MAX_PIXELS"]),
    "a link to nowhere": (lambda root: linked(image_of_b(root), root / "gone.jpg"), ["1 of 3 images are missing"]),
    "a link to itself": (lambda root: linked(mask_of_b(root), mask_of_b(root)), ["1 of 3 masks are missing"]),
    "an animated GIF as image": (
        lambda root: frames(image_of_b(root).with_suffix(".gif")) and rid(image_of_b(root), ".gif"),
        ["holds 3 images, expected one"],
    ),
    "a TIFF stack as image": (
        lambda root: frames(image_of_b(root).with_suffix(".tif")) and rid(image_of_b(root), ".tif"),
        ["holds 3 images, expected one", "a file of its own"],
    ),
    "a TIFF stack as mask": (lambda root: frames(mask_of_b(root).with_suffix(".tif")) and rid(mask_of_b(root), ".tif"),
        ["holds 3 images, expected one"]),
    "a float TIFF as image": (lambda root: instead(image_of_b(root), ".tif", np.full(SIZE, 0.5, np.float32)),
        ["32-bit numbers", "PNG of 0 to 255"]),
}  # fmt: skip


def rid(path, suffix):
    path.unlink()
    return path.with_suffix(suffix)


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_images(root, name):
    spoil, parts = FILES[name]
    culprit = spoil(root)
    message = refusal(root)
    for part in (str(culprit), *parts):
        assert part in message


# ------------------------------------------------------------------------------------------- masks that say no classes


def stored(root, change, suffix=".png"):
    """Mask b with its values 0 and 1 changed."""
    with Image.open(mask_of_b(root)) as file:
        values = np.array(file)
    return instead(mask_of_b(root), suffix, change(values))


def rgba(values):
    """Black, with the mask as transparency."""
    return np.dstack([np.zeros((*values.shape, 3), np.uint8), values * np.uint8(255)])


def indexed(root):
    with Image.open(mask_of_b(root)) as file:
        image = file.copy()
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.save(mask_of_b(root))
    return mask_of_b(root)


def lossy(root, path):
    with Image.open(mask_of_b(root)) as file:
        image = file.copy()
    mask_of_b(root).unlink()
    image.save(path, format="JPEG")
    return path


def rotated(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    with Image.open(path) as file:
        image = file.copy()
    image.save(path, exif=exif)
    return path


FLOAT = ["mode F", "Save it as an 8-bit PNG"]
EXPECTED = ["expected 0 to 1 and 255 (ignored)"]
PALETTE = {"palette": [[0, 0, 0], [200, 100, 0]]}

# What is wrong -> (what is done to mask b, giving the file that is named; what else must be said; settings).
MASKS = {
    "values of other classes": (lambda root: stored(root, lambda v: v * 7),
        ["mask values 7 (", *EXPECTED, "Set class_names"]),
    "label ids of Cityscapes": (lambda root: stored(root, lambda v: v * 26 + 7),
        ["mask values 7 (", "33 (", *EXPECTED, "value_map"]),
    "classes counted from 1": (lambda root: stored(root, lambda v: v + 1),
        ["mask values 2 (", "counted from 1; set value_map={1: 0, 2: 1}"]),
    "0 and 255 where 255 is not ignored": (lambda root: stored(root, lambda v: v * 255),
        ["mask values 255 (", "looks like a 0/255 mask; set value_map={0: 0, 255: 1}"], {"ignore_index": 254}),
    "values that value_map leaves out": (lambda root: stored(root, lambda v: v * 128),
        ["mask values 128 (", "value_map: 0, 1"], {"value_map": {0: 0, 1: 1}}),
    "16 bits scaled to the full range": (lambda root: stored(root, lambda v: v.astype(np.uint16) * 65535),
        ["mask values 65535 (", *EXPECTED]),
    "negative values": (lambda root: stored(root, lambda v: -v.astype(np.int32), ".tif"),
        ["mask values -1 (", *EXPECTED]),
    "values beyond 16 bits": (lambda root: stored(root, lambda v: v.astype(np.int32) * 65536, ".tif"),
        ["mask values 65536 (", *EXPECTED]),
    "floating-point numbers": (lambda root: stored(root, lambda v: v.astype(np.float32), ".tif"), FLOAT),
    "NaN": (lambda root: stored(root, lambda v: np.where(v, np.nan, 0).astype(np.float32), ".tif"), FLOAT),
    "colours without a palette": (lambda root: stored(root, lambda v: np.dstack([v * 200, v * 100, v])),
        ["holds colours (RGB), expected class numbers", "palette=[[r, g, b], ...]"]),
    "a colour that the palette has not": (lambda root: stored(root, lambda v: np.dstack([v * 200, v * 100, v * 9])),
        ["colour [200, 100, 9] (", "nearest is [200, 100, 0], class 'cell'"], PALETTE),
    "an index of a colour that the palette has not": (indexed,
        ["colour [10, 20, 30] (", "nearest is [0, 0, 0], class 'ground'", "ignore_colors"], PALETTE),
    "a mask in the transparency": (lambda root: stored(root, rgba),
        ["nothing but the transparency differs", "grey values or colours"]),
    "a JPEG": (lambda root: lossy(root, mask_of_b(root).with_suffix(".jpg")),
        ["JPEG smears the values of masks", "PNG"]),
    "a JPEG that is called PNG": (lambda root: lossy(root, mask_of_b(root)),
        ["JPEG smears the values of masks", "PNG"]),
    "another size": (lambda root: stored(root, lambda v: v[:-1]),
        ["is 47 x 64, its image", "b.jpg 48 x 64 pixels (height x width)", "Make the mask anew"]),
    "a turned image": (lambda root: rotated(image_of_b(root)) and mask_of_b(root),
        ["is 48 x 64, its image", "64 x 48", "One of them is turned: save both without an EXIF rotation"]),
    "a turned mask": (lambda root: rotated(mask_of_b(root)), ["is 64 x 48, its image", "One of them is turned"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_masks_that_say_no_classes(root, name):
    spoil, parts, *settings = MASKS[name]
    culprit = spoil(root)
    message = refusal(root, **(settings[0] if settings else {}))
    for part in (str(culprit), *parts):
        assert part in message


def test_0_255_masks_where_255_is_ignored(root):
    for path in root.glob("*/masks/*.png"):
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(255)).save(path)
    message = refusal(root)
    assert "hold only class 'ground' and ignored pixels (255)" in message
    assert "set value_map={0: 0, 255: 1}" in message


# ------------------------------------------------------------------------------------------------ folders and CSV files


def twin(path):
    Image.new("RGB", (8, 8)).save(path.with_suffix(".png"))


def gone(path):
    path.unlink()


# What is wrong -> (what is done to the folders; what must be said).
FOLDERS = {
    "a missing mask": (lambda root: gone(mask_of_b(root)),
        ["1 of 3 images in", "have no mask: b. Expected one such as", "b.png; found in", "mask_suffix"]),
    "a folder called as an image": (lambda root: a_folder(mask_of_b(root)),
        ["have no mask: b. Expected one such as", "b.png"]),
    "two images of one name": (lambda root: twin(image_of_b(root)), ["b.jpg", "b.png", "have one name; rename one"]),
    "two masks of one name": (lambda root: Image.new("L", (8, 8)).save(mask_of_b(root).with_suffix(".tif")),
        ["b.png", "b.tif", "have one name; rename one", "mask_name=*", "CSV"]),
    "masks as npy files": (lambda root: mask_of_b(root).rename(mask_of_b(root).with_suffix(".npy")),
        ["have no mask: b. Expected one such as", "b.png"]),
    "a name of another case": (lambda root: mask_of_b(root).rename(mask_of_b(root).with_stem("B")),
        ["have no mask: b.", "found in", "a, "]),
    "no folder of images": (lambda root: (root / "train" / "images").rename(root / "x"),
        ["no folder", "images (images=...)", "Expected an image file"]),
    "a split without images": (lambda root: gone(next((root / "val" / "images").iterdir())),
        ["no images in", "Expected an image file per sample"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(root, name):
    spoil, parts = FOLDERS[name]
    spoil(root)
    message = refusal(root)
    for part in parts:
        assert part in message


GOOD = "train/images/a.jpg,train/masks/a.png,train\nval/images/d.jpg,val/masks/d.png,val\n"
HEADER = "image,mask,split\n"

# What is wrong -> (the CSV file, what must be said beside its path).
TABLES = {
    "no file": (None, ["no file", "columns image, mask"]),
    "no lines and no splits": (b"image,mask\n", ["lists no images"]),
    "an empty file": (b"", ["has the columns none; expected image, mask"]),
    "no header": (GOOD.encode(), ["has the columns train/images/a.jpg", "expected image, mask and perhaps split"]),
    "another header": (b"picture,label\na,b\n", ["has the columns picture, label; expected image, mask"]),
    "semicolons": (b"image;mask;split\na;b;train\n", ["has the columns image;mask;split; expected image, mask"]),
    "no lines": (HEADER.encode(), ["no rows of the split 'val', only of none"]),
    "a wrong split": ((HEADER + GOOD + "a.jpg,a.png,training\n").encode(),
        ["line 4", "split='training'", "one of train, val, test"]),
    "a line without a mask": ((HEADER + GOOD + "a.jpg\n").encode(), ["line 4", "image='a.jpg'", "expected two paths"]),
    "a missing image": ((HEADER + GOOD + "train/images/x.jpg,train/masks/b.png,train\n").encode(),
        ["1 of 2 images are missing", "train/images/x.jpg", "start at its folder"]),
    "a missing mask": ((HEADER + GOOD + "train/images/b.jpg,train/masks/x.png,train\n").encode(),
        ["1 of 2 masks are missing", "train/masks/x.png"]),
    "an image twice": ((HEADER + GOOD + GOOD).encode(), ["lists val/images/d twice. Delete a line"]),
    "Latin-1": ((HEADER + GOOD + "für.jpg,für.png,train\n").encode("latin-1"), ["no CSV file in UTF-8", "CSV UTF-8"]),
    "UTF-16": ((HEADER + GOOD).encode("utf-16"), ["no CSV file in UTF-8", "CSV UTF-8"]),
    "an image": (Image.new("RGB", (9, 9))._repr_png_(), ["no CSV file in UTF-8"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_csv_files(root, name):
    content, parts = TABLES[name]
    table = root / "all.csv"
    if content is not None:
        filled(table, content)
    message = refusal(root, csv=str(table), images=None, masks=None)
    for part in (str(table), *parts):
        assert part in message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it(root):
    mask_of_b(root).chmod(0)
    message = refusal(root)
    assert f"{mask_of_b(root)} can't be read: Permission denied. Check the file's rights" in message


# --------------------------------------------------------------------------------------------- odd, but nothing is wrong


def recoded(path, mode, **options):
    with Image.open(path) as file:
        image = file.convert(mode)
    image.save(path, **options)


def grown(root):
    """A mask with a smaller page behind it, as thumbnails and overviews are."""
    with Image.open(mask_of_b(root)) as file:
        image = file.copy()
    mask_of_b(root).unlink()
    image.save(mask_of_b(root).with_suffix(".tif"), save_all=True, append_images=[image.reduce(2)])


def renamed(root, name):
    image_of_b(root).rename(image_of_b(root).with_name(f"{name}.jpg"))
    mask_of_b(root).rename(mask_of_b(root).with_name(f"{name}.png"))


def single_pixels(root):
    Image.new("RGB", (1, 1)).save(image_of_b(root))
    Image.new("L", (1, 1)).save(mask_of_b(root))


WORKS = {
    "spaces and letters of all the world": lambda root: renamed(root, "straße 写真 №1"),
    "quotes and brackets": lambda root: renamed(root, 'it\'s [1] {2} "3" %s'),
    "extensions in capitals": lambda root: image_of_b(root).rename(image_of_b(root).with_suffix(".JPG")),
    "a CMYK JPEG": lambda root: recoded(image_of_b(root), "CMYK"),
    "a grey image": lambda root: recoded(image_of_b(root), "L"),
    "a progressive JPEG": lambda root: recoded(image_of_b(root), "RGB", progressive=True),
    "a mask of one bit": lambda root: Image.fromarray(np.asarray(Image.open(mask_of_b(root))) > 0).save(
        mask_of_b(root)
    ),
    "a mask with an even transparency": lambda root: recoded(mask_of_b(root), "LA"),
    "a mask with a thumbnail": grown,
    "an image of one pixel": single_pixels,
    "other files": lambda root: [
        (root / "train" / kind / name).write_bytes(b"x")
        for kind in ("images", "masks")
        for name in ("Thumbs.db", ".DS_Store", "._b.jpg", "notes.txt")
    ],
    "a link to the folder above": lambda root: (root / "train" / "images" / "up").symlink_to(root / "train" / "images"),
}


@pytest.mark.parametrize("name", WORKS)
def test_odd_inputs_that_work(root, name):
    WORKS[name](root)
    data = data_of(root)
    data.check()
    assert len(data.dataset("train")) == 3
    seen = {label for sample in map(data.dataset("train").__getitem__, range(3)) for label in np.unique(sample.mask)}
    assert seen == {0, 1}
    for batch in data.train_dataloader():
        assert batch["image"].isfinite().all()
