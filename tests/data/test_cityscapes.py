import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling
from cityscapesscripts.helpers.labels import labels
from data.writers.cityscapes import write_cityscapes
from hydra.utils import instantiate
from PIL import Image
from test_data_conf import load

from atrous.data.cityscapes import CLASS_INFO, Cityscapes
from atrous.errors import DataError
from atrous.metrics.confusion import ConfusionMatrix
from atrous.metrics.scores import iou, summary

CLASSES = sorted((label for label in labels if 0 <= label.trainId < 255), key=lambda label: label.trainId)
EXTRA = [("bad-honnef", 0), ("bad-honnef", 2), ("troisdorf", 1), ("troisdorf", 3)]
TRAIN_ID = np.full(256, 255)
for label in labels:
    if label.id >= 0:
        TRAIN_ID[label.id] = label.trainId


@pytest.fixture
def root(tmp_path):
    return write_cityscapes(tmp_path / "cityscapes")


def names(dataset):
    return [dataset[index].name for index in range(len(dataset))]


def names_by_path(dataset):
    """The names as the paths say, without reading a file."""
    paths = [dataset.image_path(index) for index in range(len(dataset))]
    return [f"{path.parent.name}/{path.name.removesuffix('_leftImg8bit.png')}" for path in paths]


def masks(dataset):
    return [dataset[index].mask for index in range(len(dataset))]


def stored(root, pattern):
    return [np.asarray(Image.open(path)) for path in sorted(root.glob(pattern))]


def test_classes_are_cityscapesscripts():
    assert CLASS_INFO.names == tuple(label.name for label in CLASSES)
    assert CLASS_INFO.ids == tuple(label.id for label in CLASSES)
    assert CLASS_INFO.palette == tuple(label.color for label in CLASSES)
    assert CLASS_INFO.things == tuple(label.trainId for label in CLASSES if label.hasInstances)
    assert not any(label.ignoreInEval for label in CLASSES)


@pytest.mark.parametrize("stored_id", [*range(34), 255])
def test_every_label_id(tmp_path, stored_id):
    root = write_cityscapes(tmp_path, frames={"val": 1})
    path = next(root.glob("gtFine/val/*/*_labelIds.png"))
    Image.fromarray(np.full((48, 64), stored_id, np.uint8)).save(path)
    assert (Cityscapes(root=root, split="val")[0].mask == TRAIN_ID[stored_id]).all()


def test_34_is_no_label_id(root):
    path = root / "gtFine/val/munster/munster_000001_000019_gtFine_labelIds.png"
    Image.fromarray(np.full((48, 64), 34, np.uint8)).save(path)
    dataset = Cityscapes(root=root, split="val")
    with pytest.raises(DataError, match=r"munster_000001_000019_gtFine_labelIds.png: mask values 34 \(3072 pixels\)"):
        dataset[names_by_path(dataset).index("munster/munster_000001_000019")]


@pytest.mark.parametrize(("annotation", "kind"), [("fine", "gtFine"), ("coarse", "gtCoarse")])
def test_a_sample_is_the_files_with_train_ids(root, annotation, kind):
    dataset = Cityscapes(root=root, split="train", annotation=annotation)
    assert dataset.labelled
    assert names(dataset)[0] == "aachen/aachen_000000_000019"
    assert names(dataset) == names_by_path(dataset)
    images = stored(root, "leftImg8bit/train/*/*_leftImg8bit.png")
    ids = stored(root, f"{kind}/train/*/*_labelIds.png")
    assert len(dataset) == len(images) == 5
    for index in range(5):
        np.testing.assert_array_equal(dataset[index].image, images[index])
        np.testing.assert_array_equal(dataset[index].mask, TRAIN_ID[ids[index]])
    assert any((mask != 255).any() for mask in masks(dataset))


@pytest.mark.parametrize("annotation", ["fine", "coarse"])
def test_test_has_no_labels_even_where_the_published_placeholders_are(root, annotation):
    assert list(root.glob("gtFine/test/*/*_labelIds.png"))
    dataset = Cityscapes(root=root, split="test", annotation=annotation)
    assert not dataset.labelled
    assert dataset.mask_path(0) is None
    assert len(dataset) == 2
    assert all((mask == 255).all() and mask.shape == (48, 64) for mask in masks(dataset))


