"""An optimizer over parameter groups: what is pretrained learns slower, and norms and biases do not decay."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from atrous.errors import ConfigError

_PRETRAINED = ("encoder", "backbone")


def build_optimizer(
    model: nn.Module,
    *,
    algorithm: str,
    lr: float,
    weight_decay: float = 0.0,
    head_multiplier: float = 10.0,
    **options: Any,
) -> Optimizer:
    """The optimizer of a model's `param_groups`.

    Args:
        model: The network.
        algorithm: Import path of a `torch.optim.Optimizer`, such as `torch.optim.SGD`.
        lr: The encoder's learning rate.
        weight_decay: Of weights; norms and biases have none.
        head_multiplier: The rest's learning rate is `head_multiplier * lr`.
        options: The algorithm's other settings, such as `momentum`.

    Raises:
        ConfigError: If `algorithm` is not an optimizer, refuses its settings, or the model has nothing to train.
    """
    optimizer = _optimizer_class(algorithm)
    groups = param_groups(model, lr=lr, weight_decay=weight_decay, head_multiplier=head_multiplier)
    try:
        return optimizer(groups, lr=lr, weight_decay=weight_decay, **options)
    except (TypeError, ValueError) as error:
        settings = {"lr": lr, "weight_decay": weight_decay, **options}
        raise ConfigError(f"{algorithm} refuses its settings {settings}: {error}. Change or remove it (~).") from error


def param_groups(
    model: nn.Module, *, lr: float, weight_decay: float, head_multiplier: float = 10.0
) -> list[dict[str, Any]]:
    """Splits a model's trainable parameters by learning rate and weight decay.

    The encoder is what is under a child of the model called `encoder` or `backbone`; the rest is the head. A module
    around the model, such as the adapter of third-party networks, is looked through. Parameters of one dimension or
    none, which are the norms' scales and all biases, do not decay. In a model without an encoder nothing is
    pretrained: all of it is head, and the multiplier is 1.

    Args:
        model: The network.
        lr: The encoder's learning rate.
        weight_decay: Of parameters with two dimensions or more.
        head_multiplier: The head's learning rate is `head_multiplier * lr`; 10 is from Chen et al., "DeepLab:
            Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs",
            TPAMI 2018, section 4.1.

    Returns:
        Groups that are not empty, of `name` (encoder, encoder_no_decay, head, head_no_decay), `params`, `lr` and
        `weight_decay`. Every trainable parameter is in exactly one, a shared one under its first name.

    Raises:
        ConfigError: If no parameter is trainable.
    """
    prefixes = _encoder_prefixes(model)
    groups: dict[str, dict[str, Any]] = {}
    for part in ("encoder", "head"):
        rate = lr * head_multiplier if part == "head" and prefixes else lr
        groups[part] = {"name": part, "params": [], "lr": rate, "weight_decay": weight_decay}
        groups[f"{part}_no_decay"] = {"name": f"{part}_no_decay", "params": [], "lr": rate, "weight_decay": 0.0}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "encoder" if name.startswith(prefixes) else "head"
            groups[part if parameter.ndim > 1 else f"{part}_no_decay"]["params"].append(parameter)
    filled = [group for group in groups.values() if group["params"]]
    if not filled:
        raise ConfigError(f"{type(model).__name__} has no trainable parameter; unfreeze a part of it.")
    return filled


def _encoder_prefixes(model: nn.Module, path: str = "") -> tuple[str, ...]:
    """How the names of the encoder's parameters begin; none without an encoder."""
    children = dict(model.named_children())
    found = tuple(f"{path}{name}." for name in _PRETRAINED if name in children)
    if not found and len(children) == 1:
        name, child = children.popitem()
        return _encoder_prefixes(child, f"{path}{name}.")
    return found


def _optimizer_class(path: str) -> Callable[..., Optimizer]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"optimizer.algorithm={path} can't be imported ({error}); {_EXPECTED}") from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise ConfigError(f"optimizer.algorithm={path} is not an optimizer; {_EXPECTED}")
    return found


_EXPECTED = "give the import path of a torch.optim.Optimizer, such as torch.optim.SGD."
