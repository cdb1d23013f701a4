"""What the library's face and the commands call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atrous.config.checks import check_config
from atrous.runs.announce import announce, follow
from atrous.runs.resume import choose_folder
from atrous.system.ranks import is_launched, is_main_process


def start(config: dict[str, Any], folder: Path, *, runs: Path | None = None) -> float:
    check_config(config)
    from atrous.studies.torchrun import launch, needs_launch

    starts = needs_launch(config["trainer"])
    below, apart = Path(config["paths"]["runs"]), is_launched() and runs is None
    chosen = follow(config, folder, below) if apart and not is_main_process() else None
    config, folder, earlier = chosen or choose_folder(config, folder, runs=runs, leads=is_main_process())
    note = announce(below, folder, earlier) if apart and is_main_process() else None
    if earlier is not None and earlier.finished:
        return earlier.score
    try:
        if starts:
            return launch(config, folder)
        from atrous.engine.fit import run  # imports torch
        from atrous.report.training import TrainingReport

        return run(config, folder, TrainingReport())
    finally:
        if note:
            note.unlink(missing_ok=True)
