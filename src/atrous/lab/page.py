"""The dilation lab as one HTML page: what the settings of a study score, see and cost, joined."""

from __future__ import annotations

import math
from pathlib import Path

from atrous.lab import figures as draw
from atrous.lab.data import SIZES, Lab, Spread
from atrous.lab.svg import standalone
from atrous.lab.tables import COST_NAMES, cost_text, field_text, valid_text
from atrous.lab.taps import extent, picture, taps
from atrous.pages.frame import copyable, document, folder_link, in_a_row
from atrous.report.charts import Chart
from atrous.report.figures import figure, keys
from atrous.system.text import escape, score

STYLE = """
.line.effective { stroke-width: 6; opacity: 0.7; stroke-dasharray: none; } .line.theoretical { stroke-width: 1.2; stroke-dasharray: none; }
.curve { --c: var(--dim); stroke-width: 1; } figure .dim { font-size: 13px; margin: 4px 0; }
figure > svg + svg { margin-top: 6px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 24px 28px; }
.taps { width: 100%; height: auto; display: block; border: 1px solid var(--rule); }
.map { fill: var(--raised); stroke: var(--dim); } .cells { fill: none; stroke: var(--rule); stroke-width: 0.5; }
.frame { fill: none; stroke: var(--dim); stroke-dasharray: 2 3; } .on { fill: var(--s0); }
.off-map { fill: var(--paper); stroke: var(--s1); stroke-width: 1.2; }
.sample-on::before, .sample-off::before { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 5px; }
.sample-on::before { background: var(--s0); } .sample-off::before { border: 1.5px solid var(--s1); }
@media (max-width: 600px) { svg text { font-size: 12px; } svg .label { font-size: 12px; } }
#results td:first-child, #results th:first-child { padding-left: 4px; }
"""


def page(lab: Lab, *, out: Path) -> str:
    """The whole page.

    Args:
        lab: What to show.
        out: The folder that it will lie in; run folders are linked from there.
    """
    sections = [
        ("results", "Results", _results(lab)),
        ("context", "Context", _context(lab)),
        ("fields", "Score over receptive field", _fields(lab)),
        ("sizes", "Object size", _sizes(lab)),
        ("cost", "Score over cost", _costs(lab)),
        ("taps", "Sampling", _taps(lab)),
        ("left", "Left out", "".join(f"<p>{escape(line)}</p>" for line in lab.left_out)),
        ("runs", "Runs", _runs(lab, out)),
        ("how", "How it was measured", _how(lab)),
    ]
    runs = sum(variant.n for variant in lab.variants)
    lead = f"<p>{runs} finished {'run' if runs == 1 else 'runs'} of {len(lab.variants)} settings"
    best = max(lab.variants, key=lambda variant: variant.miou.mean)
    if len(lab.variants) > 1:
        lead += f'; highest mIoU {best.miou.text()}: <a href="#{best.id}">{escape(best.label, 300)}</a>'
    lead += f"</p><p class=dim>made {escape(lab.raw['created'])} by {copyable(str(lab.raw['command']))}</p>"
    return document(str(lab.raw["title"]), lead, sections, style=STYLE)


def figures(lab: Lab) -> dict[str, str]:
    """SVG files by their names: those of the page's charts that there is something to draw for."""
    maps = [variant for variant in lab.variants if variant.maps]
    half = extent(maps)
    groups = {
        "context": [
            ("IoU of the context classes over distance", draw.context(lab, "iou")),
            ("over distance / effective reach", draw.ratio(lab, "effective")),
            ("how far the receptive fields reach", draw.reach(lab)),
            ("over distance / theoretical reach", draw.ratio(lab, "theoretical")),
        ],
        "fields": [(f"mIoU over {kind} receptive field", draw.over_field(lab, kind)) for kind in _KINDS],
        "sizes": [("recall by size of object", draw.sizes(lab))],
        "cost": [(f"mIoU over {name}", draw.over_cost(lab, key)) for key, name in COST_NAMES.items()],
        "valid": [("valid weights over the rate", draw.valid(lab))],
    }
    legend = [(variant.style, variant.label) for variant in lab.variants]
    files = {}
    for name, charts in groups.items():
        drawn = [(caption, chart.svg()) for caption, chart in charts if chart is not None]
        if drawn:
            files[name] = standalone(drawn, legend)
    if maps:
        pictures = [(variant.label, taps(variant.maps[0], variant.label, half)) for variant in maps]
        files["taps"] = standalone(pictures, [], columns=2 if len(pictures) in (2, 4) else 3)
    return files


