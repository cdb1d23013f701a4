"""Charts as SVG files that stand by themselves, for a README: light, with a white ground, colours written out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from atrous.pages.frame import STYLE
from atrous.report.charts import COLOURS, WIDTH
from atrous.system.text import escape

_GAP, _CAPTION, _LINE = 26, 24, 18
_COLOURS = dict(re.findall(r"--([\w-]+): (#\w+)", STYLE.partition(":root[data-theme=dark]")[0]))


def standalone(drawn: Sequence[tuple[str, str]], legend: Sequence[tuple[str, str]], *, columns: int = 2) -> str:
    """Several charts over one legend.

    Args:
        drawn: Captions and SVG elements with a viewBox.
        legend: Styles, s0 to s7 or rest, and names.
        columns: Charts side by side.
    """
    columns = min(columns, len(drawn))
    width = columns * WIDTH + (columns - 1) * _GAP
    parts, y = [], 0.0
    for start in range(0, len(drawn), columns):
        row = drawn[start : start + columns]
        heights = [_height(svg) for _, svg in row]
        for place, ((caption, svg), height) in enumerate(zip(row, heights, strict=True)):
            x = place * (WIDTH + _GAP)
            parts.append(f'<text class="caption" x="{x + 4}" y="{y + 16}">{escape(caption)}</text>')
            inner = re.sub(r"</?a\b[^>]*>", "", svg)  # what the page's marks link to is not here
            parts.append(
                inner.replace("<svg ", f'<svg x="{x}" y="{y + _CAPTION}" width="{WIDTH}" height="{height:.0f}" ', 1)
            )
        y += _CAPTION + max(heights) + 8
    for number, (style, name) in enumerate(legend):
        line = y + _LINE * number
        parts.append(f'<rect class="key {style}" x="8" y="{line + 3}" width="12" height="12" rx="3"/>')
        parts.append(f'<text class="label" x="26" y="{line + 13}">{escape(name, 120)}</text>')
    height = y + _LINE * len(legend) + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -4 {width + 16:.0f} {height + 8:.0f}" width="{width + 16:.0f}" '
        f'height="{height + 8:.0f}" font-family="system-ui, sans-serif"><style>{_style()}</style>'
        f'<rect x="-8" y="-4" width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _height(svg: str) -> float:
    """At a width of `WIDTH`."""
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert match is not None  # our own charts
    return WIDTH * float(match[2]) / float(match[1])


def _style() -> str:
    ink, dim, rule, paper = (_COLOURS[name] for name in ("ink", "dim", "rule", "paper"))
    tints = [(f"s{number}", _COLOURS[f"s{number}"]) for number in range(COLOURS)] + [("rest", dim)]
    rules = "".join(
        f".line.{name}{{stroke:{colour}}}.dot.{name},.key.{name}{{fill:{colour}}}" for name, colour in tints
    )
    return (
        f"text{{fill:{dim};font-size:11px}}.label{{fill:{ink};font-size:12px}}.caption{{fill:{ink};font-size:13px;font-weight:600}}"
        f".grid,.cells{{stroke:{rule}}}.axis{{stroke:{dim}}}.line{{fill:none;stroke-width:1.8}}"
        f".front{{stroke:{dim};stroke-dasharray:4 3}}.curve{{stroke:{dim};stroke-width:1}}"
        f"{rules}.dot{{stroke:{paper}}}.dot.seed{{opacity:.55;stroke:none}}.dot.best{{stroke:{ink};stroke-width:1.6}}"
        f".line.effective{{stroke-width:6;opacity:.75}}.line.theoretical{{stroke-width:1.2}}"
        f".map{{fill:{_COLOURS['raised']};stroke:{dim}}}.cells,.frame{{fill:none}}.cells{{stroke-width:.5}}"
        f".frame{{stroke:{dim};stroke-dasharray:2 3}}.on{{fill:{_COLOURS['s0']}}}"
        f".off-map{{fill:{paper};stroke:{_COLOURS['s1']};stroke-width:1.2}}"
    )