def test_train_extra_without_its_black_frame(root):
    for extra in (
        Cityscapes(root=root, split="train", folders="train_extra"),
        Cityscapes(root=root, split="train_extra"),
    ):
        assert names(extra) == [f"{city}/{city}_{number:06d}_000019" for city, number in EXTRA]
        ids = stored(root, "gtCoarse/train_extra/*/*19_gtCoarse_labelIds.png")
        for mask, values in zip(masks(extra), ids, strict=True):
            np.testing.assert_array_equal(mask, TRAIN_ID[values])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"folders": ["train", "train_extra"]}, {"gtFine": 5, "gtCoarse": 4}),
        ({"folders": ["train", "train_extra"], "annotation": "coarse"}, {"gtCoarse": 9}),
        ({"folders": ["train", "val"]}, {"gtFine": 8}),
        ({"folders": ["train", "val", "train", "train_extra"]}, {"gtFine": 8, "gtCoarse": 4}),
    ],
)
def test_splits_together(root, settings, expected):
    dataset = Cityscapes(root=root, split="train", **settings)
    kinds = [dataset.mask_path(index).name.split("_")[3] for index in range(len(dataset))]
    assert {kind: kinds.count(kind) for kind in kinds} == expected
    assert len(set(names(dataset))) == len(dataset)


def test_the_official_evaluation_of_written_predictions_gives_our_scores(root, tmp_path, monkeypatch):
    dataset = Cityscapes(root=root, split="val")
    rng = np.random.default_rng(3)
    confusion = ConfusionMatrix(num_classes=19, ignore_index=255)
    for index in range(len(dataset)):
        _, mask, name = dataset[index]
        guess = rng.integers(0, 18, mask.shape)  # one class is never predicted
        prediction = np.where((rng.random(mask.shape) < 0.5) & (mask < 19), mask, guess)
        confusion.update(torch.from_numpy(prediction), torch.from_numpy(mask.astype(np.int64)))
        path = tmp_path / "predictions" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(CLASS_INFO.ids, np.uint8)[prediction]).save(path)

    args = evalPixelLevelSemanticLabeling.args
    for setting, value in {
        "predictionPath": str(tmp_path / "predictions"),
        "predictionWalk": None,
        "evalInstLevelScore": False,  # asks for numpy.in1d, which numpy 2.4 removed
        "JSONOutput": False,
        "quiet": True,
    }.items():
        monkeypatch.setattr(args, setting, value)
    truths = sorted(map(str, root.glob("gtFine/val/*/*_gtFine_labelIds.png")))
    predictions = [evalPixelLevelSemanticLabeling.getPrediction(args, truth) for truth in truths]
    results = evalPixelLevelSemanticLabeling.evaluateImgLists(predictions, truths, args)

    ours = confusion.compute().numpy()
    assert summary(ours)["miou"] == pytest.approx(results["averageScoreClasses"], abs=1e-6)
    assert 0.05 < summary(ours)["miou"] < 0.95
    theirs = [results["classScores"][name] for name in CLASS_INFO.names]
    np.testing.assert_allclose(iou(ours), theirs, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("train", "length"),
    [({}, 5), ({"folders": ["train", "train_extra"]}, 9), ({"folders": "train_extra"}, 4), ({"folders": None}, 5)],
)
def test_what_the_config_trains_on_leaves_val_alone(root, train, length):
    data = instantiate(load("cityscapes", {"root": str(root), "train": train}), _convert_="all")
    assert len(data.dataset("train")) == length
    assert len(data.dataset("val")) == 3


def test_training_on_coarse_labels_by_the_config_validates_on_fine_ones(root):
    data = instantiate(load("cityscapes", {"root": str(root), "train": {"annotation": "coarse"}}), _convert_="all")
    for split, kind in (("train", "gtCoarse"), ("val", "gtFine")):
        assert [data.dataset(split).mask_path(index).parts[-4] for index in range(3)] == [kind] * 3
    assert len(next(iter(data.train_dataloader()))["name"]) == 4
