"""The dilation lab's charts: score over context distance, receptive field, object size and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from atrous.lab.data import SIZES, Lab, Variant
from atrous.lab.tables import COSTS, Column
from atrous.report.charts import Chart, axis_limits, needs_log
from atrous.report.figures import draw_front
from atrous.report.study import Spread

COIN = {"iou": 1 / 3, "right": 1 / 2}  # of a network that finds every field and tosses a coin for its class
FIELDS = {"effective": "effective receptive field", "theoretical": "theoretical receptive field"}
_NAMES = {"iou": "context IoU", "right": "right class"}


def figures(lab: Lab) -> dict[str, list[list[Chart]]]:
    """By section, the figures that there is something to draw for, each of one or more charts below each other."""
    below = [context(lab, "iou"), reach(lab)]
    found: dict[str, list[Sequence[Chart | None]]] = {
        "context": [below if below[0] else [], [context(lab, "right")], *([ratio(lab, kind)] for kind in FIELDS)],
        "fields": [[over_field(lab, kind)] for kind in FIELDS],
        "sizes": [[sizes(lab)]],
        "cost": [[over_cost(lab, cost)] for cost in COSTS],
        "valid": [[valid(lab)]],
    }
    drawn = {name: [[c for c in charts if c is not None] for charts in group] for name, group in found.items()}
    return {name: [charts for charts in group if charts] for name, group in drawn.items()}


def field_of(variant: Variant, kind: str) -> float:
    """The `effective` or `theoretical` receptive field in pixels; NaN where it is not known or the whole image."""
    return variant.effective.mean if kind == "effective" else variant.field


def context(lab: Lab, key: str) -> Chart | None:
    """`iou` or `right` over the context distance, a line for each setting; None where there is nothing to draw."""
    values = [variant.context(distance, key) for variant in lab.variants for distance in _placed(lab)]
    if not any(spread.values for spread in values):
        return None
    chart = Chart(
        title=f"{_NAMES[key]} over context distance",
        x=_distance_limits(lab),
        y=_score_limits(values, COIN[key]),
        x_label="pixels from the marker to its field",
        y_label=_NAMES[key],
        log=True,
        at=_placed(lab),
        legend=lab.legend,
    )
    _draw_coin(chart, key)
    for variant in lab.variants:
        _draw(chart, variant, [(float(d), variant.context(d, key), f"{d} px") for d in _placed(lab)])
    return chart


def reach(lab: Lab) -> Chart | None:
    """How far up and down each setting's fields reach, half their size, on the axis of `context`, a row each."""
    rows = [variant for variant in lab.variants if variant.effective.values or variant.raw["sees"]]
    if not rows or not _placed(lab):
        return None
    ends = _distance_limits(lab)
    chart = Chart(
        title="reach of the receptive fields: half their size",
        x=ends,
        y=(-len(rows) - 0.2, 0.2),
        x_label="half the field, pixels: thick effective, thin theoretical",
        y_label="",
        log=True,
        height=64 + 14 * len(rows),
        rows=True,
    )
    for row, variant in enumerate(rows):
        y = -row - 0.5
        for kind in ("theoretical", "effective"):
            half = field_of(variant, kind) / 2
            if kind == "theoretical" and variant.raw["sees"] and math.isnan(half):
                half = ends[1]  # the whole image
            if half > ends[0]:
                length = "the whole image" if half == ends[1] else f"{half:.0f} px"
                label = f"{variant.label}: {kind} reach {length}"
                chart.line(np.array([ends[0], min(half, ends[1])]), np.array([y, y]), f"{variant.style} {kind}", label)
                if half < ends[1]:
                    chart.dot(half, y, variant.style, label, variant.id, radius=4.5 if kind == "effective" else 3)
    return chart


def ratio(lab: Lab, kind: str) -> Chart | None:
    """IoU of the context classes over distance / reach: beyond 1 the marker lies outside the field."""
    points = {
        variant.id: [(2 * d / field_of(variant, kind), variant.context(d), f"{d} px") for d in _placed(lab)]
        for variant in lab.variants
        if field_of(variant, kind) > 0
    }
    flat = [(x, spread) for series in points.values() for x, spread, _ in series if spread.values]
    if not flat:
        return None
    chart = Chart(
        title=f"{_NAMES['iou']} over distance / {kind} reach",
        x=axis_limits([x for x, _ in flat] + [1.0], log=True),
        y=_score_limits([spread for _, spread in flat], COIN["iou"]),
        x_label=f"distance / half the {FIELDS[kind]}",
        y_label=_NAMES["iou"],
        log=True,
        legend=lab.legend,
    )
    _draw_coin(chart, "iou")
    chart.line(np.ones(2), np.array(chart.y), "front", "the marker at the field's edge")
    for variant in lab.variants:
        _draw(chart, variant, points.get(variant.id, []))
    return chart


