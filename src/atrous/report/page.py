"""The report as one HTML page: nothing beside it, nothing fetched, every text of unknown origin escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atrous.metrics.bootstrap import Difference
from atrous.pages.frame import CONTROLS, copyable, document, folder_link, in_a_row
from atrous.report.figures import costs, curves, sweeps
from atrous.report.images import Sample, samples
from atrous.report.study import FEWEST, Group, Study, notes
from atrous.report.tables import interval, spread
from atrous.runs.run import Run
from atrous.system.text import amount, duration, escape, score

_MOST_CELLS = 12_000  # of the heat map


def page(study: Study, *, title: str, out: Path, command: str, created: str, protocol: Sequence[str]) -> str:
    """The whole page.

    Args:
        study: What to show.
        title: Its heading.
        out: The folder that it will lie in; run folders are linked from there.
        command: What made the report.
        created: When.
        protocol: How the baseline, or else the first setting, was scored, in lines.
    """
    figures, left = curves(study)
    sections = [
        ("results", "Results", _results(study, protocol)),
        ("settings", "Score over a setting", _sweeps(study)),
        ("cost", "Score over cost", _costs(study)),
        ("curves", "Curves", figures and f"<p>Mean over the seeds; the band spans them.{left}</p>{in_a_row(figures)}"),
        ("classes", "Classes", _classes(study)),
        ("images", "Images", _images(study)),
        ("failed", "Not finished, and unread", _failed(study, out)),
        ("runs", "Runs", _runs(study, out)),
    ]
    lead = f"<p>{_counts(study)}</p><p class=dim>made {escape(created)} by {copyable(command)}</p>"
    return document(title, lead, sections)


def _counts(study: Study) -> str:
    finished = sum(run.finished for run in study.runs)
    parts = [f"{finished} finished {'run' if finished == 1 else 'runs'} of {len(study.groups)} settings"]
    if study.unfinished:
        parts.append(f'<a href="#failed">{len(study.unfinished)} not finished</a>')
    if study.unread:
        parts.append(f'<a href="#failed">{len(study.unread)} unreadable</a>')
    best = max(study.groups, key=lambda group: group.mean, default=None)
    if best is not None and len(study.groups) > 1:
        parts.append(f'highest mIoU {spread(best)}: <a href="#{best.id}">{escape(study.label(best), 300)}</a>')
    return "; ".join(parts)


def _results(study: Study, protocol: Sequence[str]) -> str:
    if not study.groups:
        return "<p>No run has finished.</p>"
    compared = study.baseline is not None
    found = [group.difference for group in study.groups if group.difference is not None]
    reach = max((abs(end) for one in found for end in (one.low, one.high) if not math.isnan(end)), default=0.0)
    head = "".join(
        f'<th><button type=button title="{escape(c.key)}">{escape(c.name)}</button></th>' for c in study.columns
    )
    head += "".join(f"<th class=n><button type=button>{name}</button></th>" for name in ("n", "mIoU"))
    if compared:
        head += "<th class=n><button type=button>difference, 95 % interval</button></th><th class=axis></th>"
        head += "<th><button type=button>in a word</button></th>"
    for name in ("parameters", "MACs", "training"):
        head += f"<th class=n><button type=button>{name}</button></th>"
    rows = "".join(_result(study, group, reach) for group in study.groups)
    told = [f"<p>{escape(note)}</p>" for note in notes(study)]
    if study.baseline is not None:
        resamples = found[0].resamples if found else 0
        told.insert(
            0,
            f"<p>Difference: mIoU less that of the baseline, {escape(study.label(study.baseline), 300)}. The interval is that of "
            f"{resamples:,} paired resamples of the images with Student's t over the runs, paired by seed where both sides have "
            f"the same. <b>better</b>, <b>worse</b>: it leaves out 0, with {FEWEST} "
            f"or more seeds on both sides; <b>too few seeds</b>: it leaves out 0, with fewer. mIoU is mean ± standard deviation "
            "over n seeds; a score leads to its runs.</p>",
        )
    if study.implied:
        keys = ", ".join(study.implied[:60]) + (" ..." if len(study.implied) > 60 else "")
        told.append(
            f"<details><summary>settings that vary along with these: {len(study.implied)}</summary><p>{escape(keys)}</p></details>"
        )
    told.append(
        "<details><summary>how it was scored</summary>"
        + "".join(f"<p>{escape(line)}</p>" for line in protocol)
        + "</details>"
    )
    return f"<div class=scroll tabindex=0><table class=sortable><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{''.join(told)}"


def _result(study: Study, group: Group, reach: float) -> str:
    cells = "".join(f"<td>{escape(value, 80)}</td>" for value in group.values)
    cells += f'<td class=n>{group.n}</td><td class=n data-sort="{group.mean}">'
    cells += f'<a href="#{_first(study, group)}">{spread(group)}</a></td>'
    if study.baseline is not None:
        gap = "" if group.difference is None else group.difference.miou
        cells += f'<td class=n data-sort="{gap}">{interval(group)}</td><td>{_whisker(group.difference, reach)}</td>'
        why = f' title="{escape(group.why)}"' if group.why else ""
        cells += f'<td class="word {_kind(group)}"{why}>{escape(group.word)}</td>'
    for key, text in (("parameters", amount), ("macs", amount), ("train_seconds", duration)):
        value = group.cost(key)
        cells += f'<td class=n data-sort="{value}">{text(value)}</td>'
    return f'<tr id="{group.id}"{" class=baseline" * (group is study.baseline)}>{cells}</tr>\n'


def _kind(group: Group) -> str:
    return group.word if group.word in ("better", "worse", "baseline") else "dim"


def _first(study: Study, group: Group) -> str:
    return f"r{study.numbers[group.runs[0].folder]}"


def _whisker(found: Difference | None, reach: float) -> str:
    """The interval as a line over a common axis, whose middle is 0."""
    if found is None or not reach or math.isnan(found.low):
        return ""
    low, middle, high = (60 + 56 * value / reach for value in (found.low, found.miou, found.high))
    kind = "up" if found.low > 0 else "down" if found.high < 0 else "none"
    return (
        f'<svg class="whisker {kind}" viewBox="0 0 120 16" aria-hidden=true><line class=zero x1=60 x2=60 y1=0 y2=16 />'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1=8 y2=8 /><circle cx="{middle:.1f}" cy=8 r=3.5 /></svg>'
    )


def _sweeps(study: Study) -> str:
    charts = sweeps(study)
    told = "Large dots: the mean; whiskers: ± one standard deviation over the seeds; small dots: the seeds. All other settings held."
    return f"<p>{told}</p>{in_a_row(charts)}" if charts else ""


def _costs(study: Study) -> str:
    charts = costs(study)
    told = "The grey steps are the Pareto front: nothing else here reaches more at that cost. Training time is that of the machine it ran on."
    sizes = {str(run.part("cost").get("macs_image_size")) for group in study.groups for run in group.runs}
    if len(sizes) > 1:
        told += f" MACs are of images of different sizes: {', '.join(sorted(sizes)[:6])}."
    return f"<p>{escape(told)}</p>{in_a_row(charts)}" if charts else ""


def _classes(study: Study) -> str:
    """IoU of each class; a mark where its difference to the baseline leaves out 0."""
    if not study.groups:
        return ""
    first = study.baseline or study.groups[0]
    most = max(2, _MOST_CELLS // max(1, len(first.classes)))
    chosen = {group.id for group in [group for group in study.ranked if group.classes == first.classes][:most]}
    shown = [group for group in study.groups if group.id in chosen]
    known = np.concatenate([group.iou[~np.isnan(group.iou)] for group in shown])
    ends = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    head = "".join(f"<th class=turned><span>{escape(name, 40)}</span></th>" for name in first.classes)
    rows = "".join(f"<tr><th>{_linked(study, group)}</th>{_heat(group, ends)}</tr>\n" for group in shown)
    told = "IoU in per cent, mean over the seeds; the colour goes from the table's lowest to its highest."
    if study.baseline is not None:
        told += " ▲ and ▼: the class's own interval lies above or below the baseline's score; no correction for the number of classes."
    if len(shown) < len(study.groups):
        told += f" {len(study.groups) - len(shown)} settings are not shown: other classes, or of lower mIoU."
    return (
        f"<p>{told}</p><div class=scroll tabindex=0><table class=heat><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _heat(group: Group, ends: tuple[float, float]) -> str:
    iou, found = group.iou, group.difference
    nothing = np.full(len(iou), np.nan)
    low, high = (nothing, nothing) if found is None else (found.iou_low, found.iou_high)
    cells = []
    for value, least, most in zip(iou.tolist(), low, high, strict=True):
        if math.isnan(value):
            cells.append("<td class=absent>–</td>")
            continue
        mark = "▲" if least > 0 else "▼" if most < 0 else ""
        share = (value - ends[0]) / ((ends[1] - ends[0]) or 1)
        dark = " class=full" * (share > 0.55)
        cells.append(f'<td{dark} style="--v:{100 * share:.0f}%">{100 * value:.0f}<i>{mark}</i></td>')
    return "".join(cells)


def _linked(study: Study, group: Group) -> str:
    return f'<a href="#{group.id}">{escape(study.label(group), 100)}</a>'


def _images(study: Study) -> str:
    found, told = samples(study.ranked)
    if not found:
        return ""
    text = " ".join(["Each setting's first run. The slider wipes from the left network to the right one.", *told])
    return f"<p>{escape(text)}</p>{CONTROLS}{''.join(_sample(study, sample) for sample in found)}"


def _sample(study: Study, sample: Sample) -> str:
    width, height = sample.size
    names = {group.id: study.label(group) for group in study.groups if group.id in sample.predictions}
    chosen = [("truth", "truth", sample.truth), *((key, names[key], uri) for key, uri in sample.predictions.items())]
    right = 2 if len(chosen) > 2 else 0
    sides = ""
    for side, picked in (("left", 1), ("right", right)):
        options = "".join(
            f'<option value="{key}"{" selected" * (place == picked)}>{escape(name, 100)}</option>'
            for place, (key, name, _) in enumerate(chosen)
        )
        sides += f"<label>{side} <select class={side}>{options}</select></label>"
    thumbs = f'<figure><img alt="" src="{sample.image}"><figcaption>image</figcaption></figure>' + "".join(
        f'<figure><button type=button class=thumb data-key="{key}" title="show on the right">'
        f'<img alt="labels: {escape(name, 100)}" src="{uri}"></button><figcaption>{escape(name, 100)}</figcaption></figure>'
        for key, name, uri in chosen
    )
    return (
        f"<article class=sample><h3>{escape(sample.name, 200)}</h3><div class=compare>"
        f'<div class=view style="aspect-ratio:{width}/{height};--w:{width}">'
        '<img class=base alt=""><img class="labels a" alt=""><img class="labels b" alt=""><i class=edge></i></div>'
        f"<div class=sides>{sides}<label>wipe <input type=range class=wipe min=0 max=100 value=50></label></div></div>"
        f"<div class=thumbs tabindex=0>{thumbs}</div></article>\n"
    )


def _failed(study: Study, out: Path) -> str:
    """What did not finish and what could not be read, with the reason."""
    done = {run.fingerprint: run for run in study.runs if run.finished and run.fingerprint}
    rows = ""
    for run, values in zip(study.runs, study.values, strict=True):
        if run.finished:
            continue
        later = done.get(run.fingerprint)
        reason = run.error or "no error is recorded"
        if later is not None:
            reason += f"; finished since then: run {study.numbers[later.folder]}"
        pairs = ", ".join(f"{c.name}={value}" for c, value in zip(study.columns, values, strict=True))
        rows += (
            f"<tr><td>{escape(run.status)}</td><td>{escape(pairs, 300)}, seed={escape(run.seed)}</td>"
            f"<td class=error>{escape(reason)}</td><td>{folder_link(run.folder, out)}</td></tr>\n"
        )
    for left in study.unread:
        rows += (
            f"<tr><td>unreadable</td><td></td><td class=error>{escape(left.reason)}</td>"
            f"<td>{folder_link(left.folder, out)}</td></tr>\n"
        )
    head = "<tr><th>status</th><th>settings</th><th>reason</th><th>folder</th></tr>"
    return rows and f"<div class=scroll tabindex=0><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>"


def _runs(study: Study, out: Path) -> str:
    owner = {run.folder: group for group in study.groups for run in (*group.runs, *group.repeated)}
    rows = "".join(_run(study, run, owner.get(run.folder), out) for run in study.runs)
    head = "".join(f"<th>{name}</th>" for name in ("run", "settings", "seed", "mIoU", "status", "folder", "command"))
    return f"<div class=scroll tabindex=0><table class=runs><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _run(study: Study, run: Run, group: Group | None, out: Path) -> str:
    values = study.values[study.numbers[run.folder] - 1]
    pairs = (
        ", ".join(f"{column.name}={value}" for column, value in zip(study.columns, values, strict=True)) or "all runs"
    )
    text = escape(pairs, 200)
    status = str(run.status)
    if group is not None and any(other is run for other in group.repeated):
        status = "older, not counted"
    return (
        f'<tr id="r{study.numbers[run.folder]}"><td class=n>{study.numbers[run.folder]}</td>'
        f"<td>{text if group is None else f'<a href=#{group.id}>{text}</a>'}</td><td class=n>{escape(run.seed, 40)}</td>"
        f"<td class=n>{score(run.miou, '.4f')}</td><td>{escape(status)}</td><td>{folder_link(run.folder, out)}</td>"
        f"<td>{copyable(run.command)}</td></tr>\n"
    )
