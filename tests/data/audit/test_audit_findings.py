"""Each finding on files spoiled for it, and the figures against NumPy and Pillow over the files themselves."""

from shlex import split

import numpy as np
import pytest
from fixtures import Reads, blocks, image_of, write_camvid, write_folder
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image, ImageFilter

from atrous.data.audit.audit import audit
from atrous.data.camvid import CamVid
from atrous.data.class_counts import count_classes
from atrous.data.folder import Folder
from atrous.data.io.masks import MaskReader
from atrous.data.mask_meaning import two_meanings_message
from atrous.data.pairs import FilePairs
from atrous.errors import ConfigError, DataError
from atrous.losses.class_weights import named_weights
from atrous.types import ClassInfo, RawSample

SIZES = [(24, 32), (40, 24), (33, 41)]


class InMemory:
    """Samples that are given."""

    def __init__(self, images, masks, classes=3, ignore_index=255, names=None):
        self.class_info = ClassInfo(tuple(map("c{}".format, range(classes))), ((0, 0, 0),) * classes, ignore_index)
        self.images, self.masks = images, masks
        self.names = names or [f"n{number}" for number in range(len(images))]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return RawSample(self.images[index], self.masks[index], self.names[index])


def noise(count, seed=0, size=(24, 32)):
    """Images that have nothing in common."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


def full_masks(count, classes=3):
    return [np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % classes for _ in range(count)]


@pytest.fixture
def root(tmp_path):
    return write_camvid(tmp_path / "camvid", splits={"train": 20, "val": 12, "test": 12})


def camvid(root, *splits):
    return {split: CamVid(root=root, split=split) for split in splits or ("train", "val", "test")}


def write_pairs(root, count=12, classes=3, sizes=SIZES, seed=0, mode=None, stored=lambda values: values):
    """PNG images and masks of several sizes; `stored` makes the numbers in the files of the class indices."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number in range(count):
        values = blocks(rng, classes, sizes[number % len(sizes)])
        values[:2, :2] = np.arange(4).reshape(2, 2) % classes
        Image.fromarray(image_of(values, rng)).save(root / "images" / f"{number:02}.png")
        Image.fromarray(stored(values).astype(np.uint8), mode).save(root / "masks" / f"{number:02}.png")
    return root


def folder(root, classes=3, **settings):
    """All pairs below `root` as one split."""
    places = {kind: {"train": str(root / kind)} for kind in ("images", "masks")}
    return {"train": Folder(split="train", class_names=[f"c{n}" for n in range(classes)], **places, **settings)}


def only(report, severity="error"):
    """The one finding that there is."""
    (finding,) = report.findings
    assert finding.severity == severity
    return finding


def test_clean_files_give_no_finding(root):
    report = audit(camvid(root))
    assert report.findings == ()
    assert report.errors == ()
    assert [figures.read for figures in report.splits.values()] == [20, 12, 12]


def test_every_sample_is_read_once():
    dataset = Reads(50)
    audit({"train": dataset})
    assert sorted(dataset.reads) == list(range(50))


def test_many_samples_are_read_in_processes_to_the_same_figures():
    few, many = noise(150), noise(300)
    reports = [
        audit({name: InMemory(images, full_masks(len(images))) for name, images in splits.items()})
        for splits in ({"train": many}, {"train": few, "val": many[150:]})
    ]
    whole, parts = (list(report.splits.values()) for report in reports)
    assert whole[0].names[:150] == parts[0].names
    assert [found.kind for found in reports[1].findings] == [found.kind for found in reports[0].findings] == []
    np.testing.assert_array_equal(whole[0].images, np.concatenate([part.images for part in parts]))
    np.testing.assert_allclose(whole[0].mean, (parts[0].mean + parts[1].mean) / 2, rtol=1e-12)


