"""Charts as SVG files that stand by themselves, for a README: light, with a white ground, colours written out."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from atrous.pages.frame import source
from atrous.report.charts import WIDTH
from atrous.system.text import escape

_GAP, _CAPTION, _LINE = 26, 24, 18


def standalone(
    figures: Sequence[tuple[str, Sequence[str]]], legend: Sequence[tuple[str, str]], *, columns: int = 2
) -> str:
    """Several figures over one legend.

    Args:
        figures: Captions, and SVG elements with a viewBox that stand below each other.
        legend: Styles, s0 to s7 or rest, and names.
        columns: Figures side by side.
    """
    columns = min(columns, len(figures))
    width = columns * WIDTH + (columns - 1) * _GAP
    parts, top = [], 0.0
    for start in range(0, len(figures), columns):
        bottom = top
        for place, (caption, drawn) in enumerate(figures[start : start + columns]):
            x, y = place * (WIDTH + _GAP), top + _CAPTION
            parts.append(f'<text class="label" font-weight="600" x="{x + 4}" y="{top + 16}">{escape(caption)}</text>')
            for svg in drawn:
                height = _height(svg)
                inner = re.sub(r"</?a\b[^>]*>", "", svg)  # what the page's marks link to is not here
                size = f'x="{x}" y="{y:.0f}" width="{WIDTH}" height="{height:.0f}"'
                parts.append(inner.replace("<svg ", f"<svg {size} ", 1))
                y += height
            bottom = max(bottom, y)
        top = bottom + 8
    for style, name in legend:
        parts.append(f'<rect class="dot {style}" x="8" y="{top + 3}" width="12" height="12" rx="3"/>')
        parts.append(f'<text class="label" x="26" y="{top + 13}">{escape(name, 120)}</text>')
        top += _LINE
    size = f"{width + 16:.0f} {top + 14:.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -4 {size}" width="{width + 16:.0f}" height="{top + 14:.0f}" '
        f'font-family="system-ui, sans-serif"><style>{_style()}</style>'
        f'<rect x="-8" y="-4" width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _height(svg: str) -> float:
    """At a width of `WIDTH`."""
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert match is not None  # our own charts
    return WIDTH * float(match[2]) / float(match[1])


@functools.cache
def _style() -> str:
    """The pages' rules for charts, with the light colours in place of the variables."""
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", source("pages/frame.css").partition("[data-theme=dark]")[0]))
    rules = source("pages/charts.css") + source("lab/page.css")
    return re.sub(r"var\(--([\w-]+)\)", lambda match: colours[match[1]], rules)