_KINDS = ("effective", "theoretical")


def _results(lab: Lab) -> str:
    known = {key: any(variant.cost(key) > 0 for variant in lab.variants) for key in COST_NAMES}
    recalls = [size for size in SIZES if any(variant.recall(size).values for variant in lab.variants)]
    heads = [(name, "setting", False) for name in lab.columns]
    heads += [("n", "runs, one for each seed", True), ("mIoU", "mean ± standard deviation over the runs, 0 to 1", True)]
    heads += [(size, f"recall of {size} connected parts, mean over classes, 0 to 1", True) for size in recalls]
    heads += [
        (f"context, {distance} px", "IoU of the two classes of field with their markers so far away, 0 to 1", True)
        for distance in lab.distances
    ]
    heads += [
        ("theoretical field, px", "height that the logits see through convolutions", True),
        ("effective field, px", "side of a square as large as the pixels that count", True),
        ("valid weights", "share of each rate's 3 x 3 weights that lie on the map, over all its places", True),
        ("places", "that the rates' weights read around one place, the common middle once", True),
        *((COST_NAMES[key], _COSTS_TOLD[key], True) for key in COST_NAMES if known[key]),
    ]
    head = "".join(
        f'<th{" class=n" * numeric}><button type=button title="{escape(told)}">{escape(name)}</button></th>'
        for name, told, numeric in heads
    )
    rows = ""
    for variant in lab.variants:
        cells = "".join(f"<td>{escape(value, 80)}</td>" for value in variant.values)
        cells += f"<td class=n>{variant.n}</td>{_cell(variant.miou)}"
        cells += "".join(_cell(variant.recall(size)) for size in recalls)
        cells += "".join(_cell(variant.context(distance)) for distance in lab.distances)
        cells += f'<td class=n data-sort="{variant.field}">{field_text(variant)}</td>{_cell(variant.effective, ".0f")}'
        cells += f'<td class=n data-sort="{variant.valid}">{valid_text(variant)}</td>'
        cells += f"<td class=n>{len(variant.maps[0].places) if variant.maps else ''}</td>"
        for key in COST_NAMES:
            if known[key]:
                cells += f'<td class=n data-sort="{variant.cost(key)}">{cost_text(variant, key)}</td>'
        rows += f'<tr id="{variant.id}">{cells}</tr>\n'
    told = "Numbers are means ± standard deviations over n seeds; a head's tooltip tells what stands below it, and a press sorts."
    pools = [variant for variant in lab.variants if (variant.raw["sees"] or {}).get("image_pool")]
    if pools:
        told += " The image pooling sees the whole image whatever the rates; the theoretical field is that of the convolutions alone."
    if any(not variant.maps for variant in lab.variants):
        told += " A network without atrous convolutions side by side has no valid weights and no places here."
    return (
        f"<div class=scroll tabindex=0><table class=sortable><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<p>{told}</p>"
    )


_COSTS_TOLD = {
    "macs": "multiply-accumulates of one image",
    "parameters": "numbers that training sets",
    "latency": "median wall clock of one image",
    "cpu": "median processor time of one image",
    "inference": "peak memory of one image's inference, network included",
    "training": "peak memory of a training step, network and optimizer included",
}


def _cell(spread: Spread, style: str = ".3f") -> str:
    return f'<td class=n data-sort="{spread.mean}">{spread.text(style)}</td>'