def test_the_figures_are_those_of_the_files(tmp_path):
    write_pairs(tmp_path, classes=4, stored=lambda values: np.where(values == 3, 255, values))
    (figures,) = audit(folder(tmp_path)).splits.values()

    images = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "images").iterdir())]
    masks = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "masks").iterdir())]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    np.testing.assert_allclose(figures.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(figures.std, pixels.std(0), rtol=1e-10)
    np.testing.assert_array_equal(figures.sizes, [image.shape[:2] for image in images])
    everywhere = np.concatenate([mask.ravel() for mask in masks])
    count = np.array([(everywhere == label).sum() for label in range(3)])
    np.testing.assert_array_equal(figures.pixels, count)
    assert figures.ignored == (everywhere == 255).sum() > 0
    np.testing.assert_array_equal(figures.images_with, [sum((mask == n).any() for mask in masks) for n in range(3)])
    assert figures.class_weights() == {
        rule: named_weights(rule, counts_of(masks)) for rule in ("median_frequency", "enet")
    }


def counts_of(masks, classes=3):
    return np.stack([np.bincount(mask[mask != 255].ravel(), minlength=classes) for mask in masks])


def test_ignored_pixels_are_no_part_of_an_image_in_median_frequency():
    # Class 0: 12 of 24 pixels in one image; class 1: 12 + 6 of 24 + 6 in both; class 2: never. Median of 0.5 and 0.6: 0.55.
    masks = [np.repeat([0, 1], 12).reshape(4, 6).astype(np.uint8), np.full((4, 6), 255, np.uint8)]
    masks[1][:3, :2] = 1
    (figures,) = audit({"train": InMemory(noise(2, size=(4, 6)), masks)}).splits.values()
    assert figures.class_weights()["median_frequency"] == pytest.approx([0.55 / 0.5, 0.55 / 0.6, 0])


@pytest.mark.parametrize(("classes", "ignore_index", "kind"), [(300, -1, "i4"), (300, 4000, "i4"), (9, 77, "u1")])
def test_figures_of_masks_with_other_ignore_indices(classes, ignore_index, kind):
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, classes, (24, 32)).astype(kind) for _ in range(4)]
    masks[0][:3] = ignore_index
    dataset = InMemory(noise(4), masks, classes=classes, ignore_index=ignore_index)
    (figures,) = audit({"train": dataset}).splits.values()
    everywhere = np.stack(masks)
    np.testing.assert_array_equal(figures.pixels, [(everywhere == label).sum() for label in range(classes)])
    assert figures.ignored == 3 * 32


def test_settings_ready_to_paste(root):
    report = audit(camvid(root))
    figures = report.splits["train"]
    expected = {
        "median-frequency weights": {"loss.class_weights": figures.class_weights()["median_frequency"]},
        "ENet's weights": {"loss.class_weights": figures.class_weights()["enet"]},
        "its own mean and std": {"data.eval_transform.mean": figures.mean, "data.eval_transform.std": figures.std},
    }
    pasted = report.settings()
    assert pasted.keys() == expected.keys()
    for meaning, text in pasted.items():
        overrides = OverridesParser.create().parse_overrides(split(text))
        assert {override.key_or_group for override in overrides} == expected[meaning].keys()
        for override in overrides:
            np.testing.assert_allclose(override.value(), expected[meaning][override.key_or_group], rtol=5e-4)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("kind", "spoil", "parts"),
    [
        ("unreadable", lambda path: path.write_bytes(b""), ["is empty (0 bytes)", "Copy it again"]),
        ("unreadable", lambda path: path.write_text("text"), ["is no complete image"]),
        ("unreadable", truncate, ["is no complete image"]),
        ("unreadable", lambda path: path.unlink(), ["no file"]),
        ("unreadable", lambda path: (path.unlink(), path.mkdir()), ["is a folder"]),
        (
            "size",
            lambda path: Image.fromarray(np.zeros((9, int(path.stem[-2:]) + 10), np.uint8)).save(path),
            ["9 x 12, its image", "24 x 32", "must be equal"],
        ),
        ("size", lambda path: Image.open(path).transpose(2).save(path), ["32 x 24, its image", "is turned"]),
        ("values", lambda path: Image.new("L", (32, 24), 12).save(path), ["mask values 12 outside", "2304 pixels"]),
        ("colours", lambda path: Image.new("RGB", (32, 24), (1, 2, 3)).save(path), ["holds colours (RGB)"]),
        ("unreadable", lambda path: Image.new("F", (32, 24)).save(path, format="tiff"), ["Pillow's mode F"]),
    ],
)
def test_faults_of_equal_kind_are_one_finding(root, kind, spoil, parts):
    datasets = camvid(root)
    paths = [root / "trainannot" / f"train_{number:05}.png" for number in (2, 7, 11)]
    for path in paths:
        spoil(path)
    report = audit(datasets)
    finding = only(report)
    assert finding.kind == kind
    assert finding.splits == ("train",)
    assert finding.count == 3
    assert finding.examples == tuple(map(str, paths))
    assert "3 of 20" in finding.text
    assert str(paths[0]) in finding.text
    for part in parts:
        assert part in finding.text
    assert report.splits["train"].read == 17


