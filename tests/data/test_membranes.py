import tracemalloc

import numpy as np
import pytest
from data.writers.membranes import write_membranes
from hydra.utils import instantiate
from PIL import Image, ImageSequence
from test_data_conf import load

from atrous.data.membranes import CLASS_INFO, Membranes
from atrous.errors import ConfigError, DataError


@pytest.fixture(params=["stack", "png"])
def layout(request, tmp_path):
    return write_membranes(tmp_path / "membranes", png=request.param == "png")


@pytest.fixture
def stacks(tmp_path):
    return write_membranes(tmp_path / "membranes")


@pytest.fixture
def pngs(tmp_path):
    return write_membranes(tmp_path / "membranes", png=True)


def names(dataset):
    return [dataset[index].name for index in range(len(dataset))]


def pages(path):
    with Image.open(path) as stack:
        return [np.array(page) for page in ImageSequence.Iterator(stack)]


def test_membranes_are_black_and_cells_white():
    assert CLASS_INFO.names == ("membrane", "cell")
    assert CLASS_INFO.palette == ((0, 0, 0), (255, 255, 255))
    assert CLASS_INFO.ids == (0, 255)
    assert CLASS_INFO.things == (1,)


def test_the_last_slices_are_val(layout):
    train, val, test = (Membranes(root=layout, split=split) for split in ("train", "val", "test"))
    assert names(train) == [f"train/{number}" for number in range(24)]  # 10 comes after 9, not after 1
    assert names(val) == [f"train/{number}" for number in range(24, 30)]
    assert names(test) == ["test/0", "test/1", "test/2"]
    assert names(Membranes(root=layout, split="val", val_slices=1)) == ["train/29"]
    assert len(Membranes(root=layout, split="train", val_slices=29)) == 1


@pytest.mark.parametrize("index", [0, 5, 1])  # backwards too
def test_a_slice_is_its_page(stacks, index):
    image, mask, _ = Membranes(root=stacks, split="val")[index]
    grey = pages(stacks / "train-volume.tif")[24 + index]
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.dstack([grey] * 3))
    np.testing.assert_array_equal(mask * np.uint8(255), pages(stacks / "train-labels.tif")[24 + index])
    assert set(np.unique(mask)) == {0, 1}


def test_both_layouts_give_the_same_samples(tmp_path):
    stack, files = (write_membranes(tmp_path / kind, png=kind == "png") for kind in ("tif", "png"))
    for split, index in (("train", 17), ("val", 3), ("test", 2)):
        one, other = (Membranes(root=root, split=split)[index] for root in (stack, files))
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.name == other.name


def test_the_test_stack_has_no_labels(layout):
    dataset = Membranes(root=layout, split="test")
    assert dataset.labelled is False
    assert (dataset[2].mask == 255).all()
    assert dataset[2].mask.shape == (24, 32)
    assert Membranes(root=layout, split="val").labelled is True


def test_predictions_beside_the_slices_are_left_out(pngs):
    Image.new("L", (32, 24)).save(pngs / "test" / "0_predict.png")  # github.com/zhixuhao/unet has them there
    assert names(Membranes(root=pngs, split="test")) == ["test/0", "test/1", "test/2"]


def test_memory_does_not_grow_with_the_slices_read(tmp_path):
    root = write_membranes(tmp_path, size=(256, 256))  # 30 slices of 0.25 MiB as RGB
    dataset = Membranes(root=root, split="train")
    dataset[0]
    tracemalloc.start()
    for index in range(len(dataset)):
        dataset[index]
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 2**18
    assert peak < 2**20


def test_the_cache_key_follows_files_and_slices(layout):
    def key(split="train", **settings):
        return Membranes(root=layout, split=split, **settings).cache_key()

    before = key()
    assert before == key()
    assert len({before, key("val"), key("test"), key(val_slices=7), key("val", val_slices=7)}) == 5
    label = next(path for path in (layout / "train-labels.tif", layout / "train/label/3.png") if path.is_file())
    label.write_bytes(label.read_bytes() + b"\0")
    assert key() != before


