"""Rebuilds one network, or several as an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atrous.engine.checkpoint import Restored, check_classes, restore, restore_published
from atrous.errors import CheckpointError, ConfigError
from atrous.inference.ensemble import Ensemble, Members
from atrous.tasks.semantic import SemanticScorer

# What divides a data set: an image that one network was scored on must have trained none of the others.
_DIVISION = ("folds", "fold", "split_seed", "split_rule", "val_fraction", "test_fraction", "group", "stratify", "csv")


def restore_all(
    paths: Path | Sequence[Path] | None,
    overrides: Sequence[str] = (),
    *,
    split: str = "val",
    trusted: Sequence[str] = (),
    accelerator: str | None = None,
) -> Restored:
    """Rebuilds the network of a checkpoint, or those of several, whose probabilities are averaged.

    Args:
        paths: A checkpoint or its run folder, or a list of them; None: published weights that the overrides name.
        overrides, trusted, accelerator: As for `restore`; they are for each.
        split: As for `restore_published`.

    Raises:
        CheckpointError: As `restore`; or if the networks have other classes, or see images normalised otherwise.
        ConfigError: As `restore`; or if the list is empty or names one twice.
    """
    if paths is None:
        return restore_published(overrides, split=split, accelerator=accelerator)
    if isinstance(paths, Path):
        return restore(paths, overrides, trusted=trusted, accelerator=accelerator)
    if not paths or len(set(paths)) < len(paths):
        raise ConfigError(
            f"ckpt=[{','.join(map(str, paths))}] names no checkpoints or one twice; give different ones, such as 'ckpt=[a.ckpt,b.ckpt]'."
        )
    members = [restore(path, overrides, trusted=trusted, accelerator=accelerator) for path in paths]
    first = members[0]
    for member in members[1:]:
        check_classes(member, first.class_info)
        for what, own, others in (
            ("data.eval_transform", member.config["data"]["eval_transform"], first.config["data"]["eval_transform"]),
            ("an output for void", member.scorer.void_output, first.scorer.void_output),
        ):
            if own != others:
                raise CheckpointError(
                    f"{member.source} and {first.source} differ in {what}: {own} and {others}; an ensemble needs it alike. Leave one out."
                )
    scorer = SemanticScorer(
        model=Members([member.scorer.model for member in members]),
        class_info=first.class_info,
        channels_last=first.config["task"]["channels_last"],
        inference=Ensemble([member.scorer.inference for member in members]),
    )
    return replace(first, scorer=scorer, members=tuple(members))


def check_division(restored: Restored, split: str) -> None:
    """Raises ConfigError where images of `split` have trained one of an ensemble's networks and not the others."""
    divisions = [_division(member.config["data"], split) for member in restored.members]
    for member, division in zip(restored.members, divisions, strict=True):
        if division != divisions[0]:
            differ = [key for key in division if division[key] != divisions[0].get(key)]
            values = " and ".join(f"{key}={found[key]}" for key in differ for found in (divisions[0], division))
            raise ConfigError(
                f"split={split}: {restored.members[0].source} and {member.source} were trained on other divisions of the data ({values}), so "
                "that images of one's split trained the other. Score split=test of one division, or other data, data=... ."
            )


def _division(data: dict[str, Any], split: str) -> dict[str, Any]:
    keys = [key for key in _DIVISION if not (split == "test" and key == "fold")]  # what is test is of no fold
    return {key: data.get(key) for key in keys}
