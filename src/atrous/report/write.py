"""A study as the report's files, and what the terminal shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from atrous.report.page import page
from atrous.report.study import Study, notes
from atrous.report.tables import runs_csv, table_csv, table_md, table_tex
from atrous.runs.protocol import protocol_lines
from atrous.runs.record import now
from atrous.system.files import write_text
from atrous.system.text import one_line, short

_SHOWN = 40  # rows in the terminal


def write_report(study: Study, out: Path, *, roots: Sequence[Path], command: str) -> dict[str, str]:
    """Writes the tables and the page.

    Args:
        study: What to report.
        out: The folder to write to.
        roots: The folders that it was read from, for the title.
        command: What the page says was typed.

    Returns:
        The files' texts by their names.
    """
    scored = study.baseline or next(iter(study.groups), None)
    protocol = protocol_lines(scored.runs[0].part("protocol")) if scored else []
    title = f"Report: {', '.join(str(short(root.resolve())) for root in roots)}"
    files = {
        "report.html": page(study, title=title, out=out.resolve(), command=command, created=now(), protocol=protocol),
        "table.md": table_md(study),
        "table.tex": table_tex(study),
        "table.csv": table_csv(study),
        "runs.csv": runs_csv(study),
    }
    for name, text in files.items():
        write_text(out / name, text)
    return files


def show_report(console: Console, study: Study) -> None:
    """The table, and what did not finish."""
    compared = study.baseline is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("settings", overflow="fold")
    for name in ("n", study.main_score.name, *["difference", ""] * compared):
        table.add_column(name, justify="right" if name else "left", no_wrap=bool(name))
    for group in study.groups[:_SHOWN]:
        found = group.difference
        gap = ["" if found is None else f"{found.score:+.3f}", group.verdict] * compared
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
