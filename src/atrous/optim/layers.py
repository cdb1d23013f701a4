"""Which of a model's parameters are its encoder's, and in which of the encoder's layers each of them is."""

from __future__ import annotations

from collections.abc import Iterator

from timm.models import group_parameters
from torch import nn

from atrous.errors import ConfigError

_ENCODER = ("encoder", "backbone")


def encoder_prefixes(model: nn.Module, path: str = "") -> tuple[str, ...]:
    """Returns how the names of the encoder's parameters begin, such as `("encoder.",)`; empty without an encoder.

    The encoder is what is under a child of the model called `encoder` or `backbone`. A module around the model, such as
    the adapter of third-party networks, is looked through.
    """
    children = dict(model.named_children())
    found = tuple(f"{path}{name}." for name in _ENCODER if name in children)
    if not found and len(children) == 1:
        name, child = children.popitem()
        return encoder_prefixes(child, f"{path}{name}.")
    return found


def encoder_layers(model: nn.Module) -> dict[str, int]:
    """Numbers the layers of a model's encoder, as layer-wise learning rates and freezing count them.

    The layers of a vision transformer are timm's: 0 holds the patch, position and class embeddings, and each block is one
    more; the norm after the blocks is in the last one's. Those of a CNN are its stages: layer i makes feature map i, so
    that in a ResNet 0 is the stem and 1 to 4 are the stages. Layers of the encoder beyond timm's network are in the last.

    Args:
        model: The network; its encoder is found as in `encoder_prefixes`.

    Returns:
        The layer, from 0, of each of the encoder's parameters by its name in the model.

    Raises:
        ConfigError: If the model has no encoder, or one whose layers are unknown because it is not timm's.
    """
    prefixes = encoder_prefixes(model)
    if not prefixes:
        raise ConfigError(
            f"{type(model).__name__} has no child called encoder or backbone, so it has no encoder layers to count; leave "
            "optimizer.layer_decay at 1 and callbacks.freeze.encoder at 0."
        )
    layers: dict[str, int] = {}
    for prefix in prefixes:
        encoder = model.get_submodule(prefix[:-1])
        known = _known_layers(encoder)
        last = max(known.values())
        layers |= {f"{prefix}{name}": known.get(name, last) for name, _ in encoder.named_parameters()}
    return layers


def _known_layers(encoder: nn.Module) -> dict[str, int]:
    """The layers of the first network inside `encoder` that can tell them."""
    for path, module in encoder.named_modules():
        if callable(matcher := getattr(module, "group_matcher", None)):
            layers = group_parameters(module, matcher(coarse=False), reverse=True)
            return {_join(path, name): layer for name, layer in layers.items()}
    for path, module in encoder.named_modules():
        if hasattr(module, "feature_info"):
            return {_join(path, name): layer for name, layer in _stages(module)}
    raise ConfigError(
        f"the layers of a {type(encoder).__name__} are unknown; they are known of timm's networks, and of a module with a "
        "`group_matcher` like theirs. Leave optimizer.layer_decay at 1, and callbacks.freeze.encoder at 0 or all."
    )


def _stages(net: nn.Module) -> Iterator[tuple[str, int]]:
    """Each parameter of timm's `features_only` network with the index of the map that it is the first to serve."""
    maps: list[str] = net.feature_info.module_name()  # type: ignore[operator, union-attr]
    stage, inside = 0, False
    for path, module in net.named_modules():  # in the order in which timm runs them
        if inside and not _under(path, maps[stage]) and stage < len(maps) - 1:
            stage, inside = stage + 1, False
        inside = inside or _under(path, maps[stage])
        for name, _ in module.named_parameters(recurse=False):
            yield _join(path, name), stage


def _under(path: str, module: str) -> bool:
    """Whether `path` is `module` or below it, which timm may have flattened from `stages.0` to `stages_0`."""
    return any(f"{path}.".startswith(f"{form}.") for form in (module, module.replace(".", "_", 1)))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
