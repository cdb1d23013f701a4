"""The final scores in W&B: summary, a table per class, the confusion matrix, and sample pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atrous.cli.evaluation import Evaluation


def log(loggers: list[Any], evaluation: Evaluation, samples: list[Path]) -> None:
    """Logs to every W&B logger among `loggers`; the other loggers hold numbers over time only."""
    for logger in loggers:
        if type(logger).__name__ == "WandbLogger":
            _log(logger.experiment, evaluation, samples)


def _log(run: Any, evaluation: Evaluation, samples: list[Path]) -> None:
    import wandb

    names = evaluation.class_info.names
    scores = evaluation.class_scores
    columns = ["class", *scores]
    rows = [[name, *(float(values[i]) for values in scores.values())] for i, name in enumerate(names)]
    counts = evaluation.confusion
    cells = [[names[i], names[j], int(counts[i, j])] for i in range(len(names)) for j in range(len(names))]
    run.summary.update({f"final/{name}": value for name, value in evaluation.scores.items()})
    run.log(
        {
            "final/per_class": wandb.Table(columns=columns, data=rows),
            "final/confusion": wandb.Table(columns=["truth", "prediction", "pixels"], data=cells),
            "final/samples": [wandb.Image(str(path), caption=path.stem) for path in samples],
        }
    )
