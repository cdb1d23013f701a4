"""The scores of an evaluation as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from atrous.metrics.scores import Scores, mean
from atrous.runs.protocol import protocol_lines
from atrous.runs.scores import Evaluation


def show_evaluation(console: Console, evaluation: Evaluation) -> None:
    """A table with a row per class and the means below, the other scores, and the protocol."""
    extra = evaluation.extra_scores
    classes = {name: evaluation.class_scores[key] for name, key in _COLUMNS.items()}
    scores = evaluation.scores
    means = [scores["miou"], scores["dice"], scores["class_accuracy"]]
    if extra:
        boundary = extra["boundary"]
        ratio = next(iter(boundary["iou"]))
        classes |= {"BF": boundary["per_class"]["f1"], "B-IoU": boundary["per_class"]["iou"][ratio]}
        means += [boundary["f1"], boundary["iou"][ratio]]
    truth = evaluation.confusion.sum(1)
    share = truth / max(1, truth.sum())
    table = Table(title=f"{evaluation.protocol['split']}: {len(evaluation.names)} images", title_justify="left")
    table.add_column("class")
    for column in ("pixels", *classes):
        table.add_column(column, justify="right")
    table.add_column("")
    for index, name in enumerate(evaluation.classes):
        iou = classes["IoU"][index]
        bar = "" if np.isnan(iou) else "█" * round((10 if extra else 20) * iou)
        row = [_number(values[index]) for values in classes.values()]
        table.add_row(escape(name), f"{share[index]:.1%}", *row, f"[cyan]{bar}[/]")
    table.add_section()
    table.add_row("[bold]mean[/]", "", *(f"[bold]{_number(value)}[/]" for value in means))
    console.print(table)
    image_miou = mean(evaluation.image_scores["miou"])
    overall = (
        f"pixel accuracy {_number(scores['pixel_accuracy'])}   frequency-weighted IoU {_number(scores['fwiou'])}   "
        f"mean over images of their mIoU {_number(image_miou)}   mIoU of always predicting "
        f"{evaluation.classes[int(truth.argmax())]!r} {_number(evaluation.constant_score)}"
    )
    for line in (overall, *_extra_lines(extra)):
        console.print(line, soft_wrap=True, markup=False)
    for line in protocol_lines(evaluation.protocol):
        console.print(line, soft_wrap=True, style="dim", highlight=False, markup=False)


_COLUMNS = {"IoU": "iou", "Dice": "dice", "accuracy": "class_accuracy"}


def _extra_lines(extra: dict[str, Any]) -> list[str]:
    """The scores beside the confusion matrix, a line for each kind; none where they were not asked for."""
    if not extra:
        return []
    boundary, objects, calibration = extra["boundary"], extra["objects"], extra["calibration"]
    near, inside = boundary["region"], boundary["interior"]
    overlaps = ", ".join(f"{_number(value)} at {float(share):.1%}" for share, value in boundary["iou"].items())
    sizes = ", ".join(
        f"{size} {_number(recall)} ({int(number)})"
        for size, recall, number in zip(objects["sizes"], objects["recall"], objects["number"], strict=True)
    )
    return [
        f"boundaries: BF {_number(boundary['f1'])}   Boundary IoU {overlaps} of the diagonal",
        f"within {near['width']} pixels of a boundary: accuracy {_number(near['pixel_accuracy'])}, mIoU {_number(near['miou'])}   "
        f"beyond: accuracy {_number(inside['pixel_accuracy'])}, mIoU {_number(inside['miou'])}",
        f"recall of connected parts by COCO's sizes, and how many: {sizes}",
        f"calibration: ECE {_number(calibration['ece'])} in {calibration['bins']} bins",
    ]


def _number(value: float | Scores) -> str:
    return "absent" if np.isnan(value) else f"{value:.3f}"
