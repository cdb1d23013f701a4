"""The networks that `profile` measures: named ones, and those of runs. Imports no torch."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atrous.config.compose import CONF_DIR, choice, compose_groups
from atrous.config.trust import check_targets
from atrous.errors import ConfigError
from atrous.runs.run import CONFIG, RESULT, Run, read_result

_FOREIGN = ("custom", "smp", "torchvision")  # templates for other people's models, which a glob leaves out


@dataclass(frozen=True)
class Subject:
    """One network to measure.

    Args:
        name: What the table calls it.
        model: The resolved config of the model.
        score: The main score of its run; None where it is no run's.
    """

    name: str
    model: dict[str, Any]
    score: float | None = None


def of_models(patterns: Sequence[str], overrides: Sequence[str]) -> Iterator[Subject]:
    """Networks with random weights.

    Args:
        patterns: Each a name or glob of conf/model, with further settings of that network behind it after spaces.
        overrides: Settings of all networks, as on `train`'s command line.

    Raises:
        ConfigError: If a pattern fits no network.
    """
    known = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml"))
    for entry in patterns:
        pattern, *own = entry.split()
        names = [name for name in fnmatch.filter(known, pattern) if name == pattern or name not in _FOREIGN]
        if not names:
            raise ConfigError(f"models={pattern} is none of conf/model; there are {', '.join(known)}.")
        for name in names:
            model = compose_groups([f"model={name}", *overrides, *own])["model"]
            yield Subject(" ".join([name, *(override.removeprefix("model.") for override in own)]), model)


def of_words(overrides: Sequence[str]) -> Subject:
    """The network of a training's command line."""
    return Subject(choice("model", overrides), compose_groups(overrides)["model"])


def of_runs(patterns: Sequence[str], trusted: list[str]) -> Iterator[Subject]:
    """The networks of run folders, with their scores.

    Args:
        patterns: Each a run folder or a glob.
        trusted: Packages whose classes their configs may name.

    Raises:
        ConfigError: If a pattern names no run folder.
        CheckpointError: If a config names what is not trusted.
    """
    for pattern in patterns:
        base = Path(pattern)
        folders = [base] if base.is_dir() else sorted(Path(base.anchor or ".").glob(str(base.relative_to(base.anchor))))
        runs = [
            Run(path, read_result(path)) for path in folders if (path / CONFIG).is_file() and (path / RESULT).is_file()
        ]
        if not runs:
            raise ConfigError(
                f"runs={pattern} names no run folder; give one that holds config.yaml and result.json, or a glob."
            )
        for run in runs:
            if "model" not in run.config:
                raise ConfigError(
                    f"runs={pattern}: {run.folder} is the run of a method, which has no network to measure."
                )
            check_targets(run.config["model"], trusted, f"the run {run.folder}")
            yield Subject(str(run.folder), run.config["model"], None if math.isnan(run.score) else run.score)
