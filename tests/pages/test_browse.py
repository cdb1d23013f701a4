import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from fixtures import write_camvid, write_folder
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from atrous.cli import browse
from atrous.config.compose import CONF_DIR
from atrous.pages.browse import BrowsedSample, BrowsedSplit, page, sheet
from atrous.pages.contact_sheet import hatched_swatch
from atrous.types import ClassInfo

HOSTILE = "<img src=x onerror=alert(1)>&\"'"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's


class Page(HTMLParser):
    """The tags of a page, its images and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.images, self.masks = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        if tag == "img":
            {"image": self.images, "labels": self.masks}[values["class"]].append(pixels(values["src"]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def pixels(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def unnormalised(image):
    """(3, H, W) as the network gets it -> uint8 (H, W, 3)."""
    return np.rint((np.moveaxis(np.asarray(image, float), 0, -1) * STD + MEAN) * 255).astype(np.uint8)


def places(whole, part):
    """Upper left corners at which `part` stands in `whole`."""
    near = np.argwhere((whole == part[0, 0]).all(2))
    height, width = part.shape[:2]
    return [(y, x) for y, x in near if np.array_equal(whole[y : y + height, x : x + width], part)]


def data_module(overrides):
    """The DataModule of a training with these settings."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", overrides=overrides)
    config = OmegaConf.create({"seed": config.seed, "paths": config.paths, "data": config.data})
    return instantiate(OmegaConf.to_container(config, resolve=True)["data"], _convert_="all")


def browsed(overrides, out, *more):
    browse.main([*overrides, f"out={out}", *more])


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Six of the ten frames of CamVid's train split in epoch 2, all padded to 56 x 72."""
    root = write_camvid(tmp_path_factory.mktemp("camvid"), splits={"train": 10, "val": 7}, size=(24, 32))
    overrides = ["data=camvid", f"data.root={root}", "data.batch_size=4", "data.train_transform.crop_size=[56,72]"]
    overrides += ["seed=5", "paths.cache=null", "data.num_workers=0"]
    out = tmp_path_factory.mktemp("out")
    browsed(overrides, out, "count=6", "epoch=2", "compare=2", "compare_epochs=3")
    text = (out / "train.html").read_text()
    return SimpleNamespace(
        overrides=overrides, data=data_module(overrides), text=text, page=Page(text), sheet=out / "train.png"
    )


def batches_of(data, epoch):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_the_page_shows_the_batches_of_the_training_pixel_by_pixel(train):
    batches = batches_of(train.data, 2)
    images = [image for batch in batches for image in batch["image"]][:6]
    names = [name for batch in batches for name in batch["name"]][:6]
    assert len(train.page.images) == 6 + 2 * (1 + 3)
    for shown, image in zip(train.page.images[:6], images, strict=True):
        np.testing.assert_array_equal(shown, unnormalised(image))
    titles = [f">{name}</h3>" for name in names]
    assert sorted(titles, key=train.text.index) == titles
    indices = [int(index) for batch in batches for index in batch["index"]][:6]
    assert re.findall(r"epoch 2, index (\d+), 56 x 72", train.page.text) == [str(index) for index in indices]
    assert "camvid, train, epoch 2: 6 of 10 samples" in train.page.text
    assert "seed 5" in train.page.text


def test_masks_have_the_palettes_colours_and_ignored_pixels_are_hatched(train):
    masks = np.concatenate([batch["mask"].numpy() for batch in batches_of(train.data, 2)])[:6]
    palette = np.array(train.data.class_info.palette)
    assert (masks == 255).any(axis=(1, 2)).all()  # padding
    for shown, mask in zip(train.page.masks[:6], masks, strict=True):
        labelled = mask != 255
        np.testing.assert_array_equal(shown[labelled], palette[mask[labelled]])
        lines = shown[~labelled]
        assert set(np.unique(lines)) == {0, 255}
        assert 0.1 < (lines == 255).mean() < 0.5


def test_shares_are_those_of_the_batches(train):
    masks = np.concatenate([batch["mask"].numpy() for batch in batches_of(train.data, 2)])[:6]
    legend = train.text.partition("<details")[2].partition("</details>")[0]
    for value, name in [*enumerate(train.data.class_info.names), (255, "ignored")]:
        (share, samples) = re.search(rf"{name} <b>([\d.]+) %</b> in (\d+)<", legend).groups()
        assert float(share) == pytest.approx(100 * (masks == value).mean(), abs=0.5)
        assert int(samples) == (masks == value).any(axis=(1, 2)).sum()
    ignored = (masks == 255).mean()
    assert f"{100 * ignored:.0f} % of the pixels are ignored or padding" in train.page.text


