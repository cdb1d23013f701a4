"""Scores: against sets of pixels, torchmetrics and the official Cityscapes evaluator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

from atrous.metrics import scores
from atrous.metrics.confusion import confusion_matrix, confusion_per_image

C = 6
ABSENT, ONLY_PREDICTED, ONLY_TRUE = 5, 4, 3


@pytest.fixture(scope="module")
def images() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prediction and target (4, 9, 13): class 5 occurs in neither, 4 in the prediction, 3 in the target only."""
    rng = np.random.default_rng(0)
    prediction = rng.choice([0, 1, 2, ONLY_PREDICTED], (4, 9, 13))
    target = np.where(
        rng.random(prediction.shape) < 0.6, prediction, rng.choice([0, 1, 2, ONLY_TRUE], prediction.shape)
    )
    target[target == ONLY_PREDICTED] = 0
    target[rng.random(prediction.shape) < 0.1] = 255
    return prediction, target


@pytest.fixture(scope="module")
def confusion(images: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.int64]:
    prediction, target = (torch.from_numpy(labels) for labels in images)
    return confusion_matrix(prediction, target, C, 255).numpy()


def pixel_sets(images: tuple[NDArray[np.int64], NDArray[np.int64]], label: int) -> tuple[set[int], set[int]]:
    prediction, target = (labels.ravel() for labels in images)
    counted = target != 255
    return set(np.flatnonzero(counted & (target == label))), set(np.flatnonzero(counted & (prediction == label)))


def test_equal_sets_of_pixels(
    images: tuple[NDArray[np.int64], NDArray[np.int64]], confusion: NDArray[np.int64]
) -> None:
    iou, dice, accuracy, weights = [], [], [], []
    for label in range(C):
        true, predicted = pixel_sets(images, label)
        both = len(true & predicted)
        iou.append(both / len(true | predicted) if true | predicted else np.nan)
        dice.append(2 * both / (len(true) + len(predicted)) if true or predicted else np.nan)
        accuracy.append(both / len(true) if true else np.nan)
        weights.append(len(true))
    np.testing.assert_allclose(scores.iou(confusion), iou)
    np.testing.assert_allclose(scores.dice(confusion), dice)
    np.testing.assert_allclose(scores.class_accuracy(confusion), accuracy)
    present = np.flatnonzero(weights)
    assert scores.summary(confusion) == pytest.approx(
        {
            "miou": np.mean([value for value in iou if not np.isnan(value)]),
            "dice": np.mean([value for value in dice if not np.isnan(value)]),
            "pixel_accuracy": np.mean((images[0] == images[1])[images[1] != 255]),
            "class_accuracy": np.mean([accuracy[label] for label in present]),
            "fwiou": np.average([iou[label] for label in present], weights=[weights[label] for label in present]),
        }
    )


def test_equal_torchmetrics(images: tuple[NDArray[np.int64], NDArray[np.int64]], confusion: NDArray[np.int64]) -> None:
    prediction, target = (torch.from_numpy(labels) for labels in images)

    def reference(metric: type, average: str) -> NDArray[np.float32]:
        return metric(num_classes=C, average=average, ignore_index=255)(prediction, target).numpy()

    found = scores.summary(confusion)
    assert found["miou"] == pytest.approx(float(reference(MulticlassJaccardIndex, "macro")))
    assert found["dice"] == pytest.approx(float(reference(MulticlassF1Score, "macro")))
    assert found["pixel_accuracy"] == pytest.approx(float(reference(MulticlassAccuracy, "micro")))
    for score, metric in [(scores.iou, MulticlassJaccardIndex), (scores.dice, MulticlassF1Score)]:
        # torchmetrics reads 0 where a class is absent
        np.testing.assert_allclose(np.nan_to_num(score(confusion)), reference(metric, "none"), rtol=1e-6)