@pytest.mark.parametrize("count", [0, -1, 30])
@pytest.mark.parametrize("split", ["train", "val"])
def test_impossible_val_slices(layout, split, count):
    with pytest.raises(ConfigError, match=rf"val_slices={count} of 30 slices; expected 1 to 29. Set data.val_slices=6"):
        Membranes(root=layout, split=split, val_slices=count)


def test_an_unknown_split(layout):
    with pytest.raises(ConfigError, match="ISBI 2012 has no split 'training'; choose one of train, val, test"):
        Membranes(root=layout, split="training")


def saved(path, arrays):
    images = [Image.fromarray(array) for array in arrays]
    images[0].save(path, save_all=True, append_images=images[1:])


def without_a_page(root):
    saved(root / "train-labels.tif", pages(root / "train-labels.tif")[:-1])


def with_a_grey_label(root):
    arrays = pages(root / "train-labels.tif")
    arrays[26][3, 4] = 128
    saved(root / "train-labels.tif", arrays)


def with_a_small_label(root):
    arrays = pages(root / "train-labels.tif")
    arrays[26] = arrays[26][:-1]
    saved(root / "train-labels.tif", arrays)


def of_16_bits(root):
    saved(root / "train-volume.tif", [page.astype(np.uint16) for page in pages(root / "train-volume.tif")])


def cut(root):
    path = root / "train-volume.tif"
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda root: root.rename(root.parent / "x"), ["no ISBI 2012 folder at", "data.root=", "imagej.net"]),
        (
            lambda root: (root / "train-volume.tif").unlink(),
            ["has neither train-volume.tif nor train/image and train/label", "zhixuhao/unet", "non-commercial"],
        ),
        (lambda root: (root / "train-labels.tif").unlink(), ["no labels", "train-labels.tif beside train-volume.tif"]),
        (without_a_page, ["train-volume.tif has 30 slices, but train-labels.tif 29; one is incomplete"]),
        (
            with_a_grey_label,
            ["train-labels.tif, slice 26: label values 128; expected 0 (membrane) and 255 (cell) alone"],
        ),
        (with_a_small_label, ["train-labels.tif, slice 26, is 23 x 32, its image 24 x 32 pixels (height x width)"]),
        (of_16_bits, ["train-volume.tif, slice 0: Pillow's mode I;16; expected 8 bits of grey"]),
        (lambda root: (root / "train-volume.tif").write_text("404"), ["train-volume.tif is no complete TIFF stack"]),
        (cut, ["train-volume.tif is no complete TIFF stack", "Copy it again"]),
    ],
)
def test_bad_stacks(stacks, spoil, parts):
    spoil(stacks)
    with pytest.raises(DataError) as error:
        names(Membranes(root=stacks, split="val"))
    for part in (str(stacks), *parts):
        assert part in str(error.value)


def emptied(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda root: (root / "train/label").rename(root / "x"), ["has neither train-volume.tif nor train/image and"]),
        (lambda root: (root / "train/label/25.png").unlink(), ["1 of 6 masks are missing", "train/label/25.png"]),
        (lambda root: emptied(root / "train/image"), ["split 'val' at", "has no images"]),
        (
            lambda root: Image.new("L", (32, 24), 7).save(root / "train/label/25.png"),
            ["25.png: mask values 7 (768 pixels) are outside"],
        ),
    ],
)
def test_bad_folders(pngs, spoil, parts):
    spoil(pngs)
    with pytest.raises(DataError) as error:
        names(Membranes(root=pngs, split="val"))
    for part in (str(pngs), *parts):
        assert part in str(error.value)


def test_the_config(layout):
    data = instantiate(load("membranes", {"root": str(layout)}), _convert_="all")
    data.check()
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 3, 32, 40)
    shapes = {split: [tuple(batch["mask"].shape) for batch in data.eval_dataloader(split)] for split in ("val", "test")}
    assert shapes == {"val": [(2, 24, 32)] * 3, "test": [(2, 24, 32), (1, 24, 32)]}
