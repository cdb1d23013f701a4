"""The page: what stands in it, what it fetches, and what hostile texts do to it. Looked at by a browser where there is one."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import urllib.parse
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from report.study_folders import folded, write_run

from atrous.metrics.bootstrap import Difference
from atrous.report.charts import axis_limits, ticks
from atrous.report.figures import curves, pareto, sweeps
from atrous.report.images import samples
from atrous.report.page import page

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"&"
SETTINGS = {"model.output_stride": 8, "model.encoder.output_stride": 8}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Parsed(HTMLParser):
    """Elements with their attributes, the text, and the text of each section."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if "id" in dict(attrs):
            assert dict(attrs)["id"] not in self.ids
            self.ids.add(dict(attrs)["id"])

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def in_a_browser(text, probe, folder, width):
    """What a script finds in a page that is shown in a window of a width."""
    path = folder / "page.html"
    path.write_text(text.replace("</body>", f"<script>{probe}</script></body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", f"--user-data-dir={folder / 'profile'}"]
    command = [CHROMIUM, *flags, f"--window-size={width},900", "--dump-dom", path.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    bodies = [attrs for attrs in Parsed(run.stdout).all("body") if "data-found" in attrs]
    assert bodies, run.stderr
    return json.loads(bodies[0]["data-found"])


def difference(a, b):
    ends = np.array([0.1, -0.2, np.nan])
    return Difference(0.1, 0.05, 0.15, ends, ends, ends, confidence=0.95, resamples=10, images=100)


def study(folder):
    return folded(folder, difference)


def text_of(folder, out, **changes):
    about = {
        "title": "Report: runs",
        "command": "python -m atrous report runs",
        "created": "now",
        "protocol": ["on val"],
    }
    return page(study(folder), out=out, **{**about, **changes})


@pytest.fixture
def hostile(grid):
    """Runs whose every text is hostile."""
    write_run(
        grid / EVIL.replace("/", "_"),
        settings={"model.output_stride": EVIL},
        command=f"python train.py 'model.output_stride={EVIL}'",
        classes=(EVIL, "car", "sky"),
        provenance={"git": {"commit": EVIL, "dirty": True}},
        started=EVIL,
        samples=(EVIL.replace("/", "_"),),
        cost={"parameters": EVIL, "macs_image_size": EVIL, "macs": 1e9, "train_seconds": 10},
    )
    write_run(grid / "javascript:alert(1)", status=EVIL, error=EVIL, fingerprint=EVIL)
    broken = grid / f"{EVIL[:20]}\n".replace("/", "_")
    broken.mkdir()
    (broken / "result.json").write_text(EVIL)
    return grid


def test_what_a_reader_finds(grid, tmp_path):
    write_run(grid / "7", status="failed", error="loss is not finite", seed=9, settings=SETTINGS)
    parsed = Parsed(text_of(grid, tmp_path))
    text = " ".join(parsed.text)
    for group in study(grid).groups:
        assert f"{group.score.mean:.3f} ± {group.score.std:.3f}" in text
    assert "+0.100 [+0.050, +0.150]" in text
    assert "better" in text
    assert "loss is not finite" in text
    assert "python train.py model.output_stride=8 seed=2" in text
    assert [h for h in ("val/miou", "train/loss", "over output_stride", "over parameters") if h not in text] == []
    links = [a["href"] for a in parsed.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= parsed.ids
    folders = {urllib.parse.unquote(link) for link in links if not link.startswith("#")}
    assert folders == {f"./runs/{number}/" for number in range(1, 8)}
    # the score of each setting leads to its first run
    assert [link for link in links if re.fullmatch("#r\\d+", link)] == ["#r1", "#r5"]


def test_a_curve_is_the_mean_over_the_seeds(tmp_path):
    values = ([3.0, 1.0, 0.5, 0.1], [5.0, 2.0, 0.5, 0.3])
    for seed, losses in enumerate(values):
        folder = write_run(tmp_path / str(seed), seed=seed)
        rows = [f"{10 * step},{loss}" for step, loss in enumerate(losses)]
        (folder / "metrics.csv").write_text("\n".join(["step,train/loss", *rows]))
    ((chart,), undrawn) = curves(study(tmp_path))
    assert undrawn == 0
    (line,) = [attrs["points"] for attrs in Parsed(chart.svg()).all("polyline")]
    (band,) = [attrs["points"] for attrs in Parsed(chart.svg()).all("polygon")]
    x, y = np.array([point.split(",") for point in line.split()], float).T
    mean = np.mean(values, 0)
    np.testing.assert_allclose(np.diff(x) / (x[-1] - x[0]), [1 / 3] * 3, atol=2e-3)
    np.testing.assert_allclose((y - y[-1]) / (y[0] - y[-1]), (mean - mean[-1]) / (mean[0] - mean[-1]), atol=2e-3)
    ends = np.array([point.split(",") for point in band.split()], float)[:, 1]
    expected = np.concatenate([np.max(values, 0), np.min(values, 0)[::-1]])
    scale = (y[0] - y[-1]) / (mean[0] - mean[-1])
    np.testing.assert_allclose(ends, y[-1] + scale * (expected - mean[-1]), atol=0.11)


def test_a_long_curve_is_gathered_into_fewer_points(tmp_path):
    folder = write_run(tmp_path / "a")
    rows = [f"{step},{step + 5000 * (step % 2)}" for step in range(20_000)]
    (folder / "metrics.csv").write_text("\n".join(["step,train/loss", *rows]))
    (line,) = [attrs["points"] for attrs in Parsed(curves(study(tmp_path))[0][0].svg()).all("polyline")]
    assert 100 <= len(line.split()) <= 200
    heights = np.array([float(point.split(",")[1]) for point in line.split()])
    assert (np.diff(heights) < 0).all()  # means hide the zigzag and leave the rise; the page's y grows downwards


def test_a_setting_is_swept_with_the_others_held(tmp_path):
    for number in range(8):
        settings = {"optimizer.lr": 10.0 ** -(number // 2), "kind": "ab"[number % 2]}
        write_run(tmp_path / str(number), settings=settings, accuracy=0.5 + number / 20)
    charts = {chart.title: chart.svg() for chart in sweeps(study(tmp_path))}
    over_rate, over_kind = charts["mIoU over lr"], charts["mIoU over kind"]
    lines = [attrs["points"] for attrs in Parsed(over_rate).all("polyline")]
    assert [len(line.split()) for line in lines] == [4, 4]
    x = np.array([float(point.split(",")[0]) for point in lines[0].split()])
    np.testing.assert_allclose(np.diff(x), np.diff(x)[0], atol=0.11)  # decades are equally far apart
    assert Parsed(over_kind).all("polyline") == []
    assert {attrs["href"] for attrs in Parsed(over_kind).all("a")} == {f"#g{number}" for number in range(1, 9)}


def test_settings_that_never_change_alone_are_not_swept(tmp_path):
    for number in range(2):
        write_run(tmp_path / str(number), settings={"a": number, "b": number}, command="t a=0 b=0")
    assert sweeps(study(tmp_path)) == []


def test_nothing_is_fetched(hostile, tmp_path):
    parsed = Parsed(text_of(hostile, tmp_path))
    policy = next(meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag, attrs in parsed.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        if "src" in attrs:
            assert attrs["src"].startswith("data:image/webp;base64,")
        if tag == "a":
            assert attrs["href"].startswith(("#", "./"))
    assert "url(" not in text_of(hostile, tmp_path)


def test_hostile_texts_stay_texts(hostile, tmp_path):
    parsed = Parsed(text_of(hostile, tmp_path, title=EVIL, command=EVIL, created=EVIL, protocol=[EVIL]))
    assert len(parsed.all("script")) == 1
    assert not [attrs for _, attrs in parsed.elements if any(name.startswith("on") for name in attrs)]
    assert " ".join(parsed.text).count("document.title='owned'") > 10


def test_a_page_without_a_finished_run(tmp_path):
    write_run(tmp_path / "a", status="failed", error="out of memory")
    text = " ".join(Parsed(text_of(tmp_path, tmp_path)).text)
    assert "No run has finished." in text
    assert "out of memory" in text


def test_a_failed_run_that_finished_later_says_so(tmp_path):
    write_run(tmp_path / "a", status="failed", error="out of memory", fingerprint="f")
    write_run(tmp_path / "b", fingerprint="f")
    assert "out of memory; finished since then: run 2" in " ".join(Parsed(text_of(tmp_path, tmp_path)).text)


def test_samples_are_taken_apart(tmp_path):
    write_run(tmp_path / "a", samples=("one", "two"), accuracy=1.0)
    found, told = samples(study(tmp_path).groups)
    assert [sample.name for sample in found] == ["one", "two"]
    assert told == []

    def pixels(uri):
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))

    whole = np.asarray(Image.open(tmp_path / "a" / "samples" / "one.png"))
    np.testing.assert_array_equal(pixels(found[0].truth), whole[:, 124:244])
    np.testing.assert_array_equal(pixels(found[0].predictions["g1"]), whole[:, 248:])
    assert pixels(found[0].image).shape == (90, 120, 3)
    assert abs(pixels(found[0].image).astype(int) - whole[:, :120]).mean() < 15


def test_large_samples_are_shrunk_and_broken_ones_told(tmp_path):
    folder = write_run(tmp_path / "a", samples=("one",)) / "samples"
    Image.new("RGB", (3 * 1001 + 8, 500), (9, 9, 9)).save(folder / "large.png")
    Image.new("RGB", (100, 50)).save(folder / "other.png")
    (folder / "broken.png").write_bytes(b"no picture")
    found, told = samples(study(tmp_path).groups)
    assert {sample.name: sample.size for sample in found} == {"large": (480, 240), "one": (120, 90)}
    assert told == ["2 sample files could not be read as image | truth | prediction."]


def test_pictures_have_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("atrous.report.images._MOST_BYTES", 5000)
    for number in range(15):
        write_run(tmp_path / f"{number:02d}", settings={"lr": number}, samples=("one", "two"))
    found, told = samples(study(tmp_path).groups)
    assert 1 <= len(found[0].predictions) < 12
    assert "the last ones are left out" in told[-1]
    assert told[0].startswith("Shown are 12 of 15 settings")


def test_the_front_is_what_nothing_beats():
    spent, scores = [3, 1, 2, 2, 5, 4, 3.5], [0.6, 0.5, 0.4, 0.55, 0.6, 0.7, 0.6]
    points = list(zip(spent, scores, strict=True))
    unbeaten = [
        index
        for index, (cost, score) in enumerate(points)
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
    ]
    assert sorted(pareto(spent, scores)) == unbeaten == [0, 1, 3, 5]


@pytest.mark.parametrize("ends", [(0, 1), (0.512, 0.5131), (-3, 2e6), (1e-9, 2e-9), (7, 7)])
def test_ticks_are_round_and_inside(ends):
    low, high = axis_limits(ends)
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert low <= min(found) < max(found) <= high
    assert low < ends[0] <= ends[1] < high


@pytest.mark.parametrize("ends", [(1, 1000), (3e6, 4e7), (0.0001, 0.1), (2, 2), (1, 1e12)])
def test_logarithmic_ticks(ends):
    low, high = axis_limits(ends, log=True)
    found = ticks(low, high, log=True)
    assert 2 <= len(found) <= 7
    assert low * 0.999 <= min(found) < max(found) <= high * 1.001


PROBE = """
const at = query => document.querySelector(query), press = query => at(query).click(), found = {};
found.title = document.title;
found.base = at('.base').src.slice(0, 10);
const rows = () => [...at('.sortable').tBodies[0].rows].map(row => row.cells[0].textContent);
found.rows = [rows()];
press('.sortable th:nth-child(3) button'); found.rows.push(rows());
press('.sortable th:nth-child(3) button'); found.rows.push(rows());
const before = at('.b').src, thumb = at('.thumb[aria-pressed=false]');
thumb.click();
found.swapped = at('.b').src !== before && at('.b').src === thumb.querySelector('img').src;
at('.wipe').value = 80; at('.wipe').dispatchEvent(new Event('input'));
found.wipe = getComputedStyle(at('.view')).getPropertyValue('--at');
const series = at('#curves button.key').dataset.series;
press('#curves button.key');
found.hidden = getComputedStyle(at('#curves svg .' + series)).display;
const theme = document.documentElement.dataset.theme;
press('#theme'); found.theme = theme !== document.documentElement.dataset.theme;
found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.unreachable = [...document.querySelectorAll('[onclick], a:not([href]), [tabindex="-1"]')].length;
found.broken = [...document.images].filter(image => image.complete && !image.naturalWidth).length;
document.body.dataset.found = JSON.stringify(found);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
@pytest.mark.parametrize("width", [500, 1300])
def test_in_a_browser(hostile, tmp_path, width):
    found = in_a_browser(text_of(hostile, tmp_path), PROBE, tmp_path, width)
    by_n = found.pop("rows")
    assert sorted(by_n[0]) == sorted(by_n[1]) == sorted(by_n[2])
    assert by_n[1] != by_n[2]
    assert found == {
        "title": "Report: runs",
        "base": "data:image",
        "swapped": True,
        "wipe": "80%",
        "hidden": "none",
        "theme": True,
        "wide": 0,
        "unreachable": 0,
        "broken": 0,
    }
