"""Semantic segmentation: one label per pixel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from atrous.errors import ConfigError
from atrous.inference.labels import labels
from atrous.metrics.confusion import ConfusionMatrix, confusion_per_image
from atrous.metrics.scores import per_class, summary
from atrous.types import Batch, ClassInfo, SegOutput


class SemanticScorer(pl.LightningModule):
    """Labels images with `model` and keeps one confusion matrix per image.

    Args:
        model: (N, 3, H, W) float images -> SegOutput.
        class_info: The classes of the data.
        channels_last: Keep weights and images in channels-last memory order.
    """

    def __init__(self, *, model: nn.Module, class_info: ClassInfo, channels_last: bool = True) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.memory_format)
        self.class_info = class_info
        self.per_image: dict[str, Tensor] = {}  # name -> int32 (C, C), filled by `test_step`

    def forward(self, images: Tensor) -> SegOutput:
        output: SegOutput = self.model(images.contiguous(memory_format=self.memory_format))
        return output

    def predict_labels(self, batch: Batch) -> Tensor:
        """Class indices at the size of the mask, (N, H, W); see `atrous.inference.labels.labels`."""
        height, width = batch["mask"].shape[-2:]
        return labels(self(batch["image"]).logits, (height, width))

    def on_test_start(self) -> None:
        self.per_image = {}

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        matrices = confusion_per_image(
            self.predict_labels(batch), batch["mask"], self.class_info.num_classes, self.class_info.ignore_index
        )
        self.per_image |= dict(zip(batch["name"], matrices.to("cpu", torch.int32), strict=True))

    def on_test_epoch_end(self) -> None:
        """Collects the images that other processes have scored."""
        if self.trainer.world_size > 1:
            parts: list[dict[str, Tensor]] = [{} for _ in range(self.trainer.world_size)]
            torch.distributed.all_gather_object(parts, self.per_image)
            self.per_image = {name: matrix for part in parts for name, matrix in part.items()}


class SemanticTask(SemanticScorer):
    """Trains `model` with `loss` and scores it by one dataset-level confusion matrix.

    Logs `train/loss` and `lr` per step; `val/miou` and the other scores of `metrics.scores.summary` per validation,
    and `val/iou/<class>`.

    Args:
        model, class_info, channels_last: As for `SemanticScorer`.
        loss: (SegOutput, int64 mask (N, H, W)) -> scalar.
        optimizer: Makes the optimizer from the model, parameter groups included.
        scheduler: (step, total_steps) -> factor on every group's learning rate, called once per update.
        config: The run's resolved config; every checkpoint carries it, so that `evaluate` and `predict` can rebuild.
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
    ) -> None:
        super().__init__(model=model, class_info=class_info, channels_last=channels_last)
        self.loss = loss
        self.make_optimizer = optimizer
        self.schedule = scheduler
        self.config = config
        self.rng: dict[str, Tensor] | None = None  # of the checkpoint that training resumes from
        self.confusion = ConfusionMatrix(num_classes=class_info.num_classes, ignore_index=class_info.ignore_index)

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
        self.confusion.update(self.predict_labels(batch), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        confusion = self.confusion.compute().cpu().numpy()
        self.confusion.reset()
        scores = {f"val/{name}": value for name, value in summary(confusion).items()}
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
        checkpoint["rng"] = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            checkpoint["rng"]["cuda"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.rng = checkpoint.get("rng")

    def on_train_start(self) -> None:
        """Lets dropout go on where the checkpoint left it; last of all, since building things draws numbers too."""
        if self.rng is not None:
            torch.set_rng_state(self.rng["cpu"])
            if "cuda" in self.rng and self.device.type == "cuda":
                torch.cuda.set_rng_state(self.rng["cuda"], self.device)
