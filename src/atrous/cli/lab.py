"""`lab`: what the output strides and rates of a study score, see and cost, joined on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from atrous.cli.app import run_command
from atrous.config.settings import Words
from atrous.config.values import Accelerator, NonNegativeInt, PositiveInt, Size, Split
from atrous.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """See conf/lab.yaml."""

    roots: Annotated[
        list[Path], Words("folder; give one or more that hold run folders, such as: atrous lab runs/sweep")
    ]
    out: Path
    split: Split
    context_distances: list[NonNegativeInt]
    effective_images: NonNegativeInt
    size: Size | None
    latency_rounds: NonNegativeInt
    warm_up: NonNegativeInt
    memory: bool
    threads: PositiveInt | None
    accelerator: Accelerator | None
    trusted: list[str]
    overrides: list[str]
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous lab RUNS... [key=value ...]`; see conf/lab.yaml."""
    run_command("lab", Settings, run, argv)


def run(settings: Settings) -> None:
    """Shows the table, and writes the page to `out`."""
    _check_overrides(settings.overrides)

    from rich.console import Console
    from rich.text import Text

    from atrous.lab.tables import table_md
    from atrous.lab.write import write_lab
    from atrous.system.text import one_line

    lab, files = write_lab(settings.roots, settings.out, vars(settings), settings.overrides, command=settings.command)
    console = Console()
    console.print(table_md(lab), markup=False, highlight=False, soft_wrap=True)
    for line in lab.left_out:
        console.print(Text(f"left out: {one_line(line)}", "dim"), soft_wrap=True)
    console.print(Text(f"written to {settings.out}: {', '.join(files)}"), soft_wrap=True)


def _check_overrides(overrides: Sequence[str]) -> None:
    for override in overrides:
        if override.lstrip("+").partition("=")[0].partition(".")[0] not in ("data", "inference", "trainer", "task"):
            raise ConfigError(
                f"{override} is impossible: lab takes a network as its run trained it. Of the checkpoints' settings it "
                "changes those of data, inference, trainer and task, such as data.root=...; its own are in lab --help."
            )
