"""From a study's folders to the lab's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atrous.errors import DataError
from atrous.lab.collect import Collector
from atrous.lab.data import Lab, read
from atrous.lab.page import figures, page
from atrous.lab.store import Store
from atrous.lab.tables import runs_csv, table_csv, table_md
from atrous.report.read import read_study
from atrous.runs.record import now
from atrous.system.files import to_json, write_text
from atrous.system.text import short


def write_lab(
    roots: Sequence[Path], out: Path, settings: Mapping[str, Any], overrides: Sequence[str], *, command: str
) -> tuple[Lab, list[str]]:
    """Measures what is not known yet, and writes the page, its tables and figures, and lab.json.

    Args:
        roots: Folders that hold run folders.
        out: The folder to write to; what is measured is kept in it, in `measured`.
        settings: Those of conf/lab.yaml.
        overrides: Changes to the data or inference of the checkpoints.
        command: What the page says was typed.

    Returns:
        What was written, and the names of the files.

    Raises:
        DataError: If there is no finished run.
    """
    study = read_study(roots, compared=False)
    if not study.groups:
        raise DataError(
            f"no finished run in {', '.join(map(str, roots))}, where {len(study.runs)} others and {len(study.unread)} unreadable "
            "ones lie. Give the folder of a study whose trainings have ended; `atrous report` tells what became of them."
        )
    measured = Collector(study, dict(settings), list(overrides), Store(out / "measured")).collect()
    title = f"Dilation lab: {', '.join(str(short(root.resolve())) for root in roots)}"
    text = to_json({"title": title, "command": command, "created": now(), **measured})
    lab = read(json.loads(text))  # what is read from the file later is what is shown now
    files = {
        "lab.html": page(lab, out=out.resolve()),
        "lab.csv": table_csv(lab),
        "runs.csv": runs_csv(lab),
        "table.md": table_md(lab),
        **{f"{name}.svg": text for name, text in figures(lab).items()},
        "lab.json": text,
    }
    for name, text in files.items():
        write_text(out / name, text)
    return lab, list(files)
