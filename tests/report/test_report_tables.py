"""The tables as text."""

from __future__ import annotations

import csv
import io
import re

import pytest
from report.study_folders import folded, write_run

from atrous.report.tables import runs_csv, table_csv, table_md, table_tex
from atrous.runs.run import find_runs
from atrous.system.text import amount, duration, latex, markdown, one_line

HOSTILE = r"a|b & 50% $x_1$ #{y} ~^\ `<script>`"


def study(folder):
    def absent(a, b):
        raise ValueError("not compared")

    return folded(folder, absent)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_runs_csv_has_every_run_and_its_numbers(grid):
    write_run(grid / "7", status="failed", error="loss is\nnot finite", settings={"model.output_stride": 16})
    (grid / "8").mkdir()
    (grid / "8" / "config.yaml").write_text("a: 1")
    rows = rows_of(runs_csv(study(grid)))
    first = rows[0]
    run = find_runs([grid])[0][0]
    assert [row["status"] for row in rows].count("finished") == 6
    assert (first["number"], first["folder"], first["model.output_stride"], first["seed"]) == (
        "1",
        str(grid / "1"),
        "8",
        "0",
    )
    assert float(first["miou"]) == pytest.approx(run.score, abs=1e-9)
    assert float(first["iou/car"]) == pytest.approx(run.iou[1], abs=1e-9)
    assert (first["macs"], first["train_seconds"], first["dice"]) == ("2000000000", "90", "")
    assert first["command"] == "python train.py model.output_stride=8 seed=0"
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert (failed["error"], failed["miou"]) == ("loss is not finite", "")
    assert (rows[-1]["folder"], rows[-1]["status"], rows[-1]["error"]) == (
        str(grid / "8"),
        "unreadable",
        "no result.json",
    )


def test_table_csv_holds_what_the_groups_have(grid):
    found = study(grid)
    for row, group in zip(rows_of(table_csv(found)), found.groups, strict=True):
        assert (row["model.output_stride"], row["n"]) == (group.values[0], "3")
        assert float(row["miou"]) == pytest.approx(group.score.mean)
        assert float(row["miou_std"]) == pytest.approx(group.score.std)


def test_markdown_is_one_table_whatever_the_texts(tmp_path):
    write_run(tmp_path / "a", settings={"model.output_stride": HOSTILE}, command="t model.output_stride=x")
    write_run(tmp_path / "b", settings={"model.output_stride": "two\nlines"})
    lines = table_md(study(tmp_path)).splitlines()
    assert len(lines) == 4
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {10}  # a cell each side of the nine bars
    assert lines[1].startswith("| --- | ---: |")
    assert "two lines" in lines[3]
    assert "<script>" not in lines[2]


def test_latex_is_balanced_whatever_the_texts(tmp_path):
    write_run(tmp_path / "a", settings={"model.output_stride": HOSTILE}, command="t model.output_stride=x")
    write_run(tmp_path / "b", settings={"model.output_stride": "[6,12] "})
    text = table_tex(study(tmp_path))
    body = re.search(r"\\toprule\n(.*)\\bottomrule", text, re.DOTALL).group(1)
    rows = [line for line in body.splitlines() if line != r"\midrule"]
    columns = re.search(r"@\{\}([lr]+)@\{\}", text).group(1)
    for row in rows:
        assert row.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
        depth = 0
        for sign in re.findall(r"(?<!\\)[{}]", row):
            depth += 1 if sign == "{" else -1
            assert depth >= 0
        assert depth == 0
        assert not re.search(r"(?<!\\)[%#~^_]|<|>", row)
        assert not row.startswith("[")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & c%", r"a\_b \& c\%"),
        ("\\", r"\textbackslash{}"),
        ("{}$#", r"\{\}\$\#"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("--x", "-{}-x"),
        ("é 漢 🙂", "é ? ?"),
        ("0.5 ± 0.1", r"0.5 $\pm$ 0.1"),
    ],
)
def test_latex_signs(text, expected):
    assert latex(text) == expected


def test_plain_text_is_one_line_that_can_be_written():
    assert one_line("a\x00b\nc \x1b[31m") == r"a\x00b c \x1b[31m"
    assert one_line("\udcff").encode() == rb"\udcff"
    assert one_line("x" * 5000).startswith("x" * 1000 + " … ")
    assert len(one_line("x" * 5000)) == 2003
    assert one_line("left\u202eright") == r"left\u202eright"  # would turn the line's direction


def test_markdown_signs():
    assert markdown("a|b_c*") == r"a\|b\_c\*"
    assert markdown("<b>") == "&lt;b&gt;"


@pytest.mark.parametrize(
    ("value", "expected"), [(5_984_115, "5.98 M"), (999, "999"), (2e9, "2 G"), (float("nan"), "–"), (0, "0")]
)
def test_amounts(value, expected):
    assert amount(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(1.5, "1.5 s"), (600, "10 min"), (9000, "2.5 h"), (float("nan"), "–")])
def test_durations(value, expected):
    assert duration(value) == expected
