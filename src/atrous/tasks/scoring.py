"""A pass over a split that scores each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from atrous.metrics.confusion import confusion_per_image
from atrous.metrics.extra import ExtraScores
from atrous.system.distributed import process_count
from atrous.tasks.semantic import SemanticScorer, is_stand_in
from atrous.types import Batch, ClassInfo


class ScoreAccumulator:
    """Keeps one confusion matrix per image, and with `extra` adds up the scores beside it.

    Args:
        class_info: The classes that are counted.
        void: Whether pixels may be labelled void, which counts as wrong; see `confusion_matrix`.
        extra: Also score boundaries, object sizes and calibration; see `ExtraScores` for what that costs.
    """

    def __init__(self, class_info: ClassInfo, *, void: bool = False, extra: bool = False) -> None:
        self.class_info = class_info
        self.void = void
        about = {"num_classes": class_info.num_classes, "ignore_index": class_info.ignore_index}
        self.extra = ExtraScores(**about, void=void) if extra else None
        self._matrices: dict[str, Tensor] = {}  # name -> int32 (C, C), with void (C, C + 1)

    @property
    def names(self) -> list[str]:
        return sorted(self._matrices)

    @property
    def matrices(self) -> NDArray[np.int32]:
        """One confusion matrix per image in the order of `names`, (N, C, C) or with void (N, C, C + 1), rows as truth."""
        size = self.class_info.num_classes
        empty = torch.zeros(0, size, size + self.void, dtype=torch.int32)
        found: NDArray[np.int32] = torch.cat([empty, *(self._matrices[name][None] for name in self.names)]).numpy()
        return found

    def add(self, names: Sequence[str], labels: Tensor, masks: Tensor, confidence: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            names: The images' names, N.
            labels: The predicted classes, (N, H, W).
            masks: The truth, (N, H, W).
            confidence: The predicted classes' probabilities, (N, H, W), which `extra` needs.
        """
        if self.extra is not None and confidence is not None:
            maps = (part.cpu().numpy() for part in (labels, masks, confidence))
            for name, *image in zip(names, *maps, strict=True):
                self.extra.add(name, *image)
        info = self.class_info
        matrices = confusion_per_image(labels, masks, info.num_classes, info.ignore_index, void=self.void)
        self._matrices |= dict(zip(names, matrices.to("cpu", torch.int32), strict=True))

    def gather(self) -> None:
        """Adds what the other processes have scored; all of them call it."""
        if process_count() == 1:
            return
        parts: list[Any] = [None] * process_count()
        dist.all_gather_object(parts, (self._matrices, self.extra))
        del parts[dist.get_rank()]
        for matrices, _ in parts:
            self._matrices |= matrices
        if self.extra is not None:
            self.extra.merge(extra for _, extra in parts)


class ScoringPass(pl.LightningModule):
    """What `Trainer.test` runs: labels the images of a split by `scorer` and adds them to `scores`."""

    def __init__(self, scorer: SemanticScorer, scores: ScoreAccumulator) -> None:
        super().__init__()
        self.scorer = scorer
        self.scores = scores

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        if is_stand_in(batch):
            return
        if self.scores.extra is None:
            labels, confidence = self.scorer.predict_labels(batch["image"]), None
        else:
            labels, confidence = self.scorer.predict_confidence(batch["image"])
        self.scores.add(batch["name"], labels, batch["mask"], confidence)

    def on_test_epoch_end(self) -> None:
        self.scores.gather()
