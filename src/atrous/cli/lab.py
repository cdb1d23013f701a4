"""`lab`: what the output strides and rates of a study score, see and cost, joined on one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.text import Text

from atrous.cli.app import run_command
from atrous.config.fingerprint import NOT_COUNTED
from atrous.config.settings import Words
from atrous.config.values import NonNegativeInt, PositiveInt, Size, Split
from atrous.errors import ConfigError, DataError
from atrous.lab.collect import Collector
from atrous.lab.data import Lab, read
from atrous.lab.page import figures, page
from atrous.lab.store import Store
from atrous.lab.tables import runs_csv, table_csv, table_md
from atrous.report.study import Study, study_of
from atrous.runs.record import now
from atrous.runs.run import find_runs
from atrous.system.files import to_json, write_text
from atrous.system.text import one_line, short


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
    accelerator: str | None
    trusted: list[str]
    overrides: list[str]
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous lab RUNS... [key=value ...]`; see conf/lab.yaml."""
    run_command("lab", Settings, lambda settings: run(settings.roots, vars(settings), settings.overrides), argv)


def run(roots: Sequence[Path], settings: dict[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Measures what is not known yet, writes the page and returns what it writes to `out/lab.json`.

    Args:
        roots: Folders that hold run folders.
        settings: Those of conf/lab.yaml.
        overrides: Changes to the data or inference of the checkpoints.

    Raises:
        ConfigError: If a setting is impossible.
        DataError: If there is no finished run.
    """
    _check_overrides(overrides)
    study = _study(roots)
    out = settings["out"]
    store = Store(out / "measured")
    measured = Collector(study, settings, list(overrides), store).collect()
    title = f"Dilation lab: {', '.join(str(short(root.resolve())) for root in roots)}"
    text = to_json({"title": title, "command": settings["command"], "created": now(), **measured})
    content: dict[str, Any] = json.loads(text)  # what is read from the file later is what is shown now
    lab = read(content)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "lab.json", text)
    files = {
        "lab.html": page(lab, out=out.resolve()),
        "lab.csv": table_csv(lab),
        "runs.csv": runs_csv(lab),
        "table.md": table_md(lab),
        **{f"{name}.svg": text for name, text in figures(lab).items()},
    }
    for name, text in files.items():
        write_text(out / name, text)
    _say(lab, out, [*files, "lab.json"])
    return content


def _check_overrides(overrides: Sequence[str]) -> None:
    for override in overrides:
        if override.lstrip("+").partition("=")[0].partition(".")[0] not in ("data", "inference", "trainer", "task"):
            raise ConfigError(
                f"{override} is impossible: lab takes a network as its run trained it. Of the checkpoints' settings it "
                "changes those of data, inference, trainer and task, such as data.root=...; its own are in lab --help."
            )


def _study(roots: Sequence[Path]) -> Study:
    for root in roots:
        if not root.is_dir():
            raise DataError(f"no folder {root}. Give folders that hold run folders, such as runs/sweep.")
    runs, unread = find_runs(roots)
    study = study_of(runs, unread, ignored=NOT_COUNTED, baseline=None, resamples=None)
    if not study.groups:
        raise DataError(
            f"no finished run in {', '.join(map(str, roots))}, where {len(runs)} others and {len(unread)} unreadable ones lie. "
            "Give the folder of a study whose trainings have ended; `atrous report` tells what became of them."
        )
    return study


def _say(lab: Lab, out: Path, files: Sequence[str]) -> None:
    console = Console()
    console.print(table_md(lab), markup=False, highlight=False, soft_wrap=True)
    for line in lab.left_out:
        console.print(Text(f"left out: {one_line(line)}", "dim"), soft_wrap=True)
    console.print(Text(f"written to {out}: {', '.join(files)}"), soft_wrap=True)
