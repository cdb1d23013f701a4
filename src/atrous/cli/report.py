"""`report`: run folders -> CSV, Markdown, LaTeX and one HTML page. Reads run folders only and imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from atrous.cli.app import run_command
from atrous.config.settings import Words
from atrous.config.values import NonNegativeInt, PositiveInt
from atrous.report.page import page
from atrous.report.read import read_study
from atrous.report.study import Study, notes
from atrous.report.tables import runs_csv, table_csv, table_md, table_tex
from atrous.runs.protocol import protocol_lines
from atrous.runs.record import now
from atrous.system.files import write_text
from atrous.system.text import one_line, short

_SHOWN = 40  # rows in the terminal


@dataclass(frozen=True)
class Settings:
    """See conf/report.yaml."""

    roots: Annotated[
        list[Path], Words("folder; give one or more that hold run folders, such as: atrous report runs/sweep")
    ]
    out: Path
    baseline: str | None
    resamples: PositiveInt | None
    seed: NonNegativeInt
    wandb: str | None
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous report RUNS... [key=value ...]`; see conf/report.yaml."""
    run_command("report", Settings, lambda settings: run(**vars(settings)), argv)


def run(
    roots: Sequence[Path],
    *,
    out: Path,
    baseline: str | None = None,
    resamples: int | None = None,
    seed: int = 0,
    wandb: str | None = None,
    command: str = "",
) -> Study:
    """Writes the report and says what is in it.

    Args:
        roots: Folders that hold run folders.
        out: The folder to write to; made if it is not there.
        baseline: See conf/report.yaml.
        resamples: None: 10,000, or fewer where there are many to compare.
        seed: Of the resamples.
        wandb: The W&B project to log it to; None: none.
        command: What was typed.

    Raises:
        ConfigError: If the baseline fits no row, or several.
        DataError: If a folder is not there, or there are no run folders.
    """
    study = read_study(roots, baseline=baseline, resamples=resamples, seed=seed)
    scored = study.baseline or next(iter(study.groups), None)
    protocol = protocol_lines(scored.runs[0].part("protocol")) if scored else []
    out.mkdir(parents=True, exist_ok=True)
    title = f"Report: {', '.join(str(short(root.resolve())) for root in roots)}"
    files = {
        "runs.csv": runs_csv(study),
        "table.csv": table_csv(study),
        "table.md": table_md(study),
        "table.tex": table_tex(study),
        "report.html": page(study, title=title, out=out.resolve(), command=command, created=now(), protocol=protocol),
    }
    for name, text in files.items():
        write_text(out / name, text)
    _say(study, out)
    if wandb is not None:
        from atrous.loggers.wandb import log_report

        name = ", ".join(root.resolve().name for root in roots)
        place = log_report(out.resolve(), files, project=wandb, name=name, command=command)
        print(f"logged to W&B project {wandb}: {place}")
    return study


def _say(study: Study, out: Path) -> None:
    """The table, what did not finish, and where the page is."""
    console = Console()
    compared = study.baseline is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("settings", overflow="fold")
    for name in ("n", study.main_score.name, *["difference", ""] * compared):
        table.add_column(name, justify="right" if name else "left", no_wrap=bool(name))
    for group in study.groups[:_SHOWN]:
        found = group.difference
        gap = ["" if found is None else f"{found.miou:+.3f}", group.word] * compared
        table.add_row(*map(Text, (study.label(group), str(group.n), group.score.text(), *gap)))
    if study.groups:
        console.print(table)
    if len(study.groups) > _SHOWN:
        console.print(f"and {len(study.groups) - _SHOWN} more rows")
    for run in study.unfinished[:_SHOWN]:
        text = f"{run.status}: {short(run.folder.resolve())}: {run.error or 'no error is recorded'}"
        console.print(Text(one_line(text), "red"), soft_wrap=True)
    for left in study.unread[:_SHOWN]:
        console.print(Text(one_line(f"unreadable: {left.folder}: {left.reason}"), "red"), soft_wrap=True)
    for note in notes(study):
        console.print(Text(note, "dim"), soft_wrap=True)
    console.print(Text(f"written to {out}: report.html, table.md, table.tex, table.csv, runs.csv"), soft_wrap=True)