def test_paths_with_spaces_and_numbers_do_not_part_equal_faults(tmp_path):
    root = write_pairs(tmp_path / "my data 1")
    for old, new in (("03", "a b  c"), ("04", "x"), ("05", "is empty (5 bytes) y")):
        (root / "masks" / f"{old}.png").unlink()
        (root / "masks" / f"{new}.png").write_bytes(b"")
        (root / "images" / f"{old}.png").rename(root / "images" / f"{new}.png")
    assert only(audit(folder(root))).count == 3


def test_different_faults_are_different_findings(root):
    (root / "trainannot" / "train_00003.png").write_bytes(b"")
    (root / "train" / "train_00004.png").write_text("text")
    for number in range(5, 13):
        Image.new("L", (32, 24), 40 + number).save(root / "valannot" / f"val_{number - 5:05}.png")
    report = audit(camvid(root, "train", "val"))
    assert sorted((found.kind, *found.splits, found.count) for found in report.errors) == [
        ("unreadable", "train", 1),
        ("unreadable", "train", 1),
        ("values", "val", 8),
    ]
    (values,) = (found for found in report.errors if found.kind == "values")
    assert "mask values 45, 46, 47, 48, 49, 50, 51, 52 outside the classes in 8 of 12 masks" in values.text
    assert len(values.examples) == 5


def table_of_colours(values):
    image = Image.fromarray(values.astype(np.uint8) + 7)
    image.putpalette([0, 0, 0] * 7 + [200, 0, 0, 0, 200, 0, 0, 0, 200])
    return image


LABEL_IDS = np.array([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33])  # Cityscapes


@pytest.mark.parametrize(
    ("classes", "stored", "settings", "cause"),
    [
        (2, lambda v: v * 255, {"ignore_index": 254}, "likely 0/255 masks; set value_map={0: 0, 255: 1}"),
        (3, lambda v: v + 1, {}, "likely off by one: classes counted from 1; set value_map={1: 0, 2: 1, 3: 2}"),
        (
            3,
            lambda v: np.where(v == 3, 0, v + 1),
            {},
            "likely off by one: 0 is unlabelled and the classes count from 1; set value_map={0: 255, 1: 0, 2: 1, 3: 2}",
        ),
        (3, lambda v: v * 100, {}, "likely 3 grey levels for 3 classes; set value_map={0: 0, 100: 1, 200: 2}"),
        (
            19,
            lambda v: np.append(LABEL_IDS, 4)[v],
            {},
            "likely Cityscapes' label ids (0 to 33) instead of its 19 train ids",
        ),
        (
            3,
            lambda v: np.where(v == 2, 255, v),
            {"ignore_index": 254},
            "likely 255 for ignored pixels, where the ignore index is 254",
        ),
        (3, lambda v: v, {"value_map": {0: 0, 1: 1}}, "the values read are 0, 1, 2; add the missing ones to value_map"),
        (3, lambda v: v * 3, {}, "set class_names to all classes, or value_map"),
    ],
)
def test_the_likely_cause_of_wrong_values(tmp_path, classes, stored, settings, cause):
    more = 1 if "unlabelled" in cause or "Cityscapes" in cause or "class_names" in cause else 0
    write_pairs(tmp_path, classes=classes + more, sizes=[(64, 64)], stored=stored)
    report = audit(folder(tmp_path, classes, **settings))
    (finding,) = report.errors
    assert finding.kind == "values"
    assert cause in finding.text


