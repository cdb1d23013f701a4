"""`compare`: whether the difference between two runs is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from atrous.cli.app import run_command
from atrous.config.settings import Words
from atrous.config.values import NonNegativeInt, PositiveInt
from atrous.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """See conf/compare.yaml."""

    sides: Annotated[list[str], Words("sides; give two, such as: atrous compare runs/a runs/b")]
    resamples: PositiveInt
    seed: NonNegativeInt


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous compare A B [key=value ...]`; see conf/compare.yaml."""
    run_command("compare", Settings, run, argv)


def run(settings: Settings) -> None:
    """Shows both sides' scores and what their difference comes to."""
    if len(settings.sides) != 2:
        raise ConfigError(
            f"compare got {len(settings.sides)} sides: {', '.join(settings.sides)}. Give two, such as: atrous compare runs/a "
            "runs/b; several runs of one side are joined by commas."
        )
    from rich.console import Console

    from atrous.report.comparison import show_comparison
    from atrous.runs.compare import check_comparable, difference
    from atrous.runs.folds import read_evaluations
    from atrous.runs.protocol import protocol_lines

    a, b = (read_evaluations([Path(path) for path in side.split(",")]) for side in settings.sides)
    console = Console()
    for line in protocol_lines(a[0].protocol):
        console.print(line, style="dim", soft_wrap=True, highlight=False)
    for warning in check_comparable([*a, *b]):
        console.print(f"[yellow]differs[/] {warning}", soft_wrap=True, highlight=False)
    show_comparison(console, a, b, difference(a, b, resamples=settings.resamples, seed=settings.seed))
