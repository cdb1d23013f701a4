"""`profile`: what networks cost, each measured in a process of its own, as a table, a csv and a plot of score over cost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from atrous.cli.app import run_command
from atrous.config.values import NonNegativeInt, NotEmpty, PositiveInt, Size, Text


@dataclass(frozen=True)
class Settings:
    """See conf/profile.yaml."""

    models: Text | Annotated[list[Text], NotEmpty()] | None
    runs: Text | Annotated[list[Text], NotEmpty()] | None
    sizes: Annotated[list[Size], NotEmpty()]
    batch_sizes: Annotated[list[PositiveInt], NotEmpty()]
    precisions: Annotated[list[Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true"]], NotEmpty()]
    modes: Annotated[list[Literal["inference", "training"]], NotEmpty()]
    warm_up: NonNegativeInt
    repeats: PositiveInt
    threads: PositiveInt | None
    accelerator: Literal["cpu", "gpu", "cuda"]
    out: Path | None
    trusted: list[str]
    overrides: list[str]
    command: str


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous profile models=... [key=value ...]`; see conf/profile.yaml."""
    run_command("profile", Settings, run, argv)


def run(settings: Settings) -> None:
    """Shows the table, and writes it to `out`."""
    from atrous.engine.subjects import of_models, of_runs, of_words

    models, runs = _listed(settings.models), _listed(settings.runs)
    subjects = [*of_models(models, settings.overrides), *of_runs(runs, settings.trusted)] or [
        of_words(settings.overrides)
    ]

    from rich.console import Console
    from rich.progress import Progress

    from atrous.analysis.profile import measure_apart
    from atrous.report.profile import draw_profile, point_name, profile_csv, profile_table
    from atrous.runs.record import now
    from atrous.system.devices import processor_name
    from atrous.system.files import to_json, write_text

    points = [
        {"size": size, "batch_size": batch, "precision": precision, "mode": mode}
        for size, batch, precision, mode in itertools.product(
            settings.sizes, settings.batch_sizes, settings.precisions, settings.modes
        )
    ]
    options = {key: vars(settings)[key] for key in ("warm_up", "repeats", "threads", "accelerator")}
    rows = []
    with Progress(transient=True) as progress:
        bar = progress.add_task("measuring", total=len(subjects) * len(points))
        for subject in subjects:
            progress.update(bar, description=subject.name)
            for row in measure_apart(subject.model, points, options):
                rows.append({"model": subject.name, "score": subject.score, **row})
                progress.advance(bar)
    console = Console()
    console.print(profile_table(rows))
    for row in rows:
        if row["error"]:
            console.print(f"[red]not measured[/] {row['model']}, {point_name(row)}: {row['error']}", soft_wrap=True)
    if (out := settings.out) is not None:
        device = next((row["device"] for row in rows if row.get("device")), processor_name())
        content = {"command": settings.command, "created": now(), "device": device, **options, "rows": rows}
        write_text(out / "profile.json", to_json(content))
        write_text(out / "profile.csv", profile_csv(rows))
        drawn = draw_profile(out / "profile.png", rows)
        print(f"written to {out}: profile.csv, profile.json{', profile.png' * drawn}")


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []
