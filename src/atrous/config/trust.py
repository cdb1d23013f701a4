"""What a checkpoint from a stranger may hold, name and have called. Its pickle is `atrous.encoders.weights_file`'s business.

A checkpoint carries a config, and Hydra calls what a config names. So it may name the parts that our own `conf/` names, and
of other libraries their network classes. What else of it reaches this machine is made plain here, too: no interpolation is
resolved, no file is read because of it, and none is written outside this user's own cache.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from hydra.utils import get_object
from omegaconf import OmegaConf

from atrous.config.compose import CONF_DIR
from atrous.config.upgrade import upgraded
from atrous.errors import CheckpointError
from atrous.types import ClassInfo

GROUPS = ("model", "data", "inference", "postprocess")  # of conf/, what is built to score or predict
# Packages whose network classes may be named, each directly below it: not torch.nn.Module.apply or torch.nn.modules.os.
SHELVES = ("torch.nn.", "segmentation_models_pytorch.")
TORCHVISION = "torchvision.models.segmentation."
TRAINERS = ("lightning.pytorch.Trainer", "lightning.pytorch.strategies.DDPStrategy")

_LARGEST = 100_000  # values; ADE20K's whole config has 1,300
_DEEPEST = 32
# Names by which timm, and so segmentation-models-pytorch, fetches a network's description: timm's
# models/_factory.py, parse_model_name.
_ELSEWHERE = re.compile(r"(hf[-_]hub|local[-_]dir):|://")
_WEIGHTS = ("weights", "fc_weights", "encoder_weights", "weights_backbone")


def check_targets(config: Any, trusted: list[str], source: str) -> None:
    """Refuses a config that would call anything but the parts of ours and networks of known libraries.

    Args:
        config: The part of a config that is about to be instantiated.
        trusted: Prefixes that the user vouches for, such as `["their.package."]`.
        source: Where the config comes from, for the message.

    Raises:
        CheckpointError: Naming the `_target_` and how to allow it.
    """
    for target in targets(config):
        if not (is_ours(target) or _is_network(target) or _is_vouched(target, tuple(trusted))):
            package = target.partition(".")[0]
            raise CheckpointError(
                f"{source} wants to call {target!r}, which is not on the list of trusted networks and data sets. If you "
                f"know where the file comes from and trust that code, add 'trusted=[{package}.]'."
            )
    for value in strings(config):
        if _ELSEWHERE.search(value) and not value.startswith(tuple(trusted)):
            raise CheckpointError(
                f"{source} would fetch a network or data from elsewhere, {value!r}. If you know where the file comes from "
                f"and trust that place, add 'trusted=[\"{value}\"]'."
            )


def needs_trust(config: Any) -> list[str]:
    """The packages that a config calls and `check_targets` has to be told to trust."""
    strange = (target for target in targets(config) if not (is_ours(target) or _is_network(target)))
    return sorted({target.partition(".")[0] for target in strange})


def targets(config: Any) -> Iterator[str]:
    """Every import path in a nested config that Hydra would call."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from targets(value)


def import_targets(config: Any) -> None:
    """Imports whatever building a config would import."""
    for target in targets(config):
        get_object(target)


@functools.cache
def _ours() -> frozenset[str]:
    """The import paths in our own conf/, which is the registry of models and data sets."""
    files = (file for group in GROUPS for file in (CONF_DIR / group).rglob("*.yaml"))
    named = (name for file in files for name in re.findall(r"_target_:\s*([\w.]+)", file.read_text()))
    return frozenset(name for name in named if name.startswith("atrous."))


def is_ours(target: str) -> bool:
    """Whether our own conf/ names this import path."""
    return target in _ours()


def _is_network(target: str) -> bool:
    if target == "segmentation_models_pytorch.create_model":
        return True
    for shelf in SHELVES:
        if target.startswith(shelf) and target.removeprefix(shelf).isidentifier():
            from torch import nn

            found = _found(target)
            return isinstance(found, type) and issubclass(found, nn.Module)
    if target.startswith(TORCHVISION):
        from torchvision import models

        return target.removeprefix(TORCHVISION) in models.list_models(module=models.segmentation)
    return False


