"""An optimizer over parameter groups: what is pretrained learns slower; norms, biases and embeddings do not decay."""

from __future__ import annotations

import fnmatch
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from atrous.errors import ConfigError
from atrous.optim.layers import encoder_layers, encoder_prefixes


def build_optimizer(
    model: nn.Module,
    *,
    algorithm: str,
    lr: float,
    weight_decay: float = 0.0,
    head_multiplier: float = 10.0,
    layer_decay: float = 1.0,
    **options: Any,
) -> Optimizer:
    """The optimizer of a model's `param_groups`.

    Args:
        model: The network.
        algorithm: Import path of a `torch.optim.Optimizer`, such as `torch.optim.SGD`.
        lr: The encoder's learning rate.
        weight_decay: Of weights; norms, biases and embeddings have none.
        head_multiplier, layer_decay: As for `param_groups`.
        options: The algorithm's other settings, such as `momentum`.

    Raises:
        ConfigError: If `algorithm` is not an optimizer, refuses its settings, or the model has nothing to train.
    """
    optimizer = _optimizer_class(algorithm)
    settings = {"lr": lr, "weight_decay": weight_decay, **options}
    taken = inspect.signature(optimizer).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        if not weight_decay and "weight_decay" not in taken:  # Rprop and others know none
            del settings["weight_decay"]
        if unknown := [name for name in settings if name not in taken]:
            raise ConfigError(
                f"{algorithm} has no setting {', '.join(unknown)}; it has {', '.join(list(taken)[1:])}. Take it away with "
                f"{' '.join(_without(name) for name in unknown)}, or start from optimizer=custom."
            )
    groups = param_groups(
        model, lr=lr, weight_decay=weight_decay, head_multiplier=head_multiplier, layer_decay=layer_decay
    )
    try:
        return optimizer(groups, **settings)
    except (TypeError, ValueError, LookupError) as error:
        raise ConfigError(f"{algorithm} refuses its settings {settings}: {error}. Change or remove it (~).") from error


def param_groups(
    model: nn.Module, *, lr: float, weight_decay: float, head_multiplier: float = 10.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Splits a model's trainable parameters by learning rate and weight decay.

    The encoder is what `encoder_prefixes` finds; the rest is the head. In a model without an encoder nothing is
    pretrained: all of it is head, and the multiplier is 1. Parameters of one dimension or none, which are the norms'
    scales and most biases, do not decay, nor do other biases and the embeddings of positions and classes: those of an
    `nn.Embedding`, those with one of the names in `_EMBEDDINGS`, and those that a module names by timm's method
    `no_weight_decay()`.

    Args:
        model: The network.
        lr: The encoder's learning rate.
        weight_decay: Of all other parameters.
        head_multiplier: The head's learning rate is `head_multiplier * lr`; 10 is from Chen et al., "DeepLab:
            Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs",
            TPAMI 2018, section 4.1.
        layer_decay: Each of the encoder's layers learns at `layer_decay` times the rate of the layer after it, the last
            one at `layer_decay * lr`; 1 is off. From Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR
            2022. `encoder_layers` says what a layer is.

    Returns:
        Groups that are not empty, of `name`, `params`, `lr` and `weight_decay`. The names are encoder and head, with
        layer-wise rates encoder_0, encoder_1 and so on, each also with `_no_decay` behind it; the last layer comes
        first. Every trainable parameter is in exactly one, a shared one under its first name.

    Raises:
        ConfigError: If no parameter is trainable, or `layer_decay` is out of range or has no layers to act on.
    """
    if not 0 < layer_decay <= 1:
        raise ConfigError(
            f"optimizer.layer_decay={layer_decay} is out of range; give more than 0, up to 1, such as 0.9 or 1 for off."
        )
    prefixes = encoder_prefixes(model)
    layers = encoder_layers(model) if layer_decay < 1 else {}
    parts = [("encoder", lr)]
    if layers:
        count = max(layers.values()) + 1
        parts = [(f"encoder_{layer}", lr * layer_decay ** (count - layer)) for layer in reversed(range(count))]
    parts.append(("head", lr * head_multiplier if prefixes else lr))
    groups: dict[str, dict[str, Any]] = {
        name: {"name": name, "params": [], "lr": rate, "weight_decay": decay}
        for part, rate in parts
        for name, decay in ((part, weight_decay), (f"{part}_no_decay", 0.0))
    }
    undecayed = _undecayed(model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "head" if not name.startswith(prefixes) else f"encoder_{layers[name]}" if layers else "encoder"
            decays = parameter.ndim > 1 and name not in undecayed
            groups[part if decays else f"{part}_no_decay"]["params"].append(parameter)
    filled = [group for group in groups.values() if group["params"]]
    if not filled:
        raise ConfigError(f"{type(model).__name__} has no trainable parameter; unfreeze a part of it.")
    return filled


# Parts of the names that timm, torchvision and transformers give to embeddings, relative position tables included. timm's
# `no_weight_decay()` is lost where it cuts a network to its features, as in Swin.
_EMBEDDINGS = (
    "pos_embed",
    "position_embed",
    "class_embed",
    "_token",
    "relative_position_bias_table",
    "rel_pos_",
    "attention_biases",
)


def _undecayed(model: nn.Module) -> set[str]:
    """Names of parameters that do not decay although they have several dimensions."""
    found = set()
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        method = getattr(module, "no_weight_decay", None)
        patterns = list(method()) if callable(method) else []
        if patterns:
            names = (name for name, _ in module.named_parameters())
            found |= {f"{prefix}{name}" for name in names if any(fnmatch.fnmatch(name, each) for each in patterns)}
        for name, _ in module.named_parameters(recurse=False):
            if name == "bias" or isinstance(module, nn.Embedding) or any(part in name for part in _EMBEDDINGS):
                found.add(f"{prefix}{name}")
    return found


def _without(setting: str) -> str:
    """What takes a setting away on the command line."""
    return "optimizer.weight_decay=0" if setting == "weight_decay" else f"~optimizer.{setting}"


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
