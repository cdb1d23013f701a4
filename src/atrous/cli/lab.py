"""`lab`: what the output strides and rates of a study score, see and cost, joined on one page."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from atrous.cli.app import errors_as_messages
from atrous.cli.settings import own_settings
from atrous.config.command_line import command_line
from atrous.config.compose import prepare
from atrous.config.fingerprint import NOT_COUNTED
from atrous.errors import ConfigError, DataError
from atrous.lab.data import Lab, read
from atrous.lab.page import figures, page
from atrous.lab.plan import Plan
from atrous.lab.store import Store
from atrous.lab.tables import runs_csv, table_csv, table_md
from atrous.metrics.bootstrap import Difference
from atrous.report.runs import find
from atrous.report.study import Study, study_of
from atrous.runs.record import now
from atrous.system.files import to_json, write_text
from atrous.system.text import one_line, short

SPLITS = ("train", "val", "test")


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous lab RUNS... [key=value ...]`; see conf/lab.yaml."""
    prepare()
    given = list(sys.argv[1:] if argv is None else argv)
    if argv is not None:
        sys.argv = ["atrous lab", *given]
    with errors_as_messages():
        settings, rest = own_settings("lab", given)
        roots, overrides = _split(rest)
        run(roots, settings, overrides)


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
    _check(settings)
    study = _study(roots)
    out = Path(settings["out"])
    store = Store(out / "measured")
    measured = Plan(study, settings, list(overrides), store).measure()
    title = f"Dilation lab: {', '.join(str(short(root.resolve())) for root in roots)}"
    text = to_json({"title": title, "command": command_line(), "created": now(), **measured})
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


def _split(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Folders, and changes to the checkpoints' configs."""
    roots = [argument for argument in arguments if "=" not in argument or Path(argument).exists()]
    overrides = [argument for argument in arguments if argument not in roots]
    if not roots:
        raise ConfigError("lab got no folder. Give one or more that hold run folders, such as: atrous lab runs/sweep")
    for override in overrides:
        if override.lstrip("+").partition("=")[0].partition(".")[0] not in ("data", "inference", "trainer", "task"):
            raise ConfigError(
                f"{override} is impossible: lab takes a network as its run trained it. Of the checkpoints' settings it "
                "changes those of data, inference, trainer and task, such as data.root=...; its own are in lab --help."
            )
    return [Path(root) for root in roots], overrides


def _check(settings: dict[str, Any]) -> None:
    def whole(value: Any, least: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    for key, least in (("effective_images", 0), ("latency_rounds", 0), ("warm_up", 0)):
        if not whole(settings[key], least):
            raise ConfigError(f"{key}={settings[key]} is impossible; give a whole number from {least} on.")
    if settings["threads"] is not None and not whole(settings["threads"], 1):
        raise ConfigError(f"threads={settings['threads']} is impossible; give a whole number from 1 on, or null.")
    distances = settings["context_distances"]
    if not isinstance(distances, list) or not all(whole(distance, 0) for distance in distances):
        raise ConfigError(
            f"context_distances={distances} is impossible; give whole numbers of pixels, such as "
            "'context_distances=[4,8,16]', or [] for none."
        )
    size = settings["size"]
    if size is not None and not (isinstance(size, list) and len(size) == 2 and all(whole(side, 1) for side in size)):
        raise ConfigError(f"size={size} is impossible; give height and width in pixels, such as 'size=[512,1024]'.")
    if settings["split"] not in SPLITS:
        raise ConfigError(f"split={settings['split']} is unknown; choose one of {', '.join(SPLITS)}.")
    if not isinstance(settings["memory"], bool):
        raise ConfigError(f"memory={settings['memory']} is impossible; give true or false.")


def _study(roots: Sequence[Path]) -> Study:
    for root in roots:
        if not root.is_dir():
            raise DataError(f"no folder {root}. Give folders that hold run folders, such as runs/sweep.")
    runs, unread = find(roots)
    study = study_of(runs, unread, ignored=NOT_COUNTED, baseline=None, compare=_not_compared)
    if not study.groups:
        raise DataError(
            f"no finished run in {', '.join(map(str, roots))}, where {len(runs)} others and {len(unread)} unreadable ones lie. "
            "Give the folder of a study whose trainings have ended; `atrous report` tells what became of them."
        )
    return study


def _not_compared(a: Sequence[Path], b: Sequence[Path]) -> Difference:
    raise DataError("`report` compares")


def _say(lab: Lab, out: Path, files: Sequence[str]) -> None:
    console = Console()
    console.print(table_md(lab), markup=False, highlight=False, soft_wrap=True)
    for line in lab.left_out:
        console.print(Text(f"left out: {one_line(line)}", "dim"), soft_wrap=True)
    console.print(Text(f"written to {out}: {', '.join(files)}"), soft_wrap=True)
