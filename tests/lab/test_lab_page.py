"""The dilation lab's page, charts and pictures, from numbers that a test can check. Looked at by a browser where there is one."""

from __future__ import annotations

import copy
import csv
import re
import statistics
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from report.test_page import CHROMIUM, EVIL, Parsed, in_a_browser

from atrous.lab import figures as draw
from atrous.lab.data import Map, read
from atrous.lab.page import figures, page
from atrous.lab.tables import COSTS, runs_csv, table_csv, table_md
from atrous.lab.taps import extent, taps

COST = {cost.name: cost for cost in COSTS}


def run_of(seed, miou, context, size):
    return {
        "folder": f"/somewhere/runs/{seed}",
        "seed": seed,
        "trained_distance": 8,
        "miou": miou,
        "objects": {"sizes": ["small", "medium", "large"], "limits": [1024, 9216], "recall": [miou - 0.2, miou, None],
                    "number": [70, 30, 0]},
        "context": [{"distance": d, "iou": iou, "right": iou + 0.2} for d, iou in context.items()],
        "effective": {"size": size, "deviation": [size / 4, size / 3], "images": 8, "above_share_of_maximum": 0.0455},
        "protocol": ["scored on val", "network at output stride 8"],
    }  # fmt: skip


def variant_of(number, stride, rates, runs, *, field, seconds):
    """An image of 64 x 96 pixels."""
    side = (64 // stride, 96 // stride)
    entries = [
        {"rate": rate, "field": [100 + rate, 100 + rate], "valid": 1 / rate, "all_valid": 0.25, "one_valid": 0.0}
        for rate in rates
    ]
    return {
        "id": f"g{number}",
        "label": f"output_stride={stride}, dilations={rates}",
        "values": [str(stride), str(rates)],
        "network": "DeepLabV3Plus",
        "output_stride": stride,
        "sees": {
            "field": field,
            "image_pool": True,
            "unknown_operations": [],
            "maps": [{"size": [64, 96], "map": list(side), "rates": entries, "curve": [1 / r for r in range(1, 13)]}],
            "parameters": 5_000_000,
            "macs": 10**9 * number,
        },
        "memory": {
            "inference": {"size": [64, 96], "batch_size": 1, "bytes": 2**20 * 10, "error": None},
            "training": {"size": [64, 64], "batch_size": 8, "bytes": None, "error": "out of memory"},
        },
        "latency": {"p05": seconds * 0.9, "p50": seconds, "p95": seconds * 1.2, "cpu": seconds / 2},
        "runs": runs,
    }


@pytest.fixture
def content():
    near = [run_of(0, 0.50, {4: 0.40, 16: 0.30}, 20.0), run_of(1, 0.60, {4: 0.60, 16: 0.34}, 24.0)]
    far = [run_of(0, 0.70, {4: 0.50, 16: 0.44}, 40.0)]
    return {
        "title": "Dilation lab: runs",
        "command": "python -m atrous lab runs",
        "created": "now",
        "split": "val",
        "overrides": [],
        "size": [64, 96],
        "context_distances": [4, 16],
        "columns": [{"key": "model.output_stride", "name": "output_stride"}, {"key": "model.dilations", "name": "dilations"}],
        "variants": [
            variant_of(1, 16, [1, 2], near, field=[101, 101], seconds=0.010),
            variant_of(2, 8, [2, 6], far, field=[None, None], seconds=0.025),
        ],
        "latency": {"networks": [], "machine": "a machine, 1 threads", "cores": 2, "load": [1.0, 3.5], "rounds": 20},
        "left_out": ["No spread where a setting has one seed."],
    }  # fmt: skip


@pytest.fixture
def hostile(content):
    """Every text is hostile, and the second setting knows next to nothing."""
    content |= {"title": EVIL, "command": EVIL, "created": EVIL, "left_out": [EVIL], "overrides": [EVIL]}
    content["columns"] = [{"key": EVIL, "name": EVIL}] * 2
    content["latency"]["machine"] = EVIL
    for variant in content["variants"]:
        variant |= {"label": EVIL, "values": [EVIL, EVIL], "network": EVIL}
        variant["memory"]["training"]["error"] = EVIL
        for run in variant["runs"]:
            run |= {"folder": f"/somewhere/{EVIL}", "seed": EVIL, "protocol": [EVIL], "trained_distance": EVIL}
    content["variants"][1] |= {"sees": None, "memory": None, "latency": None}
    content["variants"][1]["runs"][0] |= {"objects": None, "context": [], "effective": None, "protocol": []}
    return content


def text_of(content, tmp_path):
    return page(read(content), out=tmp_path)


def test_what_a_reader_finds(content, tmp_path):
    parsed = Parsed(text_of(content, tmp_path))
    text = " ".join(" ".join(parsed.text).split())
    scores, context = [0.50, 0.60], [0.30, 0.34]
    assert f"{statistics.mean(scores):.3f} ± {statistics.stdev(scores):.3f}" in text
    assert f"{statistics.mean(context):.3f} ± {statistics.stdev(context):.3f}" in text
    assert "3 finished runs of 2 settings; highest mIoU 0.700" in text
    for told in ("100%, 50%", "50%, 17%", "whole image", "22 ± 3", "10.0", "25.0", "1 G", "Trained at 8 pixels"):
        assert told in text
    assert "its load average was 1.0 before and 3.5 after, on 2 cores" in text
    assert "training was not measured: out of memory" in text
    assert "training, MiB" not in text  # nobody has a number
    assert "Parts in the truth: small: 70, medium: 30, large: 0." in text
    links = {attrs["href"] for attrs in parsed.all("a")}
    assert {link[1:] for link in links if link.startswith("#")} <= parsed.ids


def test_tables_in_full(content):
    first, second = csv.DictReader(table_csv(read(content)).splitlines())
    assert float(first["context_iou_16px"]) == pytest.approx(0.32)
    assert float(first["context_iou_16px_std"]) == pytest.approx(statistics.stdev([0.30, 0.34]))
    assert float(first["context_right_16px"]) == pytest.approx(0.52)
    assert (first["recall_large"], second["miou_std"], second["theoretical_field_px"]) == ("", "", "")
    assert (first["places"], second["places"]) == ("17", "17")
    assert float(second["valid_weights"]) == pytest.approx((1 / 2 + 1 / 6) / 2)
    assert (second["latency_p50_s"], second["latency_cpu_s"]) == ("0.025", "0.0125")
    rows = list(csv.DictReader(runs_csv(read(content)).splitlines()))
    assert [row["effective_field_px"] for row in rows] == ["20", "24", "40"]
    assert rows[2]["effective_deviation_down_px"] == "10"
    head, _, row, _ = table_md(read(content)).splitlines()
    assert head.count("|") == row.count("|")
    assert "training" not in head
    assert "| 0.550 ± 0.071 |" in row


def points_of(svg):
    """Means: centres of the large dots that lead to a setting, by its link."""
    found = {}
    for link, x, y in re.findall(r'<a href="#(\w+)"[^>]*><circle class="dot [^"]*" cx="([\d.]+)" cy="([\d.]+)"', svg):
        found.setdefault(link, []).append((float(x), float(y)))
    return found


def test_the_ratio_is_the_distance_over_half_the_field(content):
    content["variants"][1]["sees"]["field"] = [404, 404]
    svg = draw.ratio(read(content), "theoretical").svg()
    points = points_of(svg)
    ratios = [2 * 4 / 101, 2 * 16 / 101, 2 * 4 / 404, 2 * 16 / 404]
    across, up = np.array(points["g1"] + points["g2"]).T
    (edge,) = re.findall(r'points="([\d.]+),[\d. ,]*"><title>the marker at the field', svg)
    per_doubling = (across[1] - across[0]) / 2
    np.testing.assert_allclose((across - float(edge)) / per_doubling, np.log2(ratios), atol=2e-2)
    iou = np.array([0.50, 0.32, 0.50, 0.44])
    np.testing.assert_allclose((up - up[0]) / (up[1] - up[0]), (iou - iou[0]) / (iou[1] - iou[0]), atol=2e-3)
    content["variants"][1]["sees"]["field"] = [None, None]  # the whole image: no ratio
    assert set(points_of(draw.ratio(read(content), "theoretical").svg())) == {"g1"}


def test_reach_and_distance_stand_on_one_axis(content):
    lab = read(content)
    over, reach = draw.context(lab, "iou"), draw.reach(lab)
    assert over.x == reach.x
    (four, _), (sixteen, _) = points_of(over.svg())["g1"]
    theoretical, effective = (x for x, _ in points_of(reach.svg())["g1"])
    per_doubling = (sixteen - four) / 2
    assert (theoretical - four) / per_doubling == pytest.approx(np.log2(101 / 2 / 4), abs=5e-3)
    assert (effective - four) / per_doubling == pytest.approx(np.log2(22 / 2 / 4), abs=5e-3)
    assert len(points_of(reach.svg())["g2"]) == 1  # of the whole image there is no end to mark


def test_an_axis_holds_its_whiskers_and_the_coin(content):
    chart = draw.context(read(content), "iou")
    low = 0.32 - statistics.stdev([0.30, 0.34])
    assert chart.y[0] < min(low, 1 / 3)
    assert chart.y[1] > 0.5 + statistics.stdev([0.4, 0.6])
    for variant in content["variants"]:
        for run in variant["runs"]:
            run["context"] = [{"distance": 4, "iou": 0.9, "right": 0.95}]
    assert draw.context(read(content), "iou").y[0] < 1 / 3
    assert draw.context(read(content), "right").y[0] < 1 / 2


def test_what_all_have_alike_is_no_chart(content):
    assert draw.over_cost(read(content), COST["parameters"]) is None
    assert draw.over_cost(read(content), COST["training, MiB"]) is None
    assert (
        draw.over_cost(read(content), COST["latency, ms"]).svg().count("best") == 2
    )  # slower and better: both on the front
    content["variants"][1]["latency"]["p50"] = 0.005
    assert draw.over_cost(read(content), COST["latency, ms"]).svg().count("best") == 1
    for variant in content["variants"]:
        for run in variant["runs"]:
            run["context"] = []
    assert draw.context(read(content), "iou") is None
    assert draw.reach(read(content)) is None


@pytest.mark.parametrize(("stride", "rates"), [(16, [1, 2]), (8, [2, 6]), (16, [6, 12, 18])])
def test_the_picture_has_each_place_once_inside_or_outside(content, stride, rates):
    content["variants"] = [variant_of(1, stride, rates, [], field=[9, 9], seconds=1.0)]
    (variant,) = (one for one in read_without_runs(content).variants)
    (found,) = variant.maps
    half = extent([variant])
    svg = ET.fromstring(taps(found, "a", half))
    rows, columns = 64 // stride, 96 // stride
    places = {(dy * r, dx * r) for r in rates for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    inside = {(y, x) for y, x in places if 0 <= rows // 2 + y < rows and 0 <= columns // 2 + x < columns}
    pixels = 300 / (2 * half)  # of the picture, for one of the image
    for kind, expected in (("on", inside), ("off-map", places - inside)):
        marks = [rect.attrib for rect in svg if rect.get("class") == kind]
        middles = {
            tuple(
                round((float(mark[a]) + float(mark[b]) / 2 - 150) / pixels / stride)
                for a, b in (("y", "height"), ("x", "width"))
            )
            for mark in marks
        }
        assert len(marks) == len(expected)
        assert middles == expected
    ground = next(rect for rect in svg if rect.get("class") == "map")
    assert float(ground.get("width")) == pytest.approx(96 * pixels, abs=0.1)
    assert float(ground.get("height")) == pytest.approx(64 * pixels, abs=0.1)
    assert all(0 <= float(rect.get("x")) <= 300 for rect in svg if rect.get("class") in ("on", "off-map", "map"))


@pytest.mark.parametrize(
    ("image", "size", "stride"), [((360, 480), (23, 30), 16), ((361, 481), (46, 61), 8), ((33, 40), (3, 3), 16)]
)
def test_the_stride_of_a_map_that_was_rounded_up(image, size, stride):
    assert Map(image, size, (), ()).stride == stride


def read_without_runs(content):
    content = copy.deepcopy(content)
    for variant in content["variants"]:
        variant["runs"] = [run_of(0, 0.5, {}, 1.0)]
    return read(content)


@pytest.mark.parametrize("kind", ["content", "hostile"])
def test_figures_stand_by_themselves(request, kind):
    for text in figures(read(request.getfixturevalue(kind))).values():
        assert "var(" not in text
        elements = list(ET.fromstring(text).iter())
        assert {element.tag.rpartition("}")[2] for element in elements} <= {
            "svg", "style", "rect", "text", "line", "polyline", "circle", "path", "title",
        }  # fmt: skip
        assert not [
            name for element in elements for name in element.attrib if name in ("href", "src") or name[:2] == "on"
        ]


def test_a_figure_for_all_that_can_be_drawn(content):
    found = figures(read(content))
    assert set(found) == {"context", "fields", "sizes", "cost", "valid", "taps"}
    names = [f"mIoU over {kind} receptive field" for kind in ("effective", "theoretical")]
    assert [name in found["fields"] for name in names] == [True, False]  # one setting's field is no chart
    content["variants"][1]["sees"]["field"] = [404, 404]
    assert [name in figures(read(content))["fields"] for name in names] == [True, True]


def test_many_settings_and_few_colours(content):
    first = content["variants"][0]
    content["variants"] = []
    for number in range(12):
        runs = [run_of(0, 0.1 + number / 20, {4: 0.5}, 10.0 + number)]
        content["variants"].append({**copy.deepcopy(first), "id": f"g{number}", "runs": runs})
    styles = [variant.style for variant in read(content).variants]
    assert styles == ["rest"] * 4 + [f"s{number}" for number in range(8)]


def test_hostile_texts_stay_texts(hostile, tmp_path):
    parsed = Parsed(text_of(hostile, tmp_path))
    assert len(parsed.all("script")) == 1
    assert not [attrs for _, attrs in parsed.elements if any(name.startswith("on") for name in attrs)]
    assert " ".join(parsed.text).count("document.title='owned'") > 10
    policy = next(meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag, attrs in parsed.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img")
        if tag == "a":
            assert attrs["href"].startswith(("#", "./"))
    for text in (table_csv(read(hostile)), runs_csv(read(hostile)), table_md(read(hostile))):
        assert "\n<" not in text


PROBE = """
const at = query => document.querySelector(query), found = {};
found.title = document.title;
const rows = () => [...at('#results table').tBodies[0].rows].map(row => row.id);
const head = [...document.querySelectorAll('#results th button')].find(button => button.textContent === 'latency, ms');
head.focus(); found.focused = document.activeElement === head;
head.click(); found.up = rows(); head.click(); found.down = rows();
const key = at('#context button.key'), series = key.dataset.series;
key.click();
found.hidden = getComputedStyle(at('#context svg .' + series)).display;
const ink = getComputedStyle(document.body).color;
at('#theme').click();
found.theme = ink !== getComputedStyle(document.body).color;
found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.scrolls = [...document.querySelectorAll('.scroll')].every(part => part.tabIndex === 0);
found.taps = document.querySelectorAll('svg.taps .on').length > 0;
found.requests = performance.getEntriesByType('resource').length;
document.body.dataset.found = JSON.stringify(found);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
@pytest.mark.parametrize("width", [500, 1300])
def test_in_a_browser(content, tmp_path, width):
    assert in_a_browser(text_of(content, tmp_path), PROBE, tmp_path, width) == {
        "title": "Dilation lab: runs",
        "focused": True,
        "up": ["g1", "g2"],
        "down": ["g2", "g1"],
        "hidden": "none",
        "theme": True,
        "wide": 0,
        "scrolls": True,
        "taps": True,
        "requests": 0,
    }