def test_the_normalised_values_are_described(train):
    images = np.concatenate([batch["image"].numpy() for batch in batches_of(train.data, 2)])[:6].astype(float)
    told = re.search(r"mean (-?[\d.]+) and standard deviation ([\d.]+), from (-?[\d.]+) to (-?[\d.]+)", train.page.text)
    expected = [images.mean(), images.std(), images.min(), images.max()]
    np.testing.assert_allclose([float(number) for number in told.groups()], expected, atol=0.0051)


def test_several_epochs_of_one_image_stand_side_by_side(train):
    dataset = train.data.train_dataloader().dataset
    order = [index for batch in batches_of(train.data, 2) for index in batch["index"].tolist()]
    compared = train.page.images[6:]
    for number, index in enumerate(order[:2]):
        plain, *epochs = compared[4 * number : 4 * number + 4]
        np.testing.assert_array_equal(plain, train.data.dataset("train")[index].image)
        for epoch, shown in enumerate(epochs, start=2):
            np.testing.assert_array_equal(shown, unnormalised(dataset[epoch, index]["image"]))
        assert len({shown.tobytes() for shown in epochs}) == 3
    assert [f"epoch {epoch}" in train.page.text for epoch in (2, 3, 4, 5)] == [True, True, True, False]


def test_the_sheet_shows_images_and_overlays(train):
    whole = np.array(Image.open(train.sheet))
    masks = np.concatenate([batch["mask"].numpy() for batch in batches_of(train.data, 2)])[:6]
    palette = np.array(train.data.class_info.palette, float)
    for image, mask in zip(train.page.images[:6], masks, strict=True):
        ((y, x),) = places(whole, image)
        beside = whole[y : y + 56, x + 72 + 4 : x + 72 + 4 + 72]
        labelled = mask != 255
        expected = image[labelled] / 2 + palette[mask[labelled]] / 2
        np.testing.assert_allclose(beside[labelled], expected, atol=0.5)
        lines = beside[~labelled]
        assert (lines == 255).all(1).mean() == pytest.approx(0.25, abs=0.1)
        assert (lines == 0).all(1).mean() >= 0.15
    for color in train.data.class_info.palette:
        assert places(whole, np.full((14, 14, 3), color, np.uint8))
    assert places(whole, hatched_swatch()[1:-1, 1:-1])


def test_the_page_needs_nothing_beside_it(train):
    assert "http" not in train.text.replace("http-equiv", "")
    for tag, values in train.page.tags:
        assert tag not in ("link", "iframe", "object", "base", "form", "a")
        assert not {name for name in values if name.startswith("on")}
        assert values.get("src", "data:").startswith("data:")
        assert "url(" not in values.get("style", "")
    assert "url(" not in train.text
    (policy,) = [values["content"] for _, values in train.page.tags if "http-equiv" in values]
    assert policy.startswith("default-src 'none'; img-src data:;")
    (slider,) = [values for tag, values in train.page.tags if tag == "input"]
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", "1")


def test_a_split_without_augmentation_is_shown_evenly_spaced_as_it_is_scored(train, tmp_path):
    browsed(train.overrides, tmp_path, "split=val", "count=3")
    shown = Page((tmp_path / "val.html").read_text())
    assert "camvid, val: 3 of 7 samples" in shown.text
    assert re.findall(r"index (\d), 24 x 32", shown.text) == ["0", "3", "6"]
    assert len(shown.images) == 3
    for index, image in zip((0, 3, 6), shown.images, strict=True):
        np.testing.assert_array_equal(image, train.data.dataset("val")[index].image)


def test_more_samples_than_there_are(train, tmp_path, capsys):
    browsed(train.overrides, tmp_path, "count=100", "compare=0")
    assert "count=100: there are only 8, and all are shown" in capsys.readouterr().out  # two whole batches
    shown = Page((tmp_path / "train.html").read_text())
    assert len(shown.images) == 8
    assert "What augmentation does" not in shown.text
    browsed(train.overrides, tmp_path, "count=100", "split=val")
    assert "there are only 7" in capsys.readouterr().out
    assert len(Page((tmp_path / "val.html").read_text()).images) == 7
    browsed(train.overrides, tmp_path, "count=1", "split=val")
    assert len(Page((tmp_path / "val.html").read_text()).images) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"train.html", "train.png", "val.html", "val.png"}