def test_wrong_values_of_an_indexed_mask(tmp_path):
    write_pairs(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        table_of_colours(np.asarray(Image.open(path))).save(path)
    (finding,) = audit(folder(tmp_path)).errors
    assert "mask values 7, 8, 9 outside" in finding.text
    assert "likely indexed images" in finding.text
    assert "palette=[[r, g, b], ...]" in finding.text
    palette = [[200, 0, 0], [0, 200, 0], [0, 0, 200]]
    assert not audit(folder(tmp_path, palette=palette)).errors


def test_more_wrong_values_than_a_message_lists(tmp_path):
    write_pairs(tmp_path, classes=9, sizes=[(64, 64)], stored=lambda values: values + 30)
    (finding,) = audit(folder(tmp_path)).errors
    assert "mask values 30, 31, 32, 33, 34" in finding.text
    assert " and more outside the classes in 12 of 12 masks" in finding.text


@pytest.mark.parametrize(
    ("stored", "value_map", "cause"),
    [
        ([0, 1, 2, 255], {4: 0, 7: 1, 9: 2, 0: 255}, "likely train ids (0 to 2) where the data set's own label ids"),
        ([4, 7, 9, 4], None, "likely label ids instead of train ids; set value_map={4: 0, 7: 1, 9: 2}"),
    ],
)
def test_label_ids_and_train_ids(tmp_path, stored, value_map, cause):
    write_pairs(tmp_path, classes=4, stored=lambda values: np.array(stored)[values])
    names = [f"{number:02}" for number in range(12)]
    info = ClassInfo(("a", "b", "c"), ((0, 0, 0),) * 3, ids=(4, 7, 9))
    dataset = FilePairs(
        title="",
        remedy="",
        names=names,
        images=[tmp_path / "images" / f"{name}.png" for name in names],
        masks=[tmp_path / "masks" / f"{name}.png" for name in names],
        reader=MaskReader(class_info=info, value_map=value_map),
    )
    (finding,) = audit({"train": dataset}).errors
    assert cause in finding.text


def test_unknown_colours_are_one_finding(tmp_path):
    write_pairs(tmp_path)
    palette = [[200, 0, 0], [0, 200, 0], [0, 0, 200]]
    for number, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        colors = np.array(palette, np.uint8)[np.asarray(Image.open(path))]
        colors[0, 0] = (1, 2, 3) if number < 4 else (9, 9, 250) if number < 6 else colors[0, 0]
        Image.fromarray(colors).save(path)
    (finding,) = audit(folder(tmp_path, palette=palette)).errors
    assert (finding.kind, finding.count) == ("colours", 6)
    assert "mask colours [1, 2, 3], [9, 9, 250] of no class in 6 of 12 masks" in finding.text
    assert "Add the colour to palette or ignore_colors" in finding.text


def test_faults_are_parted_by_their_kind_whatever_their_messages_say():
    class Broken(InMemory):
        def __getitem__(self, index):
            raise DataError(
                f"mask values {index} (1 pixels) are outside the classes", kind="odd" if index % 2 else "size"
            )

    report = audit({"train": Broken(noise(5), full_masks(5))})
    assert [(found.kind, found.count) for found in report.findings] == [("size", 3), ("unreadable", 2)]


def test_whatever_a_decoder_raises_does_not_end_the_audit():
    dataset = InMemory(noise(5), full_masks(5))
    read = dataset.__getitem__

    class Broken(InMemory):
        def __getitem__(self, index):
            if index == 3:
                raise MemoryError("1 TiB")
            return read(index)

    finding = only(audit({"train": Broken(dataset.images, dataset.masks)}))
    assert (finding.kind, finding.count, finding.examples) == ("unreadable", 1, ("sample 3",))
    assert "MemoryError: 1 TiB" in finding.text


def test_classes_that_never_occur():
    masks = full_masks(4)
    report = audit({"train": InMemory(noise(4), masks), "val": InMemory(noise(4, 1), [mask * 0 for mask in masks])})
    never = [found for found in report.findings if found.kind == "never"]
    assert [(found.splits, found.count, found.examples, found.severity) for found in never] == [
        (("val",), 2, ("c1", "c2"), "warning")
    ]
    assert never[0].text == "2 of 3 classes never occur"


def test_odd_masks_are_warnings_and_a_whole_split_of_them_is_an_error():
    masks = full_masks(6)
    masks[1][:] = 255
    masks[2][:] = 1
    masks[3][masks[3] > 0] = 255
    images = noise(6)
    report = audit({"train": InMemory(images, masks)})
    assert {(found.kind, found.count, found.examples, found.text) for found in report.findings} == {
        ("ignored", 1, ("n1",), "1 of 6 masks hold ignored pixels only"),
        ("mixed", 1, ("n3",), two_meanings_message(report.class_info, 1, 6)),
        ("one_class", 1, ("n2",), "1 of 6 masks hold one class alone (c1)"),
    }
    assert [found.kind for found in report.errors] == ["mixed"]
    (finding,) = audit({"train": InMemory(images, [mask // 2 * 255 for mask in masks[:1] * 6])}).errors
    assert finding.text.startswith("the 6 masks read hold only class 'c0' and ignored pixels (255). If they are 0/255")


def test_a_data_set_of_one_class_is_fine():
    report = audit({"train": InMemory(noise(3), [mask * 0 for mask in full_masks(3)], classes=1)})
    assert not report.findings


def test_a_split_without_labels_has_no_findings_about_masks(root):
    paths = sorted((root / "test").iterdir())
    unlabelled = FilePairs(
        title="",
        remedy="",
        names=[path.stem for path in paths],
        images=paths,
        masks=None,
        reader=MaskReader(class_info=CamVid(root=root, split="val").class_info),
    )
    report = audit({**camvid(root, "train", "val"), "test": unlabelled})
    assert not report.findings
    assert not report.splits["test"].labelled
    assert report.splits["test"].mean.min() > 0.1


def test_images_in_two_splits(root):
    for number, name in ((4, "val_00001"), (9, "val_00007")):
        source = root / "train" / f"train_{number:05}.png"
        Image.open(source).save(root / "val" / f"{name}.png", compress_level=1)  # other bytes, equal pixels
    finding = only(audit(camvid(root)))
    assert (finding.kind, finding.splits, finding.count) == ("duplicates", ("train", "val"), 2)
    assert finding.text.startswith("2 of 12 images of val are in train as well, pixel for pixel")
    assert finding.examples == ("val/val_00001 = train/train_00004", "val/val_00007 = train/train_00009")


def test_images_twice_in_a_split(root):
    for number in (5, 6):
        (root / "train" / f"train_{number:05}.png").write_bytes((root / "train" / "train_00002.png").read_bytes())
    finding = only(audit(camvid(root)), "warning")
    assert (finding.kind, finding.splits, finding.count) == ("duplicates", ("train",), 2)
    assert finding.examples == ("train_00002 = train_00005 = train_00006",)


def test_images_that_look_alike_in_two_splits(root):
    image = Image.open(root / "train" / "train_00004.png").convert("RGB")
    image.save(root / "copy.jpg", quality=60)
    Image.open(root / "copy.jpg").save(root / "val" / "val_00001.png")
    finding = only(audit(camvid(root)), "warning")
    assert (finding.kind, finding.splits, finding.count) == ("similar", ("train", "val"), 1)
    assert finding.examples[0].startswith("val/val_00001 ~ train/train_00004 (")


def test_plain_images_are_no_duplicates():
    images = noise(4)
    for index in (0, 1):
        images[index][:] = 17
    other = noise(4, 1)
    other[0][:] = 17
    report = audit({"train": InMemory(images, full_masks(4)), "val": InMemory(other, full_masks(4))})
    assert not report.findings


def test_errors_that_are_all_right_become_warnings(root):
    (root / "val" / "val_00001.png").write_bytes((root / "train" / "train_00004.png").read_bytes())
    (root / "trainannot" / "train_00003.png").write_bytes(b"")
    report = audit(camvid(root), accept=["duplicates"])
    assert [(found.kind, found.severity) for found in report.findings] == [
        ("unreadable", "error"),
        ("duplicates", "warning"),
    ]
    with pytest.raises(ConfigError, match=r"accept=\['twins'\] names no kind of finding; choose among .*duplicates"):
        audit(camvid(root), accept=["twins"])


def test_names_that_no_terminal_should_see():
    names = ["\x1b[31mred", "[red]b", "\udcff", "n3"]
    masks = full_masks(4)
    for mask in masks[:3]:
        mask[:] = 0
    finding = only(audit({"train": InMemory(noise(4), masks, names=names)}), "warning")
    assert finding.examples == ("\\x1b[31mred", "[red]b", "\\udcff")
    "".join(finding.examples).encode("utf-8")


def test_the_real_camvid(camvid_root):
    report = audit(camvid(camvid_root, "train", "val"))
    assert not report.findings
    train = report.splits["train"]
    # The mean of the 367 frames that others publish, in the excerpt of configs/constants.py of the repository
    # veraz00/Efficient_Uncertainty_Estimation_for_Semantic_Segmentation_in_Videos.
    np.testing.assert_allclose(train.mean, [0.41189489566336, 0.4251328133025, 0.4326707089857], atol=1e-6)
    assert set(map(tuple, train.sizes.tolist())) == {(360, 480)}
    counts = count_classes(CamVid(root=camvid_root, split="train"), folder=None)
    for rule, weights in train.class_weights().items():
        assert weights == named_weights(rule, counts)
    assert train.class_weights()["median_frequency"][-1] == pytest.approx(8.8193, abs=1e-4)


def test_masks_with_soft_edges_are_told_a_threshold(tmp_path):
    root = write_folder(tmp_path, names=["a", "b"], size=(96, 96))
    for path in (root / "masks").iterdir():
        values = np.asarray(Image.open(path))
        Image.fromarray(values * np.uint8(255)).resize((384, 384), 0).filter(ImageFilter.BoxBlur(0.3)).save(path)
        Image.new("RGB", (384, 384)).save(root / "images" / f"{path.stem}.jpg")
    files = {"images": str(root / "images"), "masks": str(root / "masks")}
    data = Folder(split="train", val_fraction=0, class_names=["ground", "cell"], **files)
    (found,) = (found for found in audit({"train": data}).findings if found.kind == "values")
    assert "2 of 2 samples" in found.text
    assert "mask_threshold=" in found.text
