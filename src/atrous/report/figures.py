"""The report's charts: score over a setting, score over cost, curves over training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from atrous.report.charts import COLOURS, Chart, Values, axis_limits, needs_log
from atrous.report.settings import order
from atrous.report.study import Group, Study
from atrous.runs.history import Series
from atrous.system.text import amount, duration

_POINTS = 150  # of a curve
_MOST_CURVES = 60  # groups whose metrics.csv are read
_COSTS = (("macs", "MACs of an image"), ("parameters", "parameters"), ("train_seconds", "training, s"))


def sweeps(study: Study) -> list[Chart]:
    """A chart for each setting of two or more values: lines for numbers, dots for words; one series for each combination
    of the other settings."""
    return [chart for index in range(len(study.columns)) if (chart := _sweep(study, index)) is not None]


def costs(study: Study) -> list[Chart]:
    """The main score over MACs, parameters and seconds, with the Pareto front: what no other setting beats at that cost or less."""
    return [chart for key, label in _COSTS if (chart := _cost(study, key, label)) is not None]


def curves(study: Study) -> tuple[list[Chart], int]:
    """The charts, and the number of groups that are not drawn.

    A line is the mean over a group's seeds, its band their least and greatest.
    """
    shown = study.ranked[:_MOST_CURVES]
    histories = [[run.history() for run in group.runs] for group in shown]
    charts = []
    for metric in (study.main_score.monitor, "train/loss", "val/loss"):
        series = []
        for group, runs in zip(shown, histories, strict=True):
            logged = [history[metric] for history in runs if metric in history]
            if logged:
                series.append((group, *_band(logged)))
        if series:
            charts.append(_curve(study, metric, series))
    return charts, len(study.groups) - len(shown)


def style(study: Study, group: Group) -> str:
    """The colour of a group's marks: of its own for the baseline and the best few, grey for the others."""
    number = next((index for index, other in enumerate(study.ranked[:COLOURS]) if other is group), None)
    return "rest" if number is None else f"s{number}"


def legend(study: Study, groups: Sequence[Group]) -> list[tuple[str, str]]:
    """The groups' styles and settings."""
    return [(style(study, group), study.label(group)) for group in groups]


