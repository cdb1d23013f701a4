"""Which classes a config from a stranger may instantiate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atrous.errors import CheckpointError

# Prefixes rather than packages: torch.hub.load or torch.load in a config would run a stranger's code.
TRUSTED = (
    "atrous.data.",
    "atrous.encoders.",
    "atrous.layers.",
    "atrous.models.",
    "segmentation_models_pytorch.",
    "torch.nn.",
    "torchvision.models.",
)


def check_targets(config: Any, trusted: list[str], source: str) -> None:
    """Refuses a config that would call anything outside the trusted packages.

    Args:
        config: The part of a config that is about to be instantiated.
        trusted: Further prefixes that the user vouches for, such as `["their.package."]`.
        source: Where the config comes from, for the message.

    Raises:
        CheckpointError: Naming the `_target_` and how to allow it.
    """
    for target in targets(config):
        if not target.startswith((*TRUSTED, *trusted)):
            package = target.partition(".")[0]
            raise CheckpointError(
                f"{source} wants to call {target!r}, which is not on the list of trusted packages. If you know "
                f"where the file comes from and trust that code, add 'trusted=[{package}.]'."
            )


def targets(config: Any) -> Iterator[str]:
    """Every `_target_` in a nested config."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from targets(value)
