"""The dilation lab's charts: score over context distance, receptive field, object size and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from atrous.lab.data import SIZES, Lab, Spread, Variant
from atrous.lab.tables import COST_NAMES, cost_text
from atrous.report.charts import Chart, span, wide
from atrous.report.figures import draw_front

COIN = {"iou": 1 / 3, "right": 1 / 2}  # of a network that finds every field and tosses a coin for its class
_NAMES = {"iou": "context IoU", "right": "right class"}
_FIELDS = {"effective": "effective receptive field", "theoretical": "theoretical receptive field"}


def field_of(variant: Variant, kind: str) -> float:
    """The `effective` or `theoretical` receptive field in pixels; NaN where it is not known or the whole image."""
    return variant.effective.mean if kind == "effective" else variant.field


def context(lab: Lab, key: str) -> Chart | None:
    """`iou` or `right` over the context distance, a line for each setting; None where there is nothing to draw."""
    found = [(variant, distance) for variant in lab.variants for distance in _placed(lab)]
    values = [variant.context(distance, key) for variant, distance in found]
    if not any(spread.values for spread in values):
        return None
    chart = Chart(
        title=f"{_NAMES[key]} over context distance",
        x=_across(lab),
        y=_up(values, COIN[key]),
        x_label="pixels from the marker to its field",
        y_label=_NAMES[key],
        log=True,
        at=_placed(lab),
    )
    _coin(chart, key)
    for variant in lab.variants:
        _series(chart, variant, [(float(d), variant.context(d, key), f"{d} px") for d in _placed(lab)])
    return chart


def reach(lab: Lab) -> Chart | None:
    """How far up and down each setting's fields reach, half their size, on the axis of `context`, a row each."""
    rows = [variant for variant in lab.variants if variant.effective.values or variant.raw["sees"]]
    if not rows or not _placed(lab):
        return None
    ends = _across(lab)
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
                told = "the whole image" if half == ends[1] else f"{half:.0f} px"
                name = f"{variant.label}: {kind} reach {told}"
                chart.line(np.array([ends[0], min(half, ends[1])]), np.array([y, y]), f"{variant.style} {kind}", name)
                if half < ends[1]:
                    chart.dot(half, y, variant.style, name, variant.id, radius=4.5 if kind == "effective" else 3)
    return chart


def ratio(lab: Lab, kind: str) -> Chart | None:
    """IoU of the context classes over distance / reach: beyond 1 the marker lies outside the field."""
    points = {
        variant.id: [(2 * d / field_of(variant, kind), variant.context(d), f"{d} px") for d in _placed(lab)]
        for variant in lab.variants
        if field_of(variant, kind) > 0
    }
    flat = [(x, spread) for found in points.values() for x, spread, _ in found if spread.values]
    if not flat:
        return None
    chart = Chart(
        title=f"IoU of the context classes over distance / {kind} reach",
        x=span([x for x, _ in flat] + [1.0], log=True),
        y=_up([spread for _, spread in flat], COIN["iou"]),
        x_label=f"distance / half the {_FIELDS[kind]}",
        y_label=_NAMES["iou"],
        log=True,
    )
    _coin(chart, "iou")
    chart.line(np.ones(2), np.array(chart.y), "front", "the marker at the field's edge")
    for variant in lab.variants:
        _series(chart, variant, points.get(variant.id, []))
    return chart


def sizes(lab: Lab) -> Chart | None:
    """Recall of objects by their size."""
    shown = [size for size in SIZES if any(variant.recall(size).values for variant in lab.variants)]
    if not shown:
        return None
    chart = Chart(
        title="recall of connected parts by size",
        x=(-0.5, len(shown) - 0.5),
        y=_up([variant.recall(size) for variant in lab.variants for size in shown]),
        x_label="size of a connected part of the truth",
        y_label="recall, mean over classes",
        names=shown,
    )
    count = max(1, len(lab.variants) - 1)
    for number, variant in enumerate(lab.variants):
        shift = 0.5 * (number / count - 0.5) if len(lab.variants) > 1 else 0.0
        _series(chart, variant, [(i + shift, variant.recall(size), size) for i, size in enumerate(shown)], joined=False)
    return chart