def test_hostile_names_of_files_and_classes(tmp_path):
    root = write_folder(tmp_path / "own", names=[f"{number}{HOSTILE}" for number in range(4)], classes=2)
    overrides = ["data=folder", "data.class_names=[ground,'</script><b>cell']", "data.val_fraction=0.0"]
    overrides += [f"data.images={root}/images", f"data.masks={root}/masks", "data.batch_size=4"]
    browsed([*overrides, "data.train_transform.crop_size=[32,32]"], tmp_path / "out", "compare=1")
    text = (tmp_path / "out" / "train.html").read_text()
    shown = Page(text)
    assert "<img src=x" not in text
    assert "</script><b>" not in text
    assert shown.text.count(f"0{HOSTILE}") >= 1
    assert "</script><b>cell" in shown.text
    assert all(set(values) == {"class", "alt", "src"} for tag, values in shown.tags if tag == "img")
    assert [tag for tag, _ in shown.tags].count("script") == 1


def shown(name="a", mask=None, key=(0, 1), size=(4, 6), value=0.0):
    mask = np.zeros(size, np.int64) if mask is None else mask
    return BrowsedSample.from_batch(
        np.full((3, *mask.shape), value, np.float32), mask, name, key, mean=[0.5] * 3, std=[0.25] * 3
    )


def facts(**changes):
    info = ClassInfo(("a", "b"), ((0, 0, 0), (10, 20, 30)), ignore_index=-1)
    values = {"data": "own", "split": "train", "length": 9, "seed": 0, "epoch": 0, "batch_size": 2, "class_info": info}
    return BrowsedSplit(**{**values, **changes})


def test_names_that_are_no_text_and_values_outside_the_range():
    sample = shown(name="line\nbreak\udcff\x1b", value=9.0)
    text = page(facts(), [sample], [])
    assert r"line break\udcff\x1b" in text
    text.encode()
    assert (Page(text).images[0] == 255).all()
    assert (page_image(shown(value=-9.0)) == 0).all()
    assert (page_image(shown(value=0.0)) == 128).all()
    assert (page_image(shown(value=1.0)) == 191).all()


def page_image(sample):
    return Page(page(facts(), [sample], [])).images[0]


def test_a_split_without_labels_says_so():
    sample = shown(mask=np.full((5, 7), -1))
    assert "No pixel has a label: all are ignored." in page(facts(), [sample], [])
    assert sheet(facts(), [sample]).ndim == 3


def test_absent_classes_are_named_and_a_second_draw_is_told():
    text = page(facts(), [shown(key=(3, 7, 0)), shown(key=(3, 7, 2))], [])
    assert "In none of these samples: b." in text
    assert "epoch 3, index 7, 4 x 6" in text
    assert "epoch 3, index 7, draw 3 of it, 4 x 6" in text


def test_large_images_are_shrunk_on_the_sheet_but_not_on_the_page():
    sample = shown(size=(600, 900))
    assert page_image(sample).shape == (600, 900, 3)
    row = (sample, [sample])
    assert [image.shape for image in Page(page(facts(), [sample], [row])).images[1:]] == [(256, 384, 3)] * 2
    assert sheet(facts(), [sample]).shape[1] < 600


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("split=holdout", ["split=holdout", "train, val, test"]),
        ("count=0", ["count=0", "from 1 on"]),
        ("epoch=-1", ["epoch=-1", "from 0 on"]),
        ("compare=some", ["compare=some", "from 0 on"]),
        ("compare_epochs=0", ["compare_epochs=0", "from 1 on"]),
        ("data.batch_size=0", ["data.batch_size=0"]),
        ("data.root=nowhere", ["no CamVid folder at nowhere", "data.root="]),
        ("data.batch_size=11", ["10 images", "data.batch_size=11"]),
        ("cuont=3", ["cuont"]),
    ],
)
def test_impossible_settings(train, tmp_path, capsys, override, parts):
    with pytest.raises(SystemExit) as stop:
        browsed(train.overrides, tmp_path / "out", override)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert all(part in error for part in parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["count=0"]])
def test_help_and_mistakes_take_no_torch_and_leave_no_file(arguments, tmp_path):
    code = (
        "import sys\nfrom atrous.cli.browse import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'lightning', 'timm', 'albumentations', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "compare_epochs" in run.stdout or "count=0" in run.stderr
    assert list(tmp_path.iterdir()) == []