def test_equal_the_official_cityscapes_evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CITYSCAPES_DATASET", "CITYSCAPES_EXPORT_DIR"):
        monkeypatch.delenv(name, raising=False)
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official  # noqa: N813
    from cityscapesscripts.helpers.labels import labels

    rng = np.random.default_rng(1)
    # trainIds 16 (train) in the prediction only, 17 and 18 in neither
    target = np.concatenate([rng.integers(0, 16, (2, 20, 30)), np.full((2, 4, 30), 255)], axis=1)
    prediction = np.where(rng.random(target.shape) < 0.5, target % 17, rng.integers(0, 17, target.shape))
    ids = np.zeros(256, dtype=np.uint8)  # trainId -> id; 255 -> 0, unlabeled
    for label in labels:
        if label.trainId not in (255, -1):
            ids[label.trainId] = label.id
    files: dict[str, list[str]] = {"prediction": [], "target": []}
    for name, images in [("prediction", prediction), ("target", target)]:
        for index, image in enumerate(images):
            path = tmp_path / f"{name}_{index}.png"
            Image.fromarray(ids[image]).save(path)
            files[name].append(str(path))
    for option, value in {"quiet": True, "evalInstLevelScore": False, "JSONOutput": False}.items():
        monkeypatch.setattr(official.args, option, value, raising=False)
    expected = official.evaluateImgLists(files["prediction"], files["target"], official.args)

    confusion = confusion_matrix(torch.from_numpy(prediction), torch.from_numpy(target), 19, 255).numpy()
    found = {label.name: scores.iou(confusion)[label.trainId] for label in labels if label.trainId not in (255, -1)}
    assert found == pytest.approx({name: expected["classScores"][name] for name in found}, nan_ok=True)
    assert scores.summary(confusion)["miou"] == pytest.approx(expected["averageScoreClasses"])


def test_absent_and_one_sided_classes(confusion: NDArray[np.int64]) -> None:
    iou, dice, accuracy = (scores.per_class(confusion)[name] for name in ("iou", "dice", "class_accuracy"))
    assert np.isnan([iou[ABSENT], dice[ABSENT], accuracy[ABSENT]]).all()
    assert iou[ONLY_PREDICTED] == dice[ONLY_PREDICTED] == 0
    assert np.isnan(accuracy[ONLY_PREDICTED])
    assert iou[ONLY_TRUE] == dice[ONLY_TRUE] == accuracy[ONLY_TRUE] == 0


@pytest.mark.filterwarnings("error")
def test_without_any_pixel_every_score_is_nan() -> None:
    empty = np.zeros((C, C), dtype=np.int64)
    assert all(np.isnan(value) for value in scores.summary(empty).values())
    assert all(np.isnan(values).all() for values in scores.per_class(empty).values())


def test_a_perfect_prediction_scores_one() -> None:
    assert set(scores.summary(np.diag([3, 0, 5])).values()) == {1.0}


def test_leading_axes_are_scored_one_by_one(images: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    prediction, target = (torch.from_numpy(labels) for labels in images)
    stack = confusion_per_image(prediction, target, C, 255).numpy()
    for score in (scores.iou, scores.dice, scores.class_accuracy, scores.pixel_accuracy, scores.frequency_weighted_iou):
        np.testing.assert_array_equal(score(stack), np.stack([score(one) for one in stack]))
    np.testing.assert_array_equal(scores.mean(scores.iou(stack)), [scores.summary(one)["miou"] for one in stack])


@pytest.mark.parametrize("convert", [torch.as_tensor, np.int32, np.ndarray.tolist])
def test_takes_what_numpy_reads_as_an_array(convert: object, confusion: NDArray[np.int64]) -> None:
    assert callable(convert)
    assert scores.summary(convert(confusion)) == scores.summary(confusion)


def test_counts_of_a_large_dataset_stay_exact() -> None:
    big = 2**40
    assert scores.iou([[big, 1], [0, big]])[0] == big / (big + 1)


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 4\); expected \(\.\.\., C, C\)"):
        scores.iou(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"shape \(4, 2, 2\); give one \(C, C\) matrix"):
        scores.summary(np.zeros((4, 2, 2)))


def test_reports_can_use_it_without_torch() -> None:
    code = "import sys, atrous.metrics.scores; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