def _is_vouched(target: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a path begins with one of the user's prefixes, and what it leads to was defined there.

    `their.package.files.os.system` begins in their package and leads out of it.
    """
    if not target.startswith(prefixes):
        return False
    found = _found(target)
    # Where it leads nowhere, building the part will say so.
    return found is None or f"{getattr(found, '__module__', None) or 'builtins'}.".startswith(prefixes)


def _found(target: str) -> Any:
    try:
        return get_object(target)
    except Exception:  # whatever an import raises
        return None


def own_config(config: Any, source: str = "the checkpoint's config") -> dict[str, Any]:
    """A checkpoint's config as it may be used here.

    Weights that the net started from are taken away: the checkpoint's own take their place, and a path or a download
    would be of the stranger's choosing. The cache is this user's.

    Args:
        config: As it came out of the checkpoint.
        source: For the messages.

    Returns:
        A copy.

    Raises:
        CheckpointError: If it is no resolved config of a run, or asks for more than `check_plain` allows.
    """
    check_plain(config, source)
    if isinstance(config, dict):
        config = upgraded(config)
    for part in ("model", "data", "trainer", "task"):
        if not isinstance(config, dict) or not isinstance(config.get(part), dict):
            raise CheckpointError(
                f"{source} has no settings of {part}; expected a checkpoint that `atrous train` wrote."
            )
    for target in targets(config["trainer"]):
        if target not in TRAINERS:
            raise CheckpointError(
                f"{source} wants to call {target!r} in trainer, where only {' and '.join(TRAINERS)} are built. Don't use "
                "this file, or take the entry out of its config."
            )
    own: dict[str, Any] = {**config, "model": _without_weights(config["model"]), "data": dict(config["data"])}
    if "cache_folder" in own["data"]:
        paths = OmegaConf.load(CONF_DIR / "paths" / "default.yaml")
        own["data"]["cache_folder"] = str(OmegaConf.to_container(paths, resolve=True)["cache"])  # type: ignore[index,call-overload]
    return own


def check_plain(value: Any, source: str) -> None:
    """Refuses what a resolved config never holds: interpolations, control characters, other objects, no end of it.

    Raises:
        CheckpointError: Naming what was found.
    """
    left = _LARGEST
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        found, depth = pending.pop()
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise CheckpointError(
                f"{source} holds more than {_LARGEST} values or {_DEEPEST} levels, as no run's does. Don't use this file."
            )
        if isinstance(found, dict):
            pending += [(item, depth + 1) for pair in found.items() for item in pair]
        elif isinstance(found, list | tuple):
            pending += [(item, depth + 1) for item in found]
        elif isinstance(found, str):
            if "${" in found:
                raise CheckpointError(
                    f"{source} holds the interpolation {found!r}, which could read this machine's environment; the "
                    "config of a run has none left. Don't use this file."
                )
            if not found.replace("\n", "").isprintable():
                raise CheckpointError(
                    f"{source} holds control characters, {found!r}, which could steer the terminal. Don't use this file."
                )
        elif not (found is None or isinstance(found, bool | int | float)):
            raise CheckpointError(
                f"{source} holds a {type(found).__name__}, expected text, numbers, lists and mappings. Don't use this file."
            )


def read_class_info(stored: Any, source: str) -> ClassInfo:
    """The classes that a checkpoint or an exported network carries.

    Raises:
        CheckpointError: If they are none.
    """
    check_plain(stored, source)
    try:
        info = ClassInfo(**stored)
        if not all(0 <= part <= 255 for colour in info.palette for part in colour):
            raise ValueError("a colour outside 0 to 255")
        if not info.ids or not 0 <= min(info.ids) <= max(info.ids) <= 65535:
            raise ValueError("no classes, or an id outside 0 to 65535")
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{source} has classes that can't be used: {error}. Expected names, palette, ignore_index, things and ids, as "
            "`atrous train` writes them."
        ) from error
    return info


def strings(config: Any) -> Iterator[str]:
    """Every text in a nested config that is a value."""
    if isinstance(config, str):
        yield config
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from strings(value)


def _without_weights(model: Any) -> Any:
    """A model's config whose parts, where they are of a known library, start from no file of weights."""
    if isinstance(model, list):
        return [_without_weights(value) for value in model]
    if not isinstance(model, dict):
        return model
    target = str(model.get("_target_", ""))
    known = is_ours(target) or target.startswith((*SHELVES, TORCHVISION))
    return {key: None if known and key in _WEIGHTS else _without_weights(value) for key, value in model.items()}
