"""Counting pixels: against a loop over pixels, NumPy, and torchmetrics."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from atrous.metrics.confusion import ConfusionMatrix, confusion_matrix, confusion_per_image

C = 5


def labels(seed: int, shape: tuple[int, ...] = (3, 7, 11), classes: int = C) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randint(0, classes, shape, generator=generator)
    target = torch.randint(0, classes, shape, generator=generator)
    ignored = torch.rand(shape, generator=generator) < 0.2
    return prediction, target.masked_fill(ignored, 255)


def counted_one_by_one(prediction: Tensor, target: Tensor, classes: int, ignore_index: int) -> Tensor:
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for predicted, true in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True):
        if true != ignore_index:
            confusion[true, predicted] += 1
    return confusion


@pytest.mark.parametrize("shape", [(3, 7, 11), (1, 5, 5), (4, 1, 1)])
def test_counts_each_pair_of_truth_and_prediction(shape: tuple[int, ...]) -> None:
    prediction, target = labels(0, shape)
    confusion = confusion_matrix(prediction, target, C, 255)
    assert confusion.dtype == torch.int64
    assert torch.equal(confusion, counted_one_by_one(prediction, target, C, 255))


def test_rows_are_the_truth() -> None:
    confusion = confusion_matrix(torch.tensor([[1, 1]]), torch.tensor([[0, 255]]), 2, 255)
    assert confusion.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("ignore_index", [C, 100, 255, 65535, -1, -100])
def test_any_ignore_index_outside_the_classes(ignore_index: int) -> None:
    prediction, target = labels(1)
    target[target == 255] = ignore_index
    expected = counted_one_by_one(prediction, target, C, ignore_index)
    assert torch.equal(confusion_matrix(prediction, target, C, ignore_index), expected)


@pytest.mark.parametrize(
    ("predicted", "true"),
    itertools.product([torch.uint8, torch.int16, torch.int32, torch.int64], [torch.uint8, torch.int32, torch.int64]),
)
def test_any_integers(predicted: torch.dtype, true: torch.dtype) -> None:
    prediction, target = labels(2)
    expected = counted_one_by_one(prediction, target, C, 255)
    assert torch.equal(confusion_matrix(prediction.to(predicted), target.to(true), C, 255), expected)


@pytest.mark.parametrize("classes", [2, 19, 150, 250, 1000])
def test_equals_torchmetrics_for_few_and_many_classes(classes: int) -> None:
    ignore_index = 255 if classes < 255 else -1
    prediction, target = labels(3, (2, 64, 64), classes)
    target[::2, 0] = ignore_index
    if ignore_index != 255:
        target = target.where(target != 255, 0)
    expected = multiclass_confusion_matrix(prediction, target, classes, ignore_index=ignore_index)
    assert torch.equal(confusion_matrix(prediction, target, classes, ignore_index), expected)


def test_more_pixels_than_are_counted_at_a_time() -> None:
    prediction, target = labels(4, (2, 517, 509))
    expected = multiclass_confusion_matrix(prediction, target, C, ignore_index=255)
    assert torch.equal(confusion_matrix(prediction, target, C, 255), expected)


def test_memory_order_does_not_matter_and_inputs_are_kept() -> None:
    prediction, target = labels(5)
    before = prediction.clone(), target.clone()
    turned = confusion_matrix(prediction.mT, target.mT, C, 255)
    assert torch.equal(turned, confusion_matrix(prediction, target, C, 255))
    assert torch.equal(prediction, before[0])
    assert torch.equal(target, before[1])


def test_each_image_by_itself() -> None:
    prediction, target = labels(6)
    target[1] = 255
    confusion = confusion_per_image(prediction, target, C, 255)
    assert confusion.shape == (3, C, C)
    for index in range(3):
        assert torch.equal(confusion[index], counted_one_by_one(prediction[index], target[index], C, 255))
    assert confusion[1].sum() == 0
    assert torch.equal(confusion.sum(0), confusion_matrix(prediction, target, C, 255))


def test_nothing_to_count() -> None:
    empty = torch.zeros(0, 4, 4, dtype=torch.int64)
    assert confusion_matrix(empty, empty, C, 255).tolist() == [[0] * C] * C
    assert confusion_per_image(empty, empty, C, 255).shape == (0, C, C)


# Values that any arithmetic in 8, 16 or 32 bits would take for a class are among these.
@pytest.mark.parametrize("value", [C, 254, 256, 65536, 65537, 2**32 + 1, -1, -65535])
def test_impossible_target(value: int) -> None:
    prediction, target = labels(7)
    target[1, 2, 3] = value
    with pytest.raises(ValueError, match=rf"target holds the label {value}; expected 0 to 4 or ignore_index 255"):
        confusion_matrix(prediction, target, C, 255)


@pytest.mark.parametrize("value", [-1, -99])
def test_impossible_target_between_the_classes_and_a_negative_ignore_index(value: int) -> None:
    prediction, target = labels(7)
    target[target == 255] = -100
    target[1, 2, 3] = value
    with pytest.raises(ValueError, match=rf"target holds the label {value}; expected 0 to 4 or ignore_index -100"):
        confusion_matrix(prediction, target, C, -100)


@pytest.mark.parametrize("value", [C, 255, 256, 65536, 2**32, -1])
@pytest.mark.parametrize("ignored", [True, False])
def test_impossible_prediction(value: int, ignored: bool) -> None:
    prediction, target = labels(8)
    prediction[1, 2, 3] = value
    target[1, 2, 3] = 255 if ignored else 0
    with pytest.raises(ValueError, match=rf"prediction holds the label {value}; expected 0 to 4\."):
        confusion_matrix(prediction, target, C, 255)


def test_bad_arguments() -> None:
    prediction, target = labels(9)
    with pytest.raises(ValueError, match=r"shape \(3, 7, 11\) but target \(3, 6, 11\).*argmax"):
        confusion_matrix(prediction, target[:, :-1], C, 255)
    with pytest.raises(ValueError, match=r"prediction is torch.float32; give integer"):
        confusion_matrix(prediction.float(), target, C, 255)
    with pytest.raises(ValueError, match=r"target is torch.float64; give integer"):
        confusion_per_image(prediction, target.double(), C, 255)
    with pytest.raises(ValueError, match=r"ignore_index 2 is one of the 5 classes; choose one outside 0 to 4"):
        confusion_matrix(prediction, target, C, 2)


def test_metric_sums_batches_until_reset() -> None:
    metric = ConfusionMatrix(num_classes=C, ignore_index=255)
    batches = [labels(seed) for seed in range(3)]
    for prediction, target in batches:
        metric.update(prediction, target)
    expected = sum(counted_one_by_one(*batch, C, 255) for batch in batches)
    assert torch.equal(metric.compute(), expected)

    metric.reset()
    metric.update(*batches[0])
    assert torch.equal(metric.compute(), counted_one_by_one(*batches[0], C, 255))


def test_metric_ignores_a_fully_ignored_batch() -> None:
    metric = ConfusionMatrix(num_classes=C, ignore_index=255)
    prediction, target = labels(0)
    metric.update(prediction, torch.full_like(target, 255))
    assert metric.compute().sum() == 0


def test_two_processes_count_as_one(tmp_path: Path) -> None:
    # Forked as DataLoader workers are: a spawned process takes many seconds to import torchmetrics.
    torch.multiprocessing.start_processes(count_in_process, args=(tmp_path,), nprocs=2, start_method="fork")
    prediction, target = labels(10)
    expected = counted_one_by_one(prediction, target, C, 255)
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), expected)


def count_in_process(rank: int, folder: Path) -> None:
    """Process 0 counts two images, process 1 the third; both save the sum."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    metric = ConfusionMatrix(num_classes=C, ignore_index=255)
    prediction, target = labels(10)
    share = slice(0, 2) if rank == 0 else slice(2, 3)
    metric.update(prediction[share], target[share])
    torch.save(metric.compute(), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
