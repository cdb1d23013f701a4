"""Semantic segmentation: one label per pixel."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from atrous.data.sampling import STAND_IN
from atrous.errors import ConfigError
from atrous.inference.image import ImageBatch
from atrous.inference.labels import labels, most_likely, strip_labels
from atrous.inference.mode import InferenceMode
from atrous.inference.whole import WholeImage
from atrous.metrics.confusion import ConfusionMatrix
from atrous.metrics.main_score import MEAN_IOU
from atrous.metrics.scores import per_class, summary
from atrous.metrics.weighted_mean import WeightedMean
from atrous.types import Batch, ClassInfo, SegOutput, has_void_output


class SemanticScorer(pl.LightningModule):
    """Labels images with `model`.

    Args:
        model: (N, 3, H, W) float images -> SegOutput.
        class_info: The classes of the data.
        channels_last: Keep weights and images in channels-last memory order.
        inference: How images that are scored or predicted go through the model; None: whole. Validation during a training
            is always whole.
    """

    main_score = MEAN_IOU  # also in metrics/main_score, which those ask who import no torch

    def __init__(
        self,
        *,
        model: nn.Module,
        class_info: ClassInfo,
        channels_last: bool = True,
        inference: InferenceMode | None = None,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.memory_format)
        self.class_info = class_info
        self.void_output = has_void_output(model)
        self.inference = inference or WholeImage()

    @property
    def label_info(self) -> ClassInfo:
        """What its labels mean: the classes, and void where the network has an output for it."""
        return self.class_info.with_void() if self.void_output else self.class_info

    def forward(self, images: Tensor) -> SegOutput:
        output: SegOutput = self.model(images.contiguous(memory_format=self.memory_format))
        return output

    def predict_labels(self, images: Tensor, mode: InferenceMode | None = None) -> Tensor:
        """Class indices, of void C, (N, H, W), of images (N, 3, H, W), by `mode` or else by the scorer's own."""
        pixels = ImageBatch(images.contiguous(memory_format=self.memory_format))
        return strip_labels((mode or self.inference)(self.model, pixels), images.shape[-2])

    def predict_confidence(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The labels of `predict_labels` and their probabilities, float32, both (N, H, W)."""
        pixels = ImageBatch(images.contiguous(memory_format=self.memory_format))
        strips = [
            (most_likely(scores), (scores.amax(1) - scores.logsumexp(1)).exp())
            for scores in self.inference(self.model, pixels)
        ]
        found, confidence = (torch.cat(parts, dim=1) for parts in zip(*strips, strict=True))
        return found, confidence


class SemanticTask(SemanticScorer):
    """Trains `model` with `loss` and scores it by one dataset-level confusion matrix.

    Logs `train/loss` and `lr` per step; `val/miou` and the other scores of `metrics.scores.summary` per validation,
    `val/iou/<class>`, and `val/loss`: the mean of the batches' losses, each weighted by its labelled pixels.

    Args:
        model, class_info, channels_last, inference: As for `SemanticScorer`.
        loss: (SegOutput, int64 mask (N, H, W)) -> scalar.
        optimizer: Makes the optimizer from the model, parameter groups included.
        scheduler: (step, total_steps) -> factor on every group's learning rate, called once per update.
        config: The run's resolved config; every checkpoint carries it, so that `evaluate` and `predict` can rebuild.
        compile: Compile the model's forward and backward pass: true, or some of torch.compile's settings. In place, so
            that the names of the weights stay.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        scheduler: Callable[[int, int], float],
        class_info: ClassInfo,
        config: dict[str, Any],
        channels_last: bool = True,
        inference: InferenceMode | None = None,
        compile: bool | Mapping[str, Any] = False,
    ) -> None:
        super().__init__(model=model, class_info=class_info, channels_last=channels_last, inference=inference)
        if compile:
            self.model.compile(**({} if isinstance(compile, bool) else compile))
        self.loss = loss
        self.make_optimizer = optimizer
        self.schedule = scheduler
        self.config = config
        self.rng: list[dict[str, Any]] | None = None  # of the checkpoint that training resumes from
        self.confusion = ConfusionMatrix(
            num_classes=class_info.num_classes, ignore_index=class_info.ignore_index, void=self.void_output
        )
        self.validation_loss = WeightedMean()

    @property
    def logged(self) -> set[str]:
        """The names of all that it logs."""
        scores = [*summary(np.eye(self.class_info.num_classes, dtype=np.int64)), "loss"]
        names = [*scores, *(f"iou/{name}" for name in self.class_info.names)]
        return {"train/loss", "lr", *(f"val/{name}" for name in names)}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self(batch["image"]), batch["mask"])
        together = self.trainer.world_size > 1
        self.log("train/loss", loss.detach(), batch_size=len(batch["name"]), sync_dist=together)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=1)
        return loss

    def on_validation_start(self) -> None:
        """Gives every process the running statistics of process 0, which are the ones a checkpoint holds."""
        if self.trainer.world_size > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if is_stand_in(batch):
            return
        output, mask = self(batch["image"]), batch["mask"]
        self.confusion.update(labels(output.logits, (mask.shape[-2], mask.shape[-1])), mask)
        pixels = (mask != self.class_info.ignore_index).sum()
        self.validation_loss.update(self.loss(output, mask), pixels)

    def on_validation_epoch_end(self) -> None:
        confusion = self.confusion.compute().cpu().numpy()
        self.confusion.reset()
        scores = {f"val/{name}": value for name, value in summary(confusion).items()}
        scores["val/loss"] = float(self.validation_loss.compute())
        self.validation_loss.reset()
        iou = per_class(confusion)["iou"]
        scores |= {f"val/iou/{name}": float(value) for name, value in zip(self.class_info.names, iou, strict=True)}
        self.log_dict(scores)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.model)
        total_steps = self.trainer.estimated_stepping_batches
        if math.isinf(total_steps):
            raise ConfigError(
                f"trainer.max_epochs={self.trainer.max_epochs} has no end, which the learning rate's schedule needs. Give a "
                "number, such as trainer.max_epochs=100; trainer.max_time may still stop before."
            )
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(step, int(total_steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["class_info"] = asdict(self.class_info)
        own = random_state(self.device)
        checkpoint["rng"] = [own] * self.trainer.world_size
        if self.trainer.world_size > 1:
            torch.distributed.all_gather_object(checkpoint["rng"], own)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        rng = checkpoint.get("rng")
        self.rng = rng if isinstance(rng, list) else None  # one for each process

    def on_train_start(self) -> None:
        """Lets dropout go on where the checkpoint left it; last of all, since building things draws numbers too."""
        if self.rng is not None:
            set_random_state(self.rng[self.global_rank % len(self.rng)], self.device)
            self.rng = None


def is_stand_in(batch: Batch) -> bool:
    """Whether a batch of an evaluation counts for nothing: that of a process for which no image was left."""
    return int(batch["index"][0]) == STAND_IN


def random_state(device: torch.device) -> dict[str, Any]:
    """Of all that draws random numbers in this process, as plain data."""
    kind, keys, *rest = cast(tuple[Any, ...], np.random.get_state())  # noqa: NPY002 - what others may draw from
    state = {"cpu": torch.get_rng_state(), "python": random.getstate(), "numpy": (kind, keys.tolist(), *rest)}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Puts back what `random_state` has returned."""
    torch.set_rng_state(state["cpu"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
