"""The results as text: a row per run for further work (CSV), a row per setting for people (CSV, Markdown, LaTeX)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from atrous.report.study import Group, Study
from atrous.system.text import amount, csv_text, duration, in_full, latex, markdown, number

_SCORES = ("miou", "dice", "pixel_accuracy", "class_accuracy", "fwiou")
_COSTS = ("parameters", "macs", "train_seconds", "peak_memory_bytes")


def runs_csv(study: Study) -> str:
    """A row per run, failed ones too, then one per folder that could not be read. Costs in seconds and bytes."""
    classes = list(dict.fromkeys(name for run in study.runs for name in run.classes))
    head = ["number", "folder", "status", *(column.key for column in study.columns), "seed", *_SCORES]
    head += [f"iou/{name}" for name in classes]
    head += [*_COSTS, "epochs", "steps", "started", "ended", "commit", "error", "command"]
    rows: list[list[Any]] = []
    for run, values in zip(study.runs, study.values, strict=True):
        iou = dict(zip(run.classes, run.iou.tolist(), strict=True))
        row = [study.numbers[run.folder], run.folder, run.status, *values, run.seed]
        row += [in_full(number(run.part("scores").get(key))) for key in _SCORES]
        row += [in_full(iou.get(name, math.nan)) for name in classes]
        row += [in_full(run.cost(key)) for key in _COSTS]
        row += [in_full(number(run.result.get(key))) for key in ("epochs", "steps")]
        row += [run.result.get("started", ""), run.result.get("ended", ""), run.commit, run.error, run.command]
        rows.append(row)
    empty = [""] * len(head)
    for left in study.unread:
        row = [*empty]
        row[1:3] = [left.folder, "unreadable"]
        row[head.index("error", len(head) - 2)] = left.reason
        rows.append(row)
    return csv_text(head, rows)


def table_csv(study: Study) -> str:
    """A row per setting, numbers in full."""
    head = [*(column.key for column in study.columns), "n", study.main_score.key, f"{study.main_score.key}_std"]
    head += ["difference", "difference_low", "difference_high", "verdict", *_COSTS]
    rows = []
    for group in study.groups:
        found = group.difference
        gap = ["", "", ""] if found is None else [in_full(found.score), in_full(found.low), in_full(found.high)]
        costs = [in_full(group.cost(key)) for key in _COSTS]
        rows.append(
            [*group.values, group.n, in_full(group.score.mean), in_full(group.score.std), *gap, group.verdict, *costs]
        )
    return csv_text(head, rows)


def table_md(study: Study) -> str:
    """The table for a README."""
    head, rows = _table(study)
    return markdown_table(head, rows, left=len(study.columns))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """A Markdown table whose first `left` columns stand left, the others right."""
    cells = [[markdown(cell) for cell in line] for line in (head, *rows)]
    cells.insert(1, ["---"] * left + ["---:"] * (len(head) - left))
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def table_tex(study: Study) -> str:
    r"""The table for a paper; needs \usepackage{booktabs}."""
    head, rows = _table(study)
    settings = len(study.columns)
    lines = [" & ".join(map(latex, line)) + r" \\" for line in [head, *rows]]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            rf"\begin{{tabular}}{{@{{}}{'l' * settings}{'r' * (len(head) - settings)}@{{}}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def interval(group: Group) -> str:
    """The difference and its interval, `+0.012 [−0.003, +0.027]`; empty where there is none."""
    found = group.difference
    if found is None:
        return ""
    return f"{found.score:+.3f} [{found.low:+.3f}, {found.high:+.3f}]".replace("-", "−")


def _table(study: Study) -> tuple[list[str], list[list[str]]]:
    compared = study.baseline is not None
    head = [
        *(column.name for column in study.columns),
        "n",
        study.main_score.name,
        *["difference", "verdict"] * compared,
    ]
    head += ["parameters", "MACs", "training"]
    rows = []
    for group in study.groups:
        row = [*group.values, str(group.n), group.score.text(), *[interval(group), group.verdict] * compared]
        row += [amount(group.cost("parameters")), amount(group.cost("macs")), duration(group.cost("train_seconds"))]
        rows.append(row)
    return head, rows