def _context(lab: Lab) -> str:
    """Score over distance, the fields' reach below it on the same axis."""
    over, reach = draw.context(lab, "iou"), draw.reach(lab)
    if over is None:
        return ""
    legend = _legend(lab)
    below = f"{reach.svg() if reach else ''}{legend}"
    charts = figure(over, below, "IoU over distance, and below it how far the receptive fields reach")
    right = draw.context(lab, "right")
    if right is not None:
        charts += figure(right, legend, "is it the right one of the two classes?")
    for kind in _KINDS:
        charts += _maybe(draw.ratio(lab, kind), lab, f"IoU over distance / {kind} reach")
    told = (
        "Two classes of field look alike; only the colour of the marker, so many pixels above a field's upper edge, tells which "
        "it is. Each run's best checkpoint was scored on the same scenes with the markers at each distance, so other distances "
        "than the training's are new to it. Dashed: a network that finds every field and tosses a coin for its class, IoU 1/3. "
        "A field of so many pixels reaches half as far up; at a ratio of 1 the marker leaves the field of the pixel next to it, "
        "and for pixels deeper in the field it left before."
    )
    trained = sorted(
        {str(run["trained_distance"]) for v in lab.variants for run in v.runs if run.get("trained_distance")}
    )
    if trained:
        told += f" Trained at {escape(', '.join(trained))} pixels."
    return f"<p>{told}</p>{in_a_row(charts)}"


def _fields(lab: Lab) -> str:
    charts = "".join(_maybe(draw.over_field(lab, kind), lab, f"over the {kind} field") for kind in _KINDS)
    told = (
        "Large dots: the mean over the seeds; whiskers: ± one standard deviation; small dots: the seeds. A setting that changes "
        "the field changes more than that: resolution and cost at a smaller output stride, the share of valid weights at larger "
        "rates."
    )
    return f"<p>{told}</p>{in_a_row(charts)}" if charts else ""


def _sizes(lab: Lab) -> str:
    chart = draw.sizes(lab)
    objects = next((run["objects"] for variant in lab.variants for run in variant.runs if run.get("objects")), None)
    if chart is None or objects is None:
        return ""
    small, large = objects.get("limits") or (32**2, 96**2)
    number = dict(zip(objects["sizes"], objects.get("number") or (), strict=False))
    counts = ", ".join(f"{size}: {number[size]:.0f}" for size in SIZES if number.get(size) is not None)
    told = (
        f"The share of a connected part's pixels that is labelled right, averaged over parts, then over classes. Small is below "
        f"{math.isqrt(small)} x {math.isqrt(small)} pixels, large from {math.isqrt(large)} x {math.isqrt(large)} on. Parts "
        f"in the truth: {counts or 'not told'}."
    )
    return f"<p>{escape(told)}</p>{in_a_row(_maybe(chart, lab, 'recall by size'))}"


def _costs(lab: Lab) -> str:
    charts = "".join(_maybe(draw.over_cost(lab, key), lab, f"over {name}") for key, name in COST_NAMES.items())
    told = "The grey steps are the Pareto front: nothing else here reaches more at that cost. How each was measured stands at the end."
    return f"<p>{told}</p>{in_a_row(charts)}" if charts else ""


def _taps(lab: Lab) -> str:
    shown = [variant for variant in lab.variants if variant.maps]
    if not shown:
        return ""
    half = extent(shown)
    height, width = shown[0].maps[0].image
    pictures = "".join(picture(variant, half) for variant in shown)
    told = (
        f"Each picture: the map that the parallel convolutions read, of an image of {height} x {width}, and their weights around "
        f"its middle place; {2 * half:.0f} pixels of the image across in all of them."
    )
    marks = (
        "<span class=sample-on>on the map</span>, <span class=sample-off>on its padding, where it reads zeros</span>."
    )
    chart = draw.valid(lab)
    curve = ""
    if chart is not None:
        caption = "valid weights over the rate; grey: a map's size"
        text = "<p class=dim>At a rate as large as the map a 3 x 3 convolution reads one place: 1/9 of its weights, a 1 x 1 convolution.</p>"
        curve = in_a_row(figure(chart, f"{_legend(lab)}{text}", caption))
    return f"<p>{escape(told)} {marks}</p><div class=pictures>{pictures}</div>{curve}"


