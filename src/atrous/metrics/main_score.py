"""The score that a task's runs are chosen, compared and searched by. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from atrous.metrics.scores import Scores, iou, mean


@dataclass(frozen=True)
class MainScore:
    """What it is called and which end is the better one.

    Args:
        key: In `scores` of result.json, and behind `val/` in metrics.csv.
        name: For people.
        mode: Whether more is better: max or min.
        of: Of confusion matrices (..., C, C), such as one for each image, (...).
    """

    key: str
    name: str
    mode: str
    of: Callable[[ArrayLike], Scores]

    @property
    def monitor(self) -> str:
        """What a validation logs it as."""
        return f"val/{self.key}"

    @property
    def direction(self) -> str:
        """In Optuna's words."""
        return f"{self.mode}imize"

    def rank(self, value: float) -> float:
        """A number that is larger for a better score."""
        return value if self.mode == "max" else -value

    def best(self, values: Iterable[float]) -> float:
        """The best of several; NaN of none. A NaN counts as none."""
        return max((value for value in values if not math.isnan(value)), key=self.rank, default=math.nan)


MEAN_IOU = MainScore("miou", "mIoU", "max", lambda confusion: mean(iou(confusion)))
BY_KEY = {score.key: score for score in (MEAN_IOU,)}
_BY_TASK = {"atrous.tasks.semantic.SemanticTask": MEAN_IOU}


def main_score_of(config: Mapping[str, Any]) -> MainScore:
    """That of a config's task; a task that is not ours, and a method without a task, has the mean IoU."""
    return _BY_TASK.get(str(config.get("task", {}).get("_target_")), MEAN_IOU)
