"""Weights of whole segmentation nets, ours and others', loaded into our models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from atrous.encoders.weights_file import read_weights
from atrous.errors import CheckpointError, ConfigError
from atrous.models.conversions import CONVERSIONS, Rules, convert


def load_pretrained(model: nn.Module, spec: str, *, reset_head: bool = False) -> list[str]:
    """Loads weights into a model in place.

    Args:
        model: One of ours, or an `Adapter` around the library's own.
        spec: The path of a checkpoint that `atrous train` wrote or of the model's state dict (`.ckpt`, `.pth`,
            `.safetensors`), or `torchvision:PATH`, `smp:PATH`, `transformers:PATH` or `espnet:PATH` with the state dict of a net
            of that library. A checkpoint of another stage of the same net will do, see `stage_keys` of `atrous.models.fcn.FCN`.
        reset_head: Whether the layers that depend on the number of classes start anew where the file's number differs.

    Returns:
        The keys of the model's state dict that keep their values.

    Raises:
        ConfigError: If there is no conversion of that library's nets into this model.
        CheckpointError: If the file is missing, damaged or no state dict, a key of it finds no place, one of the model's is
            missing in it, or a shape differs.
    """
    library, path = split_spec(spec)
    own = model.state_dict()
    rules = () if library is None else _rules(model, library)
    state, names = convert(_read(path), rules, own)
    stage: tuple[str, ...] = getattr(model, "stage_keys", ()) if library in (None, "espnet") else ()
    filled = "encoder." if library == "transformers" else ""  # what the file must fill
    lost = [names[key] for key in state if key not in own and not key.startswith(stage)]
    counters = {key: value for key, value in own.items() if key.endswith(".num_batches_tracked")}
    state = (
        {**counters, **state} if library is not None else state
    )  # torch before 0.4.1 had none, and no net of ours uses them
    missing = [key for key in own if key not in state and key.startswith(filled) and not key.startswith(stage)]
    _check_keys(path, model, lost, missing)
    state = {key: value for key, value in state.items() if key in own}
    for key in _check_shapes(path, model, state, own, reset_head):
        del state[key]
    model.load_state_dict(state, strict=False)
    return [key for key in own if key not in state]


def split_spec(spec: str) -> tuple[str | None, Path]:
    """The library whose net the file of `weights=` is of, None for ours, and the file."""
    prefix, colon, rest = spec.partition(":")
    library, path = (prefix, rest) if colon and prefix in CONVERSIONS else (None, spec)
    return library, Path(path).expanduser()


def _rules(model: nn.Module, library: str) -> Rules:
    name = type(model).__name__
    if name not in CONVERSIONS[library]:
        raise ConfigError(
            f"{library}'s nets have no conversion into {name}, but into {', '.join(CONVERSIONS[library])}; choose such a model, "
            "or give the path of a checkpoint of ours without a library before it"
        )
    return CONVERSIONS[library][name]


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a state dict or of a checkpoint around one; nothing in the file can run code."""
    if not file.is_file():
        libraries = ", ".join(f"{library}:PATH" for library in CONVERSIONS)
        raise CheckpointError(
            f"no weights at {file}; give the PATH of a .ckpt, .pth or .safetensors file, or {libraries} for another library's"
        )
    held = read_weights(file)
    for wrapper in ("state_dict", "model"):  # Lightning's and ours; torchvision's training script
        if isinstance(held, dict) and isinstance(held.get(wrapper), dict):
            held = held[wrapper]
            if wrapper == "state_dict" and any(str(key).startswith("model.") for key in held):
                held = {key.removeprefix("model."): held[key] for key in held if key.startswith("model.")}
            break
    while (
        isinstance(held, dict)
        and held
        and (wrapped := [w for w in _WRAPPERS if all(str(k).startswith(w) for k in held)])
    ):
        held = {key.removeprefix(wrapped[0]): value for key, value in held.items()}
    tensors = {key: value for key, value in held.items() if isinstance(value, Tensor)} if isinstance(held, dict) else {}
    if not tensors:
        raise CheckpointError(f"{file} holds a {type(held).__name__} without weights; save `model.state_dict()`")
    return tensors


_WRAPPERS = ("module.", "_orig_mod.")  # DistributedDataParallel's and torch.compile's, before every key


def _check_keys(path: Path, model: nn.Module, lost: list[str], missing: list[str]) -> None:
    faults = [
        f"{len(keys)} {what}, such as {keys[0]!r}"
        for keys, what in ((lost, "of its keys find no place"), (missing, "of the model's keys are missing in it"))
        if keys
    ]
    if faults:
        raise CheckpointError(
            f"{path} does not fit {type(model).__name__}: {'; '.join(faults)}. Give the model the settings of the file's net, "
            "which are in the config.yaml of a run folder of ours, and for another library's in atrous.models.conversions"
        )


def _check_shapes(
    path: Path, model: nn.Module, state: Mapping[str, Tensor], own: Mapping[str, Tensor], reset_head: bool
) -> list[str]:
    """Returns the keys of class heads that start anew."""
    differing = [key for key in state if state[key].shape != own[key].shape]
    if not differing:
        return []
    example = f"{differing[0]} is {tuple(state[differing[0]].shape)} in the file and {tuple(own[differing[0]].shape)} in the model"
    classes = _count_classes(model)
    follows: tuple[str, ...] = getattr(model, "follow_classes", ())  # what has layers as wide as there are classes
    found = {_classes_of_file(state[key], own[key], classes) for key in differing if not key.startswith(follows)}
    if found == {None} or len(found) != 1:
        raise CheckpointError(
            f"{path} does not fit {type(model).__name__}: {len(differing)} shapes differ, such as {example}. Give the model the "
            "settings of the file's net"
        )
    if not reset_head:
        void = classes + 1 in found and getattr(model, "void_output", None) is False
        raise CheckpointError(
            f"{path} has {found.pop()} classes and the model {classes}: {example}. Use reset_head=true to start the class head "
            f"anew, or data with the file's classes{', or model.void_output=true if its last one is void' if void else ''}"
        )
    return [key for key in state if key in differing or key.startswith(follows)]


def _classes_of_file(theirs: Tensor, ours: Tensor, classes: int) -> int | None:
    """The number of classes that explains a file's shape, None if none does."""
    if theirs.dim() != ours.dim():
        return None
    numbers = set()
    for there, here in zip(theirs.shape, ours.shape, strict=True):
        if there != here:
            each = here // classes  # values a class, more than one in dense upsampling
            fits = each > 0 and here % classes == 0 and there % each == 0
            numbers.add(there // each if fits else None)
    return numbers.pop() if len(numbers) == 1 else None


def _count_classes(model: nn.Module) -> int:
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        logits: Tensor = model.eval()(torch.zeros(1, 3, 64, 64, device=next(model.parameters()).device)).logits
    for module, training in modes:
        module.training = training
    return logits.shape[1]