def pareto(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Indices, by rising cost, of what no other reaches at the same cost or less."""
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        if not front or scores[index] > scores[front[-1]]:
            front.append(index)
    return front


def draw_front(chart: Chart, costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Adds the front's steps to a chart of scores over costs; returns what is on it, as `pareto`."""
    front = pareto(costs, scores)
    x = np.repeat([costs[i] for i in front], 2)[1:]
    y = np.repeat([scores[i] for i in front], 2)[:-1]
    chart.line(np.append(x, chart.x[1]), np.append(y, y[-1]), "front", "Pareto front")
    return front


def _sweep(study: Study, index: int) -> Chart | None:
    values = list(dict.fromkeys(group.values[index] for group in study.groups))
    column = study.columns[index]
    lines: dict[tuple[str, ...], list[Group]] = {}
    for group in study.groups:
        lines.setdefault(group.values[:index] + group.values[index + 1 :], []).append(group)
    if len(values) < 2 or len(lines) == len(study.groups):  # no two groups differ in this setting alone
        return None
    numbers = [_number(value) for value in values]
    numeric = not any(math.isnan(number) for number in numbers)
    if not numeric:
        values = sorted(values, key=lambda value: order((value,)))
        numbers = [float(place) for place in range(len(values))]
    place = dict(zip(values, numbers, strict=True))
    log = numeric and needs_log(numbers)
    chart = Chart(
        title=f"{study.main_score.name} over {column.name}",
        x=axis_limits(numbers, log=log) if numeric else (-0.6, len(values) - 0.4),
        y=axis_limits([score for group in study.groups for score in group.score.values]),
        x_label=column.name,
        y_label=study.main_score.name,
        log=log,
        names=() if numeric else values,
        at=_apart(numbers, log=log) if numeric else (),
    )
    names: list[tuple[str, str]] = []
    for number, (others, groups) in enumerate(lines.items()):
        tint = f"s{number}" if len(lines) <= COLOURS else "rest"
        shift = 0.0 if numeric or len(lines) == 1 else 0.5 * (number / (len(lines) - 1) - 0.5)
        pairs = zip(study.columns[:index] + study.columns[index + 1 :], others, strict=True)
        names.append((tint, ", ".join(f"{other.name}={value}" for other, value in pairs)))
        groups.sort(key=lambda group: place[group.values[index]])
        across = np.array([place[group.values[index]] + shift for group in groups])
        if numeric:
            chart.line(across, np.array([group.score.mean for group in groups]), tint, names[-1][1])
        for x, group in zip(across.tolist(), groups, strict=True):
            label = f"{study.label(group)}: {group.score.text()}, n={group.n}"
            chart.spread(x, group.score, tint, label, group.id)
    chart.legend = names if len(lines) > 1 else ()
    return chart


def _cost(study: Study, key: str, label: str) -> Chart | None:
    groups = [group for group in study.groups if group.cost(key) > 0]
    if len(groups) < 2:
        return None
    spent, scores = [group.cost(key) for group in groups], [group.score.mean for group in groups]
    log = needs_log(spent)
    chart = Chart(
        title=f"{study.main_score.name} over {label}",
        x=axis_limits(spent, log=log),
        y=axis_limits(scores),
        x_label=label,
        y_label=study.main_score.name,
        log=log,
    )
    front = draw_front(chart, spent, scores)
    for index, group in enumerate(groups):
        spending = duration(spent[index]) if key == "train_seconds" else f"{amount(spent[index])} {key}"
        title = f"{study.label(group)}: {group.score.text()} at {spending}"
        chart.dot(spent[index], scores[index], f"{style(study, group)}{' best' * (index in front)}", title, group.id)
    chart.legend = legend(study, groups)
    return chart


def _curve(study: Study, metric: str, series: Sequence[tuple[Group, Values, Values, Values, Values]]) -> Chart:
    steps = [step for _, x, *_ in series for step in (x[0], x[-1])]
    ends = [value for _, _, _, low, high in series for value in (low.min(), high.max())]
    x = (min(steps), max(steps)) if max(steps) > min(steps) else (min(steps) - 1, max(steps) + 1)
    chart = Chart(title=f"{metric} over updates", x=x, y=axis_limits(ends), x_label="updates", y_label=metric)
    for group, at, mean, low, high in reversed(series):  # the baseline and the best on top
        tint = style(study, group)
        if tint != "rest" and group.n > 1:
            chart.band(at, low, high, tint)
        if len(at) > 1:
            chart.line(at, mean, tint, study.label(group))
        else:
            chart.dot(at[0], mean[0], tint, study.label(group))
    chart.legend = legend(study, [entry[0] for entry in series])
    return chart


def _band(runs: Sequence[Series]) -> tuple[Values, Values, Values, Values]:
    """Steps, and over the runs the mean, least and greatest value there; many steps are gathered into fewer means."""
    start, stop = (float(end(np.concatenate([steps for steps, _ in runs]))) for end in (np.min, np.max))
    if sum(len(np.unique(steps)) for steps, _ in runs) <= _POINTS * len(runs):
        edges = np.unique(np.concatenate([steps for steps, _ in runs]))
    else:
        edges = np.linspace(start, stop, _POINTS + 1)[:-1]
    total, many = np.zeros((len(runs), len(edges))), np.zeros((len(runs), len(edges)))
    for row, (steps, values) in enumerate(runs):
        bins = np.searchsorted(edges, steps, side="right") - 1
        np.add.at(total[row], bins, values)
        np.add.at(many[row], bins, 1)
    full = np.where(many > 0, total / np.maximum(many, 1), np.nan)
    kept = many.any(0)
    full, edges = full[:, kept], edges[kept]
    return edges, np.nanmean(full, 0), np.nanmin(full, 0), np.nanmax(full, 0)


def _apart(numbers: Sequence[float], *, log: bool) -> Sequence[float]:
    """The settings' own values as an axis's numbers, where they are few and none hides another; else nothing."""
    places = sorted(map(math.log, numbers) if log else numbers)
    gaps = [after - before for before, after in itertools.pairwise(places)]
    return numbers if len(numbers) <= 8 and min(gaps) > 0.09 * (places[-1] - places[0]) else ()


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
