"""What our pages share: frame, style sheet and script. Series' colours after Okabe and Ito, "Color Universal Design", 2008."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from atrous.system.text import escape


def document(title: str, lead: str, sections: Sequence[tuple[str, str, str]], *, style: str = "") -> str:
    """A whole page: nothing beside it, nothing fetched.

    Args:
        title: Its heading, of any origin.
        lead: HTML below the heading.
        sections: Ids, headings and HTML; those without content are left out.
        style: Rules beside the common ones.
    """
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in shown)
    body = "".join(f'<section id="{name}"><h2>{heading}</h2>{content}</section>\n' for name, heading, content in shown)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{lead}</header>\n"
        f"<nav>{links}<button type=button id=theme>dark / light</button></nav>\n{body}"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def in_a_row(charts: str) -> str:
    """Figures side by side where there is room."""
    return f"<div class=charts>{charts}</div>"


def folder_link(folder: Path, out: Path) -> str:
    """A link that works from the page's own folder; `./` before it, so that no name is taken for a scheme."""
    path = os.path.relpath(folder, out)
    return f'<a href="./{urllib.parse.quote(os.fsencode(path))}/">{escape(folder)}</a>'


def copyable(command: str) -> str:
    """The command with a button that copies it."""
    if not command:
        return ""
    return (
        f"<span class=command><code>{escape(command, 20_000)}</code><button type=button class=copy>copy</button></span>"
    )


CONTROLS = (
    "<div class=controls><label>image <input type=range id=opacity min=0 max=100 value=65> labels</label>"
    "<span class=dim>press a small picture to see it on the right; arrow keys move a slider</span></div>"
)

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --dim: #5c6675; --paper: #fff; --raised: #f5f6f8; --rule: #d9dde3;
  --link: #0b5cad; --good: #12703a; --bad: #b3261e; --heat: #1b6ca8; --on-heat: #fff;
  --s0: #0072b2; --s1: #c04a00; --s2: #00805c; --s3: #b0518a; --s4: #8a6d00; --s5: #2a8fbd; --s6: #5a4fcf; --s7: #444; }