def _runs(lab: Lab, out: Path) -> str:
    head = "".join(
        f"<th{' class=n' * numeric}><button type=button>{escape(name)}</button></th>"
        for name, numeric in [
            ("settings", False),
            ("seed", True),
            ("mIoU", True),
            *((f"context, {distance} px", True) for distance in lab.distances),
            ("effective field, px", True),
            ("folder", False),
        ]
    )
    rows = ""
    for variant in lab.variants:
        for run in variant.runs:
            context = {entry["distance"]: entry["iou"] for entry in run["context"]}
            numbers = [run["miou"], *(context.get(distance) for distance in lab.distances)]
            cells = "".join(f"<td class=n>{_number(value)}</td>" for value in numbers)
            size = (run.get("effective") or {}).get("size")
            rows += (
                f'<tr><td><a href="#{variant.id}">{escape(variant.label, 200)}</a></td><td class=n>{escape(run["seed"], 40)}</td>'
                f"{cells}<td class=n>{_number(size, '.0f')}</td><td>{folder_link(Path(run['folder']), out)}</td></tr>\n"
            )
    return f'<div class=scroll tabindex=0><table class="runs sortable"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _how(lab: Lab) -> str:
    """A line for each kind of number."""
    height, width = lab.raw["size"] or ("?", "?")
    told = [
        f"Fields, valid weights, MACs, inference memory and latency are those of an image of {height} x {width} pixels, float32.",
        "Theoretical field: the pixels from the first to the last that a logit away from the border depends on, followed through "
        "every operation; the image pooling is left aside.",
    ]
    first = next((run["effective"] for v in lab.variants for run in v.runs if run.get("effective")), None)
    if first:
        told.append(
            f"Effective field (Luo et al. 2016): the gradient of the middle logits with respect to {first['images']} images of the "
            f"split {lab.raw['split']}, with each run's own weights; the square root of the number of pixels above "
            f"{first['above_share_of_maximum']:.1%} of the maximum. Gaps between far taps count as nothing, so it is no extent."
        )
    latency = lab.latency
    if latency:
        before, after = latency["load"]
        told.append(
            f"Latency: one image of noise, random weights, {latency['machine']}; one call of each network in turn, "
            f"{latency['rounds']} rounds, the median of each. What else the machine did is in it: its load average was {before:.1f} before and "
            f"{after:.1f} after, on {latency['cores']} cores; compare within this page only."
        )
    memory = next((variant.raw["memory"] for variant in lab.variants if variant.raw["memory"]), None)
    if memory:
        training = memory["training"]
        told.append(
            f"Memory: each setting in a process of its own, the peak less what the process held before the network was built. "
            f"Training: forward, cross-entropy, backward and a step of SGD with momentum on {training['batch_size']} images of "
            f"{' x '.join(map(str, training['size']))}."
        )
    told += [
        f"{variant.label}: {mode} was not measured: {row['error']}"
        for variant in lab.variants
        for mode, row in (variant.raw["memory"] or {}).items()
        if row.get("error")
    ]
    if lab.raw["overrides"]:
        told.append(f"Settings of the checkpoints changed for this page: {' '.join(lab.raw['overrides'])}.")
    protocols = dict.fromkeys(line for variant in lab.variants for run in variant.runs for line in run["protocol"])
    lines = "".join(f"<p>{escape(line)}</p>" for line in list(protocols)[:20])
    return "".join(f"<p>{escape(line)}</p>" for line in told) + (
        f"<details><summary>how mIoU and recall were scored</summary>{lines}</details>" if lines else ""
    )


def _maybe(chart: Chart | None, lab: Lab, caption: str) -> str:
    return "" if chart is None else figure(chart, _legend(lab), caption)


def _legend(lab: Lab) -> str:
    return keys([(variant.style, variant.label) for variant in lab.variants])


def _number(value: float | None, style: str = ".3f") -> str:
    return score(math.nan if value is None else value, style)
