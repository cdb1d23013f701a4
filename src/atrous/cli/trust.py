"""Which classes a config from a stranger may instantiate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra.utils import get_object

from atrous.errors import CheckpointError

# Prefixes rather than packages: torch.hub.load or torch.load in a config would run a stranger's code.
TRUSTED = (
    "atrous.data.",
    "atrous.encoders.",
    "atrous.layers.",
    "atrous.models.",
    "atrous.optim.",
    "segmentation_models_pytorch.",
    "timm.optim.",
    "torch.nn.",
    "torch.optim.",
    "torchvision.models.",
)


def check_targets(config: Any, trusted: list[str], source: str) -> None:
    """Refuses a config that would call anything outside the trusted packages.

    A path that begins in one of them may lead out of it, as `atrous.data.files.os.system` does, so where the thing was
    defined counts, too.

    Args:
        config: The part of a config that is about to be instantiated.
        trusted: Further prefixes that the user vouches for, such as `["their.package."]`.
        source: Where the config comes from, for the message.

    Raises:
        CheckpointError: Naming the `_target_` and how to allow it.
    """
    prefixes = (*TRUSTED, *trusted)
    for target in targets(config):
        home = _home(target) if target.startswith(prefixes) else target
        if not home.startswith(prefixes):
            package = home.partition(".")[0]
            raise CheckpointError(
                f"{source} wants to call {target!r}, which is not on the list of trusted packages. If you know "
                f"where the file comes from and trust that code, add 'trusted=[{package}.]'."
            )


def _home(target: str) -> str:
    """The module that defines what a path leads to, with a dot behind it; the path itself where it leads nowhere."""
    try:
        found = get_object(target)
    except Exception:  # whatever an import raises; the building of the part will say it
        return target
    return f"{getattr(found, '__module__', None) or 'builtins'}."


def targets(config: Any) -> Iterator[str]:
    """Every import path in a nested config: what Hydra calls, and what `build_optimizer` does."""
    if isinstance(config, dict):
        yield from (str(config[key]) for key in ("_target_", "algorithm") if key in config)
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from targets(value)