:root[data-theme=dark] { color-scheme: dark; --ink: #e4e8ee; --dim: #9ba6b5; --paper: #12161c; --raised: #1b212a;
  --rule: #343c48; --link: #7db8f0; --good: #63cf8d; --bad: #ff8f85; --heat: #4aa3df; --on-heat: #06121c;
  --s0: #56b4e9; --s1: #ff9a52; --s2: #2fc79a; --s3: #e79ac5; --s4: #f0d442; --s5: #9fd3f0; --s6: #a79bff; --s7: #c8c8c8; }
* { box-sizing: border-box; }
html { scroll-padding-top: 56px; }
body { margin: 0 auto; max-width: 1500px; padding: 0 24px 64px; font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 24px; margin: 24px 0 4px; overflow-wrap: anywhere; } h2 { font-size: 19px; margin: 40px 0 8px; }
h3 { font-size: 15px; margin: 20px 0 6px; overflow-wrap: anywhere; }
p { margin: 6px 0; max-width: 100ch; overflow-wrap: anywhere; } .dim, section > p, details p { color: var(--dim); }
section > p b { color: var(--ink); font-weight: 600; }
a { color: var(--link); } :focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
nav { position: sticky; top: 0; z-index: 4; display: flex; gap: 4px 18px; align-items: center; overflow-x: auto;
  padding: 10px 0; background: var(--paper); border-bottom: 1px solid var(--rule); white-space: nowrap; }
nav a { text-decoration: none; } nav button { margin-left: auto; }
button, select { font: inherit; color: inherit; background: var(--raised); border: 1px solid var(--rule);
  border-radius: 5px; padding: 2px 9px; cursor: pointer; }
input[type=range] { accent-color: var(--link); }
.scroll { overflow: auto; max-height: 80vh; margin: 8px 0; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 4px 12px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
thead th { position: sticky; top: 0; z-index: 1; background: var(--paper); font-weight: 600; white-space: nowrap; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort=ascending] button::after { content: " ↑"; } th[aria-sort=descending] button::after { content: " ↓"; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.word { white-space: nowrap; } .better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
tr.baseline td { background: var(--raised); } tr:target td { background: color-mix(in srgb, var(--link) 18%, transparent); }
.error { color: var(--bad); min-width: 260px; max-width: 70ch; overflow-wrap: anywhere; }
details { margin: 6px 0; } summary { cursor: pointer; color: var(--dim); }
.whisker { width: 120px; height: 16px; display: block; margin-top: 3px; }
.whisker line { stroke: var(--dim); stroke-width: 2; } .whisker circle { fill: var(--dim); }
.whisker .zero { stroke: var(--rule); stroke-width: 1; }
.whisker.up line:not(.zero) { stroke: var(--good); } .whisker.up circle { fill: var(--good); }
.whisker.down line:not(.zero) { stroke: var(--bad); } .whisker.down circle { fill: var(--bad); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 20px 28px; }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; font-size: 14px; overflow-wrap: anywhere; }
.charts svg { width: 100%; height: auto; display: block; overflow: visible; }
svg text { fill: var(--dim); font-size: 11px; } svg .label { font-size: 12px; fill: var(--ink); }
.grid { stroke: var(--rule); } .axis { stroke: var(--dim); }
.line { fill: none; stroke: var(--c); stroke-width: 1.8; } .band { fill: var(--c); opacity: 0.15; }
.dot { fill: var(--c); stroke: var(--paper); stroke-width: 1; } .dot.seed { opacity: 0.55; stroke: none; }
.dot.best { stroke: var(--ink); stroke-width: 1.6; }
.line.rest { stroke-width: 1; opacity: 0.5; } .front { --c: var(--dim); stroke-dasharray: 4 3; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .s3 { --c: var(--s3); } .s4 { --c: var(--s4); }
.s5 { --c: var(--s5); } .s6 { --c: var(--s6); } .s7 { --c: var(--s7); } .rest { --c: var(--dim); }
polyline.s4, polyline.s5, polyline.s6, polyline.s7 { stroke-dasharray: 6 3; }
.off { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; list-style: none; margin: 4px 0 0; padding: 0; font-size: 12px; }
.legend button { all: unset; cursor: pointer; } .legend button:focus-visible { outline: 2px solid var(--link); }
.key { overflow-wrap: anywhere; } .key::before { content: ""; display: inline-block; width: 12px; height: 12px; margin-right: 5px;
  border-radius: 3px; background: var(--c); vertical-align: -1px; }
.key[aria-pressed=false] { opacity: 0.45; text-decoration: line-through; }
.heat { border-collapse: separate; border-spacing: 1px; } .heat th, .heat td { border: 0; }
.heat tbody th { position: sticky; left: 0; z-index: 1; background: var(--paper); font-weight: 400; max-width: 440px;
  overflow-wrap: anywhere; padding: 3px 10px 3px 0; }
.heat td { position: relative; min-width: 44px; padding: 3px 14px 3px 8px; text-align: right;
  font-variant-numeric: tabular-nums; background: color-mix(in srgb, var(--heat) var(--v), var(--raised)); }
.heat td.full { color: var(--on-heat); } .heat td.absent { background: none; color: var(--dim); }
.heat i { position: absolute; right: 3px; top: 3px; font-style: normal; font-size: 9px; }
.turned { height: 110px; vertical-align: bottom; padding: 0 0 4px; z-index: 2; }
.turned span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 105px; overflow: hidden; }
.heat thead th:first-child { left: 0; z-index: 3; }
.controls, .sides { display: flex; flex-wrap: wrap; gap: 8px 18px; align-items: center; margin: 8px 0; }
label { display: inline-flex; gap: 7px; align-items: center; min-width: 0; } select { max-width: min(60vw, 320px); }
.compare { max-width: 720px; }
.view { position: relative; width: 100%; max-width: max(360px, calc(var(--w) * 1.5px)); background: #444; cursor: ew-resize; touch-action: pan-y; overflow: hidden; }
.view img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; pointer-events: none; }
.labels { opacity: var(--opacity, 0.65); image-rendering: pixelated; }
.a { clip-path: inset(0 calc(100% - var(--at, 50%)) 0 0); } .b { clip-path: inset(0 0 0 var(--at, 50%)); }
.edge { position: absolute; top: 0; bottom: 0; left: var(--at, 50%); width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 3px #000; }
.thumbs { display: grid; grid-auto-flow: column; grid-auto-columns: 150px; gap: 10px; overflow-x: auto; padding: 4px; }
.thumbs img { width: 100%; display: block; } .thumbs figcaption { font-weight: 400; font-size: 12px; color: var(--dim); }
.thumb { padding: 0; border: 0; background: none; display: block; width: 100%; }
.thumb[aria-pressed=true] { outline: 3px solid var(--link); }
.command { display: inline-flex; gap: 8px; align-items: start; max-width: 100%; }
code { font: 12px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; color: var(--ink); }
.runs code { display: block; min-width: 280px; max-width: 60ch; max-height: 4.5em; overflow: auto; } .runs a { overflow-wrap: anywhere; }
.runs td { min-width: 40px; } .runs td:nth-child(2), .runs td:nth-child(6) { min-width: 180px; }
.copy { font-size: 12px; padding: 0 7px; flex: none; }
@media (max-width: 600px) { svg text { font-size: 13px; } svg .label { font-size: 13px; } body { padding: 0 14px 48px; font-size: 14px; } h1 { font-size: 20px; }
  .heat tbody th { max-width: 120px; font-size: 12px; } .thumbs { grid-auto-columns: 120px; } }
@media print { nav, .controls, .copy { display: none; } .scroll { max-height: none; overflow: visible; } }
"""

SCRIPT = """
const root = document.documentElement, all = (query, part = document) => [...part.querySelectorAll(query)];
root.dataset.theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
document.getElementById('theme').addEventListener('click', () => {
  root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
});
for (const button of all('.copy')) button.addEventListener('click', async () => {
  const code = button.previousElementSibling;
  try { await navigator.clipboard.writeText(code.textContent); button.textContent = 'copied'; }
  catch { getSelection().selectAllChildren(code); button.textContent = 'selected'; }
  setTimeout(() => { button.textContent = 'copy'; }, 1500);
});
function value(row, column) {
  const cell = row.cells[column], text = cell.dataset.sort ?? cell.textContent;
  return text.trim() === '' || text === 'nan' ? NaN : isNaN(text) ? text : Number(text);
}
function compare(a, b) {
  const last = x => typeof x === 'number' && isNaN(x);
  if (last(a) || last(b)) return last(a) - last(b);
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return typeof a === typeof b ? a.localeCompare(b, 'en', { numeric: true }) : typeof a === 'number' ? -1 : 1;
}
for (const head of all('.sortable th')) head.querySelector('button')?.addEventListener('click', () => {
  const way = head.ariaSort === 'ascending' ? -1 : 1, body = head.closest('table').tBodies[0];
  all('th', head.parentElement).forEach(other => { other.removeAttribute('aria-sort'); });
  head.setAttribute('aria-sort', way > 0 ? 'ascending' : 'descending');
  const rows = [...body.rows].map(row => [value(row, head.cellIndex), row]);
  const blank = ([key]) => typeof key === 'number' && isNaN(key);
  rows.sort((a, b) => blank(a) || blank(b) ? blank(a) - blank(b) : way * compare(a[0], b[0]));
  body.append(...rows.map(([, row]) => row));
});
for (const key of all('button.key')) key.addEventListener('click', () => {
  const on = key.getAttribute('aria-pressed') !== 'true';
  key.setAttribute('aria-pressed', on);
  all('svg .' + key.dataset.series, key.closest('figure')).forEach(mark => mark.classList.toggle('off', !on));
});
const opacity = document.getElementById('opacity');
opacity?.addEventListener('input', () => root.style.setProperty('--opacity', opacity.value / 100));
for (const sample of all('.sample')) {
  const find = query => sample.querySelector(query);
  const view = find('.view'), wipe = find('.wipe'), left = find('.left'), right = find('.right');
  const source = key => all('.thumb', sample).find(thumb => thumb.dataset.key === key).firstElementChild.src;
  const show = () => {
    find('.a').src = source(left.value);
    find('.b').src = source(right.value);
    view.style.setProperty('--at', wipe.value + '%');
    all('.thumb', sample).forEach(thumb => thumb.setAttribute('aria-pressed', thumb.dataset.key === right.value));
  };
  find('.base').src = find('.thumbs img').src;
  [left, right, wipe].forEach(control => control.addEventListener('input', show));
  all('.thumb', sample).forEach(thumb => thumb.addEventListener('click', () => { right.value = thumb.dataset.key; show(); }));
  const drag = event => {
    if (!event.buttons) return;
    const box = view.getBoundingClientRect();
    wipe.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  view.addEventListener('pointerdown', event => { view.setPointerCapture(event.pointerId); drag(event); });
  view.addEventListener('pointermove', drag);
  show();
}
"""
