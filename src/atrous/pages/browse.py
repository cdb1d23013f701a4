"""What `browse` writes: one HTML page without anything beside it, and one contact sheet."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.pages.contact_sheet import (
    NARROWEST,
    contact_sheet,
    hatched,
    hatched_swatch,
    shortened,
    thumbnail,
)
from atrous.pages.images import Pixels, colour, overlay
from atrous.system.text import printable
from atrous.types import ClassInfo

_SHEET_WIDTH = 1900  # pixels
_SHEET_SIDE = 240  # longest side of an image on the sheet
_COMPARED_SIDE = 384  # longest side of an image that is shown in several epochs
_SMALL = 256  # images up to this wide are enlarged without smoothing
_NAMED = 4  # classes that a caption names at most


@dataclass(frozen=True)
class Shown:
    """A sample as it is shown.

    Attributes:
        image: uint8 RGB (H, W, 3), un-normalised.
        mask: int32 (H, W), class indices or the ignore index.
        name: The sample's name.
        key: Epoch and index, and how often it came earlier in the epoch where it may come again.
        moments: Mean, mean square, least and largest of the normalised values that the network gets.
    """

    image: Pixels
    mask: NDArray[np.int32]
    name: str
    key: tuple[int, ...]
    moments: tuple[float, float, float, float]

    @classmethod
    def of(
        cls,
        image: NDArray[np.float32],
        mask: NDArray[np.int64],
        name: str,
        key: tuple[int, ...],
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> Shown:
        """From a batch's float32 (3, H, W) and int64 (H, W); `mean` and `std` are those of its normalisation."""
        values = 255 * (image * np.reshape(std, (3, 1, 1)) + np.reshape(mean, (3, 1, 1)))  # (3, H, W)
        pixels = np.ascontiguousarray(values.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        moments = (image.mean(dtype=float), np.square(image, dtype=float).mean(), image.min(), image.max())
        return cls(pixels, mask.astype(np.int32), name, key, tuple(map(float, moments)))  # type: ignore[arg-type]

    def counts(self, info: ClassInfo) -> NDArray[np.int64]:
        """Pixels of each class, then the ignored ones, (C + 1)."""
        labelled = self.mask[self.mask != info.ignore_index]
        return np.append(np.bincount(labelled, minlength=info.num_classes), self.mask.size - labelled.size)


@dataclass(frozen=True)
class Facts:
    """What all samples have in common. `epoch` is None for a split without augmentation."""

    data: str
    split: str
    length: int
    seed: int
    epoch: int | None
    batch_size: int
    class_info: ClassInfo

    @property
    def ignored(self) -> str:
        return "ignored" if self.epoch is None else "ignored or padding"

    def title(self, count: int) -> str:
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        return f"{self.data}, {self.split}{epoch}: {count} of {self.length} samples"


def sheet(facts: Facts, shown: Sequence[Shown]) -> Pixels:
    """image | overlay of every sample on one picture."""
    info, tiles, captions = facts.class_info, [], []
    for sample in shown:
        image, mask = thumbnail(sample.image, _SHEET_SIDE), thumbnail(sample.mask, _SHEET_SIDE, labels=True)
        gap = np.full((len(image), 4, 3), 255, np.uint8)
        blended = hatched(overlay(image, mask, info), mask == info.ignore_index)
        tiles.append(np.concatenate([image, gap, blended], axis=1))
        room = max(NARROWEST, tiles[-1].shape[1])
        lists = [_classes(sample, info, named) for named in range(_NAMED, 0, -1)]
        fits = next((text for text in lists if shortened(text, room) == text), lists[-1])
        captions.append("\n".join([printable(sample.name), _place(facts, sample), fits]))
    columns = max(1, _SHEET_WIDTH // max(tile.shape[1] for tile in tiles))
    title = "\n".join([facts.title(len(shown)), _summary(facts, shown), *_notes(facts, shown)])
    return contact_sheet(
        tiles,
        captions,
        [*zip(info.names, info.palette, strict=True), (facts.ignored, hatched_swatch())],
        columns,
        title=title,
    )


def page(facts: Facts, shown: Sequence[Shown], compared: Sequence[tuple[Shown, Sequence[Shown]]]) -> str:
    """The whole HTML page; images are data URIs of their pixels.

    Args:
        facts: For the head.
        shown: The samples.
        compared: For some images the sample without augmentation, and in several epochs.
    """
    title = _escaped(facts.title(len(shown)))
    notes = "".join(f"<p class=note>{_escaped(note)}</p>" for note in _notes(facts, shown))
    cards = "".join(_card(facts, sample) for sample in shown)
    rows = "".join(_row(facts, plain, epochs) for plain, epochs in compared)
    if rows:
        rows = (
            "<h2>What augmentation does</h2><p>One image in each row: whole, as in evaluation, then as the network gets "
            f"it in each epoch. Shrunk to {_COMPARED_SIDE} pixels.</p>{rows}"
        )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1><p>{_escaped(_summary(facts, shown))}</p>{notes}\n{_CONTROLS}{_legend(facts, shown)}\n"
        f"<main>{cards}</main>\n{rows}\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _card(facts: Facts, sample: Shown) -> str:
    info = facts.class_info
    counts = sample.counts(info)
    bar = "".join(
        f'<i style="flex-grow:{counts[c]};background:{_css(info, c)}"></i>' for c in np.flatnonzero(counts).tolist()
    )
    items = "".join(
        f"<li>{_swatch(info, c)}{_escaped(_name(info, c))} <b>{_percent(counts[c] / sample.mask.size)}</b></li>"
        for c in np.argsort(-counts, kind="stable").tolist()
        if counts[c]
    )
    return (
        f"<article>{_view(sample, info)}<h3>{_escaped(sample.name)}</h3><p>{_escaped(_place(facts, sample))}</p>"
        f"<div class=bar>{bar}</div><ul>{items}</ul></article>\n"
    )


def _row(facts: Facts, plain: Shown, epochs: Sequence[Shown]) -> str:
    views = [(plain, "without augmentation"), *((sample, f"epoch {sample.key[0]}") for sample in epochs)]
    figures = "".join(
        f"<figure>{_view(_shrunk(sample), facts.class_info)}<figcaption>{text}</figcaption></figure>"
        for sample, text in views
    )
    return f"<h3>{_escaped(plain.name)}</h3><div class=row>{figures}</div>\n"


def _view(sample: Shown, info: ClassInfo) -> str:
    """The image with its mask above it, whose opacity the slider sets."""
    height, width = sample.mask.shape
    mask = hatched(colour(sample.mask, info), sample.mask == info.ignore_index)
    small = " small" if width <= _SMALL else ""
    return (
        f'<div class="view{small}" style="aspect-ratio:{width}/{height}" tabindex=0 title="click to enlarge"><div>'
        f'<img class=image alt="{_escaped(sample.name)}" src="{_data_uri(sample.image)}">'
        f'<img class=mask alt="" src="{_data_uri(mask)}"></div></div>'
    )


def _legend(facts: Facts, shown: Sequence[Shown]) -> str:
    """Every class with its share of the pixels shown and the number of samples that have it."""
    info = facts.class_info
    counts = np.stack([sample.counts(info) for sample in shown])  # (samples, C + 1)
    pixels, images = counts.sum(0), (counts > 0).sum(0)
    items = "".join(
        f'<li class="{"" if pixels[c] else "absent"}">{_swatch(info, c)}{_escaped(_name(info, c))} '
        f"<b>{_percent(pixels[c] / pixels.sum())}</b> in {images[c]}</li>"
        for c in range(info.num_classes + 1)
    )
    return f"<details open><summary>Classes: share of the pixels, and in how many samples</summary><ul>{items}</ul></details>"


def _summary(facts: Facts, shown: Sequence[Shown]) -> str:
    sizes = sorted({sample.mask.shape for sample in shown})
    size = f"{sizes[0][0]} x {sizes[0][1]}" + (f" to {sizes[-1][0]} x {sizes[-1][1]}" if len(sizes) > 1 else "")
    weights = [sample.mask.size for sample in shown]
    means, squares, lows, highs = np.array([sample.moments for sample in shown]).T
    mean = np.average(means, weights=weights)
    deviation = np.sqrt(max(0.0, np.average(squares, weights=weights) - mean**2))
    order = f"seed {facts.seed}, in the epoch's order" if facts.epoch is not None else "evenly spaced, not augmented"
    return (
        f"{order}; {size} pixels (height x width), batches of {facts.batch_size}; the network gets values of mean "
        f"{mean:.2f} and standard deviation {deviation:.2f}, from {lows.min():.2f} to {highs.max():.2f}"
    )


def _notes(facts: Facts, shown: Sequence[Shown]) -> list[str]:
    """What a reader should not miss."""
    info = facts.class_info
    pixels = np.sum([sample.counts(info) for sample in shown], axis=0)
    ignored = pixels[-1] / pixels.sum()
    if ignored == 1:
        return ["No pixel has a label: all are ignored."]
    absent = [info.names[c] for c in range(info.num_classes) if not pixels[c]]
    notes = [f"In none of these samples: {', '.join(absent)}."] if absent else []
    return notes + [f"{_percent(ignored)} of the pixels are {facts.ignored}."] * bool(ignored)


def _place(facts: Facts, sample: Shown) -> str:
    """Epoch, index and size of a sample."""
    epoch, index, *earlier = sample.key
    again = f", draw {earlier[0] + 1} of it" if earlier and earlier[0] else ""
    size = f"{sample.mask.shape[0]} x {sample.mask.shape[1]}"
    return f"index {index}, {size}" if facts.epoch is None else f"epoch {epoch}, index {index}{again}, {size}"


def _classes(sample: Shown, info: ClassInfo, named: int) -> str:
    """The shares of the largest `named` classes, and of ignored pixels."""
    counts = sample.counts(info)
    largest = [c for c in np.argsort(-counts[:-1], kind="stable")[:named].tolist() if counts[c]]
    shown = [*largest, *([info.num_classes] if counts[-1] else [])]
    return ", ".join(f"{printable(_name(info, c))} {_percent(counts[c] / sample.mask.size)}" for c in shown)


def _shrunk(sample: Shown) -> Shown:
    image, mask = thumbnail(sample.image, _COMPARED_SIDE), thumbnail(sample.mask, _COMPARED_SIDE, labels=True)
    return Shown(image, mask, sample.name, sample.key, sample.moments)


def _name(info: ClassInfo, c: int) -> str:
    return info.names[c] if c < info.num_classes else "ignored"


def _css(info: ClassInfo, c: int) -> str:
    """The colour of class `c`, or for C the pattern of ignored pixels."""
    return "rgb({},{},{})".format(*info.palette[c]) if c < info.num_classes else "var(--hatch)"


def _swatch(info: ClassInfo, c: int) -> str:
    return f'<i class=swatch style="background:{_css(info, c)}"></i>'


def _percent(share: Any) -> str:
    percent = 100 * float(share)
    if 0 < percent < 0.01:
        return "<0.01 %"
    return f"{percent:.0f} %" if percent == 0 or percent >= 9.95 else f"{percent:.2g} %"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _data_uri(picture: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


_CONTROLS = (
    '<nav><label>image <input type="range" id="opacity" min="0" max="1" step="0.05" value="0.5"> mask</label>'
    '<button type="button" value="0">image</button><button type="button" value="0.5">overlay</button>'
    '<button type="button" value="1">mask</button><span>keys 1, 2, 3; click an image to enlarge it</span></nav>'
)

_STYLE = """
:root { --mask: 0.5; --hatch: repeating-linear-gradient(135deg, #fff 0 2px, #000 2px 4px, #888 4px 6px); }
body { margin: 0 24px 48px; font: 14px/1.4 system-ui, sans-serif; color: #222; background: #fff; }
h1 { font-size: 22px; margin: 20px 0 4px; } h2 { margin: 40px 0 4px; }
h3 { font-size: 14px; margin: 6px 0 0; overflow-wrap: anywhere; }
p { margin: 2px 0; color: #555; } .note { color: #a04000; }
nav { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: 10px; align-items: center;
  padding: 10px 0; background: #fff; border-bottom: 1px solid #ddd; }
nav label { display: flex; gap: 6px; align-items: center; } nav input { width: 240px; } nav span { color: #777; }
button { font: inherit; padding: 2px 10px; }
ul { display: flex; flex-wrap: wrap; gap: 2px 14px; list-style: none; margin: 6px 0 0; padding: 0; }
details { margin: 10px 0 18px; } details ul { max-height: 30vh; overflow: auto; }
.absent { opacity: 0.45; } article ul { font-size: 12px; } b { font-weight: 600; }
.swatch { display: inline-block; width: 12px; height: 12px; margin-right: 5px; border: 1px solid #888;
  vertical-align: -2px; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 24px 18px;
  align-items: start; }
.view { position: relative; cursor: zoom-in; background: #333; } .view div { position: absolute; inset: 0; }
.view img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.view .mask { opacity: var(--mask); } .small img { image-rendering: pixelated; }
.view.large div { position: fixed; inset: 12px; z-index: 3; cursor: zoom-out; background: #333; }
.bar { display: flex; height: 8px; margin-top: 6px; overflow: hidden; } .bar i { flex-basis: 0; }
.row { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(180px, 1fr); gap: 12px; overflow-x: auto;
  align-items: start; margin-bottom: 20px; }
figure { margin: 6px 0; } figcaption { color: #555; }
"""

_SCRIPT = """
const slider = document.getElementById('opacity');
function show(opacity) {
  slider.value = opacity;
  document.documentElement.style.setProperty('--mask', opacity);
}
slider.addEventListener('input', () => show(slider.value));
for (const button of document.querySelectorAll('button')) button.addEventListener('click', () => show(button.value));
function shrink() { document.querySelectorAll('.large').forEach(view => view.classList.remove('large')); }
for (const view of document.querySelectorAll('.view')) view.addEventListener('click', () => {
  const was = view.classList.contains('large');
  shrink();
  view.classList.toggle('large', !was);
});
document.addEventListener('keydown', event => {
  if (event.key === 'Escape') shrink();
  if (event.key === 'Enter' && event.target.classList.contains('view')) event.target.click();
  if ('123'.includes(event.key)) show((event.key - 1) / 2);
});
show(0.5);
"""
