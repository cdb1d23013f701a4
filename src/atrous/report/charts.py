"""Charts as SVG text, to stand in an HTML page whose style sheet colours them (classes s0 to s7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from atrous.report.study import Spread
from atrous.system.text import amount, escape

WIDTH, HEIGHT = 440, 280
COLOURS = 8  # series that the style sheet tells apart
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 44
Values = NDArray[np.float64]


@dataclass
class Chart:
    """One pair of axes. Marks are added in the data's units and drawn by `svg`.

    Args:
        title: What a screen reader says of it.
        x: The ends of the horizontal axis.
        y: The ends of the vertical one.
        x_label, y_label: Below and above the axes.
        log: Whether the horizontal axis is logarithmic.
        names: The places 0, 1, ... of the horizontal axis, where it has names instead of numbers.
        at: Where the horizontal axis has its numbers; empty: at round ones.
        height: Of the whole chart, of a width of `WIDTH`.
        rows: Whether the vertical axis stands for rows without numbers.
        legend: Styles, s0 to s7 or rest, and names of the series.
    """

    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    log: bool = False
    names: Sequence[str] = ()
    at: Sequence[float] = ()
    height: int = HEIGHT
    rows: bool = False
    legend: Sequence[tuple[str, str]] = ()
    _marks: list[str] = field(default_factory=list)

    def line(self, x: Values, y: Values, style: str, title: str = "") -> None:
        points = " ".join(f"{self._across(a):.1f},{self._up(b):.1f}" for a, b in zip(x, y, strict=True))
        self._marks.append(f'<polyline class="line {style}" points="{points}">{_title(title)}</polyline>')

    def band(self, x: Values, low: Values, high: Values, style: str) -> None:
        there = [f"{self._across(a):.1f},{self._up(b):.1f}" for a, b in zip(x, high, strict=True)]
        back = [f"{self._across(a):.1f},{self._up(b):.1f}" for a, b in zip(x[::-1], low[::-1], strict=True)]
        self._marks.append(f'<polygon class="band {style}" points="{" ".join(there + back)}"/>')

    def bar(self, x: float, low: float, high: float, style: str) -> None:
        """A whisker."""
        across = self._across(x)
        self._marks.append(
            f'<line class="line {style}" x1="{across:.1f}" x2="{across:.1f}" y1="{self._up(low):.1f}" '
            f'y2="{self._up(high):.1f}"/>'
        )

    def dot(self, x: float, y: float, style: str, title: str, link: str = "", *, radius: float = 4.5) -> None:
        circle = (
            f'<circle class="dot {style}" cx="{self._across(x):.1f}" cy="{self._up(y):.1f}" r="{radius}">'
            f"{_title(title)}</circle>"
        )
        self._marks.append(f'<a href="#{escape(link)}" aria-label="{escape(title)}">{circle}</a>' if link else circle)

    def __html__(self) -> str:
        """For templates."""
        return self.svg()

    def spread(self, x: float, spread: Spread, style: str, label: str, link: str, *, mark: str = "") -> None:
        """A mean with a whisker of ± one standard deviation, and a small dot for each value."""
        if not math.isnan(spread.std):
            self.bar(x, spread.mean - spread.std, spread.mean + spread.std, style)
            for value in spread.values:
                self.dot(x, value, f"{style} seed", "", radius=2)
        self.dot(x, spread.mean, f"{style}{mark}", label, link)

    def svg(self) -> str:
        parts = [f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(self.title)}">']
        for value in () if self.rows else ticks(*self.y):
            up = self._up(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{up:.1f}" y2="{up:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{value:.4g}</text>')
        for value, text in self._places():
            across = self._across(value)
            parts.append(
                f'<line class="grid" x1="{across:.1f}" x2="{across:.1f}" y1="{self.height - _BOTTOM}" y2="{self.height - _BOTTOM + 4}"/>'
                f'<text x="{across:.1f}" y="{self.height - _BOTTOM + 17}" text-anchor="middle">{escape(text)}</text>'
            )
        parts.append(
            f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{self.height - _BOTTOM}" y2="{self.height - _BOTTOM}"/>'
            f'<text class="label" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(_cut(self.x_label, 60))}</text>"
            f'<text class="label" transform="translate(11 {(self.height - _BOTTOM + _TOP) / 2}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y_label)}</text>'
        )
        return "".join([*parts, *self._marks, "</svg>"])

    def _places(self) -> list[tuple[float, str]]:
        if self.names:
            room = int(62 / max(1, len(self.names)))
            step = -(-len(self.names) // 14)
            return [(float(i), _cut(name, max(4, room * step))) for i, name in enumerate(self.names) if i % step == 0]
        return [(value, amount(value).strip()) for value in self.at or ticks(*self.x, log=self.log)]

    def _across(self, value: float) -> float:
        low, high = self.x
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low)

    def _up(self, value: float) -> float:
        low, high = self.y
        return self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * (value - low) / (high - low)


def ticks(low: float, high: float, *, log: bool = False) -> list[float]:
    """Round numbers from `low` to `high`, about five."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            found = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
            if len(found) >= 3:
                return found[:: -(-len(found) // 6)]
        return [low, high]
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * index, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def axis_limits(values: Sequence[float] | Values, *, log: bool = False) -> tuple[float, float]:
    """Ends of an axis: the values with a margin, and never of length 0."""
    low, high = float(np.min(values)), float(np.max(values))
    if log:
        margin = (high / low) ** 0.06 if high > low else 2.0
        return low / margin, high * margin
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 0.5
    return low - margin, high + margin


def needs_log(values: Sequence[float]) -> bool:
    """Whether values are better seen on a logarithmic axis."""
    return min(values) > 0 and max(values) / min(values) >= 10


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
