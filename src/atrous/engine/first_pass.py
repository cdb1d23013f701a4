"""One pass through the parts of a training before it begins, so that what does not fit is told then, not after an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from atrous.config.messages import check_name
from atrous.data.datamodule import SegmentationDataModule
from atrous.data.sampling import Transformed
from atrous.errors import AtrousError, ConfigError
from atrous.models.adapter import Adapter
from atrous.tasks.semantic import SemanticTask, random_state, set_random_state
from atrous.types import ClassInfo, SegOutput

_SIZE = (64, 64)  # of the image, where the network is ours and so takes any
_COUNTS = ("num_classes", "classes", "num_labels", "n_classes", "out_channels", "nclass")  # what libraries call it


def check_parts(task: SemanticTask, datamodule: SegmentationDataModule, config: dict[str, Any]) -> None:
    """Shows the network one image, in eval mode, the loss what it makes of it, and asks the schedule for a factor.

    A network of another library is shown images of the sizes that it will meet: a training crop, and a whole image where there
    are validations. Nothing of it stays: buffers and random states are afterwards as they were.

    Args:
        task: The network with its loss and schedule; it has no trainer yet.
        datamodule: Its data, whose samples have these sizes.
        config: The run's.

    Raises:
        ConfigError: If the network, the loss or the schedule fails, or there is not one logit for each class: with what was
            found, what was expected, and the key.
    """
    with _untouched(task):
        for size, what in _sizes(task.model, datamodule, config).items():
            output = _forward(task, size, what, config["model"])
            _check_classes(output, task, config["model"])
            _check_loss(output, task, size, str(config["loss"].get("_target_")))
    _check_monitors(task, config["callbacks"])
    _check_schedule(task, str(config["scheduler"].get("_target_")))


def _sizes(model: nn.Module, datamodule: SegmentationDataModule, config: dict[str, Any]) -> dict[tuple[int, int], str]:
    """Heights and widths of images, and what they are."""
    if not isinstance(model, Adapter):
        return {_SIZE: "a small image"}
    transforms = {"train": datamodule.train_transform, "val": datamodule.eval_transform}
    kinds = {"train": "a training crop", "val": "a whole image, as validations show it"}
    if not config["trainer"]["limit_val_batches"]:
        del kinds["val"]
    sizes: dict[tuple[int, int], str] = {}
    for split, what in kinds.items():
        data = Transformed(dataset=datamodule.dataset(split), transform=transforms[split], seed=0)
        height, width = data[0, 0]["mask"].shape
        sizes.setdefault((height, width), what)
    return sizes


def _forward(task: SemanticTask, size: tuple[int, int], what: str, model: dict[str, Any]) -> SegOutput:
    try:
        output: SegOutput = task.model.forward(torch.zeros(1, 3, *size))  # not called, which would compile it
    except AtrousError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model._target_={model['_target_']} fails on {what}, float32 (1, 3, {size[0]}, {size[1]}): {_words(error)}. A network "
            "gets RGB images of any size, padded to sides that 32 divides: change its settings, such as model.in_channels=3, or "
            "data.train_transform.crop_size for the size of crops. HYDRA_FULL_ERROR=1 shows where it fails."
        ) from error
    return output


def _check_classes(output: SegOutput, task: SemanticTask, model: dict[str, Any]) -> None:
    info = task.class_info
    expected = info.num_classes + task.void_output
    heads = {"logits": output.logits, **{f"aux[{i}]": logits for i, logits in enumerate(output.aux)}}
    for name, logits in heads.items():
        if logits.dim() != 4 or len(logits) != 1:
            raise ConfigError(
                f"model._target_={model['_target_']} returns {name} of shape {tuple(logits.shape)} for one image; expected "
                f"(1, {expected}, h, w)."
            )
        found = logits.shape[1]
        if found != expected and (name == "logits" or found != info.num_classes):
            void = " and void (void_output)" if task.void_output else ""
            raise ConfigError(
                f"model._target_={model['_target_']} returns {found} {name} a pixel, and the data has {info.num_classes} classes"
                f"{void}: {_some(info)}. {_remedy(model, found, info.num_classes, task.void_output)}"
            )


def _remedy(model: dict[str, Any], found: int, classes: int, void: bool) -> str:
    key = next((f"model.{name}" for name in _COUNTS if name in model), None)
    if key is None:
        remedy = "Give its argument for the number of classes, such as '+model.num_classes=${data.num_classes}'."
    elif model[key.removeprefix("model.")] != classes:
        remedy = f"Set {key}={classes}, or leave it out."
    else:
        remedy = f"{key} is {classes}: its code has to use it."
    one_more = " One output more, for void, is declared by an attribute void_output = True."
    return remedy + one_more * (found == classes + 1 and not void)


def _check_loss(output: SegOutput, task: SemanticTask, size: tuple[int, int], target: str) -> None:
    try:
        loss = task.loss(output, torch.zeros(1, *size, dtype=torch.int64))
    except AtrousError:
        raise
    except Exception as error:
        raise ConfigError(f"loss._target_={target} fails: {_words(error)}. {_LOSS}") from error
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise ConfigError(f"loss._target_={target} returns {found}. {_LOSS}")


_LOSS = (
    "A loss gets a SegOutput, which holds the logits (N, C, h, w), and the mask (N, H, W), and returns a scalar: use one of ours, "
    "such as loss=cross_entropy, or wrap it."
)


def _check_schedule(task: SemanticTask, target: str) -> None:
    wanted = (
        "A schedule gets (step, total steps) and returns a factor on the rate: use one of ours, such as scheduler=poly."
    )
    try:
        factor = task.schedule(0, 1000)
    except AtrousError:
        raise
    except Exception as error:
        raise ConfigError(f"scheduler._target_={target} fails: {_words(error)}. {wanted}") from error
    if not isinstance(factor, int | float):
        raise ConfigError(f"scheduler._target_={target} returns a {type(factor).__name__}. {wanted}")


def _check_monitors(task: SemanticTask, callbacks: dict[str, Any]) -> None:
    """What callbacks watch is logged; a callback of somebody else's may log more."""
    if not all(str(options["_target_"]).startswith(("atrous.", "lightning.")) for options in callbacks.values()):
        return
    for name, options in callbacks.items():
        if options.get("monitor") is not None:
            check_name(f"score in callbacks.{name}.monitor", options["monitor"], sorted(task.logged))


@contextmanager
def _untouched(task: SemanticTask) -> Iterator[None]:
    """Eval mode and no gradients meanwhile; modes, buffers and random states are put back."""
    modes = [(module, module.training) for module in task.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in task.buffers()]
    drawn = random_state(torch.device("cpu"))
    with torch.no_grad():
        try:
            task.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training
            for buffer, value in buffers:
                buffer.copy_(value)
            set_random_state(drawn, torch.device("cpu"))


def _words(error: Exception) -> str:
    """The first line of what it says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _some(info: ClassInfo) -> str:
    return ", ".join(info.names[:5]) + ", ..." * (info.num_classes > 5)
