"""Text of unknown origin (file names, settings, class names, errors) made fit for terminals, HTML, Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def printable(text: object, keep: str = "") -> str:
    """Escapes control characters and undecodable bytes, but for those in `keep`: a file's name can't steer the terminal."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in str(text))


def one_line(text: object, longest: int = 2000) -> str:
    """`printable` text with single spaces in place of white space, the middle left out of a long one."""
    line = printable(" ".join(str(text).split()))
    half = longest // 2
    return line if len(line) <= longest else f"{line[:half]} … {line[-half:]}"


def escape(text: object, longest: int = 2000) -> str:
    """`one_line` for HTML, inside elements and quoted attributes."""
    return html.escape(one_line(text, longest))


def markdown(text: object) -> str:
    """`one_line` for a cell of a Markdown table."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", html.escape(one_line(text), quote=False))


def latex(text: object) -> str:
    """`one_line` for a cell of a LaTeX table. What pdfLaTeX has no sign for by default becomes a question mark."""
    line = "".join(_LATEX.get(c, c if c.isascii() or c in _LATIN else "?") for c in one_line(text))
    return re.sub("-(?=-)", "-{}", line)  # no dashes out of two hyphens


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # behind a row's end it would open an option
    "*": "{*}",  # likewise
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "…": r"\ldots{}",
}
_LATIN = set("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")


def setting(value: Any) -> str:
    """A setting's value as it is typed on the command line; equal for equal numbers."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, list):
        return f"[{','.join(map(setting, value))}]"
    return json.dumps(value, default=str) if isinstance(value, dict) else str(value)


def number(value: Any) -> float:
    """A number out of JSON; NaN where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def score(value: float, style: str = ".3f") -> str:
    """A score for people; an en dash where there is none."""
    return "–" if math.isnan(value) else f"{value:{style}}"


def amount(value: float, unit: str = "") -> str:
    """A large number for people, such as 5.98 M."""
    if math.isnan(value):
        return "–"
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def short(path: Path) -> Path:
    """Relative to the current folder where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file: `printable` cells in one line each; None is an empty one."""
    text = io.StringIO()
    for row in (head, *rows):
        csv.writer(text, lineterminator="\n").writerow(["" if cell is None else printable(cell) for cell in row])
    return text.getvalue()


def in_full(value: float) -> str:
    """A number in full; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.10g}"