def sizes(lab: Lab) -> Chart | None:
    """Recall of objects by their size."""
    known = [size for size in SIZES if any(variant.recall(size).values for variant in lab.variants)]
    if not known:
        return None
    chart = Chart(
        title="recall of connected parts by size",
        x=(-0.5, len(known) - 0.5),
        y=_score_limits([variant.recall(size) for variant in lab.variants for size in known]),
        x_label="size of a connected part of the truth",
        y_label="recall, mean over classes",
        names=known,
        legend=lab.legend,
    )
    count = max(1, len(lab.variants) - 1)
    for number, variant in enumerate(lab.variants):
        shift = 0.5 * (number / count - 0.5) if len(lab.variants) > 1 else 0.0
        _draw(chart, variant, [(i + shift, variant.recall(size), size) for i, size in enumerate(known)], joined=False)
    return chart


def over_field(lab: Lab, kind: str) -> Chart | None:
    """mIoU over a receptive field."""
    known = [variant for variant in lab.variants if field_of(variant, kind) > 0]
    if len(known) < 2:
        return None
    fields = [field_of(variant, kind) for variant in known]
    chart = _over(lab, FIELDS[kind], f"{FIELDS[kind]}, pixels", fields, known)
    for variant, field in zip(known, fields, strict=True):
        _draw(chart, variant, [(field, variant.miou, f"{field:.0f} px")])
    return chart


def over_cost(lab: Lab, cost: Column) -> Chart | None:
    """mIoU over one of `COSTS`, with the Pareto front."""
    known = [variant for variant in lab.variants if cost.of(variant) > 0]
    if len({cost.of(variant) for variant in known}) < 2:  # there is nothing to choose
        return None
    costs = [cost.scale * cost.of(variant) for variant in known]
    chart = _over(lab, cost.name, cost.name, costs, known)
    front = draw_front(chart, costs, [variant.miou.mean for variant in known])
    for index, (variant, x) in enumerate(zip(known, costs, strict=True)):
        label = f"{cost.name} {cost.text(variant)}"
        _draw(chart, variant, [(x, variant.miou, label)], mark=" best" * (index in front))
    return chart


def valid(lab: Lab) -> Chart | None:
    """The share of valid weights over the rate, a grey line for each size of map and a dot for each rate of a setting."""
    maps = {first.size: first for variant in lab.variants for first in variant.maps[:1]}
    if not maps:
        return None
    rates = [rate.rate for variant in lab.variants for first in variant.maps[:1] for rate in first.rates]
    longest = max(*(len(one.curve) for one in maps.values()), max(rates) + 1)
    chart = Chart(
        title="valid weights of a 3 x 3 convolution over its rate; grey: a map's size",
        x=(0, longest + 0.5),
        y=(0, 1.06),
        x_label="rate, places of the map",
        y_label="share of weights on the map",
        legend=lab.legend,
    )
    for (height, width), one in maps.items():
        curve = np.array([*one.curve, *[1 / 9] * (longest - len(one.curve))])  # beyond the map it is a 1 x 1
        chart.line(np.arange(1.0, longest + 1), curve, "curve", f"a map of {height} x {width}")
    for variant in lab.variants:
        for rate in variant.maps[0].rates if variant.maps else ():
            label = f"{variant.label}: rate {rate.rate}, {rate.valid:.1%} of its weights on the map"
            chart.dot(rate.rate, rate.valid, variant.style, label, variant.id)
    return chart


def _over(lab: Lab, name: str, x_label: str, places: Sequence[float], variants: Sequence[Variant]) -> Chart:
    """An empty chart of the settings' mIoU."""
    log = needs_log(places)
    return Chart(
        title=f"mIoU over {name}",
        x=axis_limits(places, log=log),
        y=_score_limits([variant.miou for variant in variants]),
        x_label=x_label,
        y_label="mIoU",
        log=log,
        legend=lab.legend,
    )


def _draw(
    chart: Chart,
    variant: Variant,
    points: Sequence[tuple[float, Spread, str]],
    *,
    joined: bool = True,
    mark: str = "",
) -> None:
    """A setting's means with whiskers of ± one standard deviation and its runs as small dots."""
    known = [point for point in points if point[1].values]
    if joined and len(known) > 1:
        means = [spread.mean for _, spread, _ in known]
        chart.line(np.array([x for x, *_ in known]), np.array(means), variant.style, variant.label)
    for x, spread, place in known:
        label = f"{variant.label}: {spread.text()} (n={len(spread.values)}) at {place}"
        chart.spread(x, spread, variant.style, label, variant.id, mark=mark)


def _draw_coin(chart: Chart, key: str) -> None:
    chart.line(np.array(chart.x), np.full(2, COIN[key]), "front", "every field found, its class by a coin")


def _score_limits(spreads: Sequence[Spread], *others: float) -> tuple[float, float]:
    """Ends of a vertical axis that holds runs, whiskers and what else is given."""
    ends = [end for one in spreads if one.values for end in (one.mean - one.std, one.mean + one.std)]
    values = [value for one in spreads for value in one.values]
    return axis_limits([*values, *others, *(end for end in ends if not math.isnan(end))])


def _placed(lab: Lab) -> list[int]:
    """Distances that a logarithmic axis has a place for."""
    return [distance for distance in lab.distances if distance > 0]


def _distance_limits(lab: Lab) -> tuple[float, float]:
    """Ends of the common axis of distances and reaches."""
    halves = [field_of(variant, kind) / 2 for variant in lab.variants for kind in FIELDS]
    places = [*_placed(lab), *(half for half in halves if half > 0)]
    return axis_limits([min(places), 1.02 * max(places)], log=True)