def over_field(lab: Lab, kind: str) -> Chart | None:
    """mIoU over a receptive field."""
    found = [variant for variant in lab.variants if field_of(variant, kind) > 0]
    if len(found) < 2:
        return None
    places = [field_of(variant, kind) for variant in found]
    log = wide(places)
    chart = Chart(
        title=f"mIoU over {_FIELDS[kind]}",
        x=span(places, log=log),
        y=_up([variant.miou for variant in found]),
        x_label=f"{_FIELDS[kind]}, pixels",
        y_label="mIoU",
        log=log,
    )
    for variant, place in zip(found, places, strict=True):
        _series(chart, variant, [(place, variant.miou, f"{place:.0f} px")])
    return chart


def over_cost(lab: Lab, key: str) -> Chart | None:
    """mIoU over a cost of `COST_NAMES`, with the Pareto front."""
    found = [variant for variant in lab.variants if variant.cost(key) > 0]
    if len({variant.cost(key) for variant in found}) < 2:  # there is nothing to choose
        return None
    unit = {"latency": 1e3, "cpu": 1e3, "inference": 2.0**-20, "training": 2.0**-20}.get(key, 1.0)
    spent = [unit * variant.cost(key) for variant in found]
    log = wide(spent)
    chart = Chart(
        title=f"mIoU over {COST_NAMES[key]}",
        x=span(spent, log=log),
        y=_up([variant.miou for variant in found]),
        x_label=COST_NAMES[key],
        y_label="mIoU",
        log=log,
    )
    front = draw_front(chart, spent, [variant.miou.mean for variant in found])
    for index, (variant, place) in enumerate(zip(found, spent, strict=True)):
        told = f"{COST_NAMES[key]} {cost_text(variant, key)}"
        _series(chart, variant, [(place, variant.miou, told)], mark=" best" * (index in front))
    return chart


def valid(lab: Lab) -> Chart | None:
    """The share of valid weights over the rate, a grey line for each size of map and a dot for each rate of a setting."""
    maps = {found.size: found for variant in lab.variants for found in variant.maps[:1]}
    if not maps:
        return None
    rates = [rate.rate for variant in lab.variants for found in variant.maps[:1] for rate in found.rates]
    longest = max(*(len(found.curve) for found in maps.values()), max(rates) + 1)
    chart = Chart(
        title="valid weights of a 3 x 3 convolution over its rate",
        x=(0, longest + 0.5),
        y=(0, 1.06),
        x_label="rate, places of the map",
        y_label="share of weights on the map",
    )
    for (height, width), found in maps.items():
        curve = np.array([*found.curve, *[1 / 9] * (longest - len(found.curve))])  # beyond the map it is a 1 x 1
        chart.line(np.arange(1.0, longest + 1), curve, "curve", f"a map of {height} x {width}")
    for variant in lab.variants:
        for rate in variant.maps[0].rates if variant.maps else ():
            told = f"{variant.label}: rate {rate.rate}, {rate.valid:.1%} of its weights on the map"
            chart.dot(rate.rate, rate.valid, variant.style, told, variant.id)
    return chart


def _series(
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
    for x, spread, told in known:
        if not math.isnan(spread.std):
            chart.bar(x, spread.mean - spread.std, spread.mean + spread.std, variant.style)
            for value in spread.values:
                chart.dot(x, value, f"{variant.style} seed", "", radius=2)
        title = f"{variant.label}: {spread.text()} (n={len(spread.values)}) at {told}"
        chart.dot(x, spread.mean, f"{variant.style}{mark}", title, variant.id)


def _coin(chart: Chart, key: str) -> None:
    chart.line(np.array(chart.x), np.full(2, COIN[key]), "front", "every field found, its class by a coin")


def _up(spreads: Sequence[Spread], *others: float) -> tuple[float, float]:
    """Ends of a vertical axis that holds runs, whiskers and what else is given."""
    ends = [end for one in spreads if one.values for end in (one.mean - one.std, one.mean + one.std)]
    values = [value for one in spreads for value in one.values]
    return span([*values, *others, *(end for end in ends if not math.isnan(end))])


def _placed(lab: Lab) -> list[int]:
    """Distances that a logarithmic axis has a place for."""
    return [distance for distance in lab.distances if distance > 0]


def _across(lab: Lab) -> tuple[float, float]:
    """The common axis of distances and reaches."""
    halves = [field_of(variant, kind) / 2 for variant in lab.variants for kind in _FIELDS]
    known = [half for half in halves if half > 0]
    low = min([*_placed(lab), *known])
    high = max([*_placed(lab), *known])
    return span([low, high * 1.02], log=True)
