"""`evaluate`: score a checkpoint on a split, exactly as at the end of its training."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.api import EvaluateSettings, score
from atrous.cli.app import run_command


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous evaluate ckpt=... [key=value ...]`; see conf/evaluate.yaml."""
    run_command("evaluate", EvaluateSettings, run, argv)


def run(settings: EvaluateSettings) -> None:
    """Shows the scores."""
    from rich.console import Console

    from atrous.callbacks.progress import Progress
    from atrous.report.evaluation import show_evaluation

    show_evaluation(Console(), score(settings, callbacks=[Progress()]))
    if settings.out is not None:
        print(f"written to {settings.out}")
