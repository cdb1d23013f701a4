"""`report`: run folders -> CSV, Markdown, LaTeX and one HTML page. Reads run folders only and imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from atrous.cli.app import run_command
from atrous.config.settings import Words
from atrous.config.values import NonNegativeInt, PositiveInt, Text
from atrous.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """See conf/report.yaml."""

    roots: Annotated[
        list[Path], Words("folder; give one or more that hold run folders, such as: atrous report runs/sweep")
    ]
    out: Path
    baseline: Text | None
    resamples: PositiveInt | None
    seed: NonNegativeInt
    wandb: Text | None
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous report RUNS... [key=value ...]`; see conf/report.yaml."""
    run_command("report", Settings, run, argv)


def run(settings: Settings) -> None:
    """Shows the table, and writes the report to `out`."""
    from rich.console import Console
    from rich.text import Text

    from atrous.report.read import read_study
    from atrous.report.write import show_report, write_report

    roots, out = settings.roots, settings.out
    if settings.wandb in ("true", "false"):
        raise ConfigError(
            f"wandb={settings.wandb} is no project; give its name, such as wandb=atrous, or leave it out."
        )
    study = read_study(roots, baseline=settings.baseline, resamples=settings.resamples, seed=settings.seed)
    files = write_report(study, out, roots=roots, command=settings.command)
    console = Console()
    show_report(console, study)
    console.print(Text(f"written to {out}: {', '.join(files)}"), soft_wrap=True)
    if settings.wandb is not None:
        from atrous.loggers.wandb import log_report

        name = ", ".join(root.resolve().name for root in roots)
        place = log_report(out.resolve(), files, project=settings.wandb, name=name, command=settings.command)
        print(f"logged to W&B project {settings.wandb}: {place}")
