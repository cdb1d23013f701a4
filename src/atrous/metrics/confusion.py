"""Counting pixels into confusion matrices, and the torchmetrics state that sums them over a dataset."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torchmetrics import Metric

# Pixels counted at a time on a CPU: few enough for the intermediate results to stay in its caches.
_CPU_CHUNK = 2**18


class ConfusionMatrix(Metric):
    """The confusion matrix of everything seen since the last reset, exact and summed over processes.

    Args:
        num_classes: C.
        ignore_index: Target value of the pixels that do not count; not a class.
        void: As for `confusion_matrix`.
    """

    is_differentiable = False
    full_state_update = False
    confusion: Tensor

    def __init__(self, *, num_classes: int, ignore_index: int, void: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.void = void
        empty = torch.zeros(num_classes, num_classes + void, dtype=torch.int64)
        self.add_state("confusion", empty, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Adds a batch; arguments and errors are those of `confusion_matrix`."""
        self.confusion += confusion_matrix(prediction, target, self.num_classes, self.ignore_index, void=self.void)

    def compute(self) -> Tensor:
        """The int64 matrix (C, C), with void (C, C + 1); rows are the truth, columns the prediction."""
        return self.confusion


def confusion_matrix(
    prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int, *, void: bool = False
) -> Tensor:
    """Counts the pixels of each pair of true and predicted class.

    One `bincount` over a row per target value, the ignored and the impossible ones too: no pixel needs masking, which
    costs more than counting, and impossible targets show up as counts. Its memory grows with the distance between the
    classes and `ignore_index`.

    Args:
        prediction: Integer labels of any shape, such as (N, H, W), each 0 to C-1, with `void` also C.
        target: Integer labels of the same shape, each 0 to C-1 or `ignore_index`.
        num_classes: C.
        ignore_index: Target value of the pixels that do not count; not a class.
        void: Whether pixels may be predicted void. They get a last column: none of them is right, and no class has them.

    Returns:
        int64 (C, C), with `void` (C, C + 1); rows are the truth, columns the prediction.

    Raises:
        ValueError: If shapes differ, labels are not integers or out of range, or `ignore_index` is a class.
    """
    _check_arguments(prediction, target, num_classes, ignore_index)
    first, last = min(0, ignore_index), max(num_classes - 1, ignore_index)
    columns = num_classes + void
    expected = f"0 to {num_classes - 1} or ignore_index {ignore_index}"
    bins = (last - first + 1) * columns
    dtype = torch.int16 if bins <= torch.iinfo(torch.int16).max else torch.int64
    chunk = _CPU_CHUNK if target.device.type == "cpu" else max(target.numel(), 1)

    def count(pixels: tuple[Tensor, Tensor]) -> Tensor:
        table = torch.zeros(bins, dtype=torch.int64, device=target.device)
        for predicted, true in zip(*(torch.split(part, chunk) for part in pixels), strict=True):
            column = _checked("prediction", predicted, 0, columns - 1, f"0 to {columns - 1}").to(dtype)
            row = _checked("target", true, first, last, expected).to(dtype)
            if first:
                row = row - first
            table += torch.bincount(torch.add(column, row, alpha=columns), minlength=bins)
        return table

    flat = (prediction.flatten(), target.flatten())
    threads = min(torch.get_num_threads(), target.numel() // chunk) if target.device.type == "cpu" else 1
    if threads > 1:  # a share of the pixels each: bincount itself uses one thread, and lets others run meanwhile
        share = -(-target.numel() // threads)
        with ThreadPoolExecutor(threads) as pool:
            tables = pool.map(count, zip(*(torch.split(part, share) for part in flat), strict=True))
            table = torch.stack(list(tables)).sum(0)
    else:
        table = count(flat)

    rows = table.view(-1, columns)  # one for each target value from first to last
    confusion = rows[-first : num_classes - first].clone()
    if int(table.sum() - confusion.sum() - rows[ignore_index - first].sum()):
        values = (rows.sum(dim=1).nonzero().flatten() + first).tolist()
        impossible = next(value for value in values if not 0 <= value < num_classes and value != ignore_index)
        raise _range_error("target", impossible, expected)
    return confusion


def confusion_per_image(
    prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int, *, void: bool = False
) -> Tensor:
    """The confusion matrix of each image of a batch.

    Args:
        prediction: Integer labels (N, H, W), each 0 to C-1, with `void` also C.
        target: Integer labels (N, H, W), each 0 to C-1 or `ignore_index`.
        num_classes: C.
        ignore_index: Target value of the pixels that do not count; not a class.
        void: As for `confusion_matrix`.

    Returns:
        int64 (N, C, C), with `void` (N, C, C + 1); rows are the truth, columns the prediction.

    Raises:
        ValueError: As `confusion_matrix`.
    """
    _check_arguments(prediction, target, num_classes, ignore_index)
    confusion = torch.empty(len(target), num_classes, num_classes + void, dtype=torch.int64, device=target.device)
    for index, (predicted, true) in enumerate(zip(prediction, target, strict=True)):
        confusion[index] = confusion_matrix(predicted, true, num_classes, ignore_index, void=void)
    return confusion


def _check_arguments(prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int) -> None:
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} but target {tuple(target.shape)}; "
            "give one label per pixel, such as logits.argmax(dim=1)"
        )
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.is_floating_point() or labels.is_complex():
            raise ValueError(f"{name} is {labels.dtype}; give integer class labels, such as logits.argmax(dim=1)")
    if 0 <= ignore_index < num_classes:
        raise ValueError(
            f"ignore_index {ignore_index} is one of the {num_classes} classes; choose one outside 0 to {num_classes - 1}"
        )


def _checked(name: str, labels: Tensor, first: int, last: int, expected: str) -> Tensor:
    if labels.numel():
        lowest, highest = (int(bound) for bound in torch.aminmax(labels))
        if lowest < first or highest > last:
            raise _range_error(name, lowest if lowest < first else highest, expected)
    return labels


def _range_error(name: str, value: int, expected: str) -> ValueError:
    return ValueError(f"{name} holds the label {value}; expected {expected}. Check num_classes and the mask's encoding")
