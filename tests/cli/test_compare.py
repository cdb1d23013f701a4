"""`evaluate --compare`: what may be compared, and what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atrous.cli import compare
from atrous.runs.compare import difference
from atrous.runs.protocol import differences, protocol, protocol_lines, weights_of
from atrous.runs.scores import read_evaluation
from atrous.types import ClassInfo

INFO = ClassInfo(("road", "car", "sky"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
IMAGES = 40


def protocol_of(**changes: Any) -> dict[str, Any]:
    about = {"split": "val", "images": IMAGES, "data": "0123456789ab", "class_info": INFO, "inference": "whole"}
    about["resolution"] = "output stride 16"
    return {**protocol(**about, precision="32-true", weights="as trained"), **changes}


@pytest.fixture
def left_by(tmp_path):
    """Writes what an evaluation leaves: truth by one seed, errors by another."""

    def write(
        name: str,
        *,
        accuracy: float,
        names: Any = None,
        truth: int = 0,
        classes: Any = None,
        seed: Any = None,
        **changes: Any,
    ) -> Path:
        pixels = np.random.default_rng(truth).integers(100, 400, (IMAGES, 3))
        right = np.random.default_rng([ord(letter) for letter in name]).binomial(pixels, accuracy)
        matrices = np.zeros((IMAGES, 3, 3), np.int32)
        for label in range(3):
            matrices[:, label, label] = right[:, label]
            matrices[:, label, label - 1] = pixels[:, label] - right[:, label]
        folder = tmp_path / name
        folder.mkdir()
        names = [f"image {index}" for index in range(IMAGES)] if names is None else names
        np.savez(folder / "confusion.npz", names=names, matrices=matrices, classes=classes or INFO.names)
        result = {"status": "finished", "provenance": {"seed": seed}, "protocol": protocol_of(**changes)}
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return write


def compared(*arguments: object) -> None:
    compare.main([*map(str, arguments)])


def test_the_better_side_is_named_with_its_interval(left_by, capsys):
    good, poor = left_by("good", accuracy=0.9), left_by("poor", accuracy=0.8)
    compared(good, poor)
    out = capsys.readouterr().out
    assert "A is higher, too few seeds: mIoU +0." in out
    assert "val, 40 images, data 0123456789ab" in out
    assert "inference whole" in out
    assert "how another seed would train is not in it" in out
    compared(poor / "result.json", good, "resamples=500")
    out = capsys.readouterr().out
    assert "B is higher, too few seeds: mIoU +0." in out
    assert "500 resamples of the images. The interval is about which images" in out


def test_alike_networks_are_not_told_apart(left_by, capsys):
    compared(left_by("one", accuracy=0.85), left_by("two", accuracy=0.85))
    assert "no difference shown" in capsys.readouterr().out


def test_what_is_printed_is_the_bootstrap_of_the_files(left_by, capsys):
    a, b = (read_evaluation(left_by(name, accuracy=accuracy)) for name, accuracy in (("a", 0.8), ("b", 0.82)))
    found = difference([a], [b], resamples=1000, seed=3)
    compared(a.source, b.source, "resamples=1000", "seed=3")
    out = capsys.readouterr().out
    assert f"B is higher, too few seeds: mIoU {-found.score:+.3f} [{-found.high:+.3f}, {-found.low:+.3f}]" in out
    (row,) = (line for line in out.splitlines() if "│ car" in line)
    assert f"{found.iou[1]:+.3f}" in row
    assert f"{found.iou_low[1]:+.3f} to {found.iou_high[1]:+.3f}" in row


def test_runs_of_the_same_seeds_are_paired(left_by, capsys):
    """A seed moves both sides by far more than they differ: only pairs show it, whichever way the runs are named."""

    def side(letter: str, gap: float) -> list[Path]:
        return [left_by(f"{letter}{seed}", accuracy=0.7 + seed / 20 + gap, seed=seed) for seed in range(3)]

    a, b = side("a", 0.03), side("b", 0)
    compared(",".join(map(str, a)), ",".join(map(str, reversed(b))))
    out = capsys.readouterr().out
    assert "A is better" in out
    assert "Student's t over the runs, paired by seed." in out
    b[0] = left_by("other", accuracy=0.7, seed=7)
    compared(",".join(map(str, a)), ",".join(map(str, b)))
    out = capsys.readouterr().out
    assert "no difference shown" in out
    assert "Student's t over the runs, not paired." in out


def test_images_in_another_order_are_the_same_images(left_by, capsys):
    folder = left_by("a", accuracy=0.8)
    arrays = dict(np.load(folder / "confusion.npz"))
    other = folder.parent / "b"
    other.mkdir()
    np.savez(
        other / "confusion.npz",
        names=arrays["names"][::-1],
        matrices=arrays["matrices"][::-1],
        classes=arrays["classes"],
    )
    (other / "result.json").write_text((folder / "result.json").read_text())
    compared(folder, other)
    assert "no difference shown: mIoU +0.000 [+0.000, +0.000]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": "ffffffffffff"}, "data: 0123456789ab / ffffffffffff"),
        ({"split": "test"}, "split: val / test"),
        ({"ignore_index": 0}, "ignore_index: 255 / 0"),
        ({"resize": "masks are resized to 512 x 512"}, "resize: none"),
        ({"truth": 1}, "truth: the masks of 40 images have other pixels per class"),
        ({"names": [f"other {index}" for index in range(IMAGES)]}, "images: 80 were scored on one side only"),
        ({"classes": ("road", "truck", "sky")}, "class names: road, car, sky / road, truck, sky"),
    ],
)
def test_scores_of_other_data_or_rules_are_refused(left_by, capsys, changes, told):
    a, b = left_by("a", accuracy=0.8), left_by("b", accuracy=0.8, **changes)
    with pytest.raises(SystemExit) as stop:
        compared(a, b)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "can't be compared" in error
    assert told in error
    assert "same `evaluate` settings" in error


@pytest.mark.parametrize("key", ["inference", "postprocess", "precision", "weights", "code", "something new"])
def test_other_ways_to_score_are_told_and_compared(left_by, capsys, key):
    compared(left_by("a", accuracy=0.9), left_by("b", accuracy=0.8, **{key: "other"}))
    out = capsys.readouterr().out
    assert f"differs {key}: " in out
    assert "A is higher" in out


def test_a_protocol_from_before_is_shown_as_it_is(left_by, capsys):
    folders = [left_by(name, accuracy=0.8) for name in "ab"]
    for folder in folders:
        (folder / "result.json").write_text(json.dumps({"status": "finished", "protocol": {"split": "val"}}))
    compared(*folders)
    assert "split: val" in capsys.readouterr().out


def test_what_is_missing_is_named(left_by, tmp_path, capsys):
    good = left_by("good", accuracy=0.8)
    bare, damaged, running = (left_by(name, accuracy=0.8) for name in ("bare", "damaged", "running"))
    (bare / "confusion.npz").unlink()
    (damaged / "confusion.npz").write_bytes(b"no arrays")
    (running / "result.json").write_text(json.dumps({"status": "running"}))
    for folder, told in (
        (tmp_path / "nowhere", f"no result.json in {tmp_path / 'nowhere'}. Give the folder of a finished training"),
        (bare, f"no confusion.npz in {bare}"),
        (damaged, f"{damaged} holds a damaged result.json or confusion.npz"),
        (running, "has no scores; its status is killed"),
    ):
        with pytest.raises(SystemExit):
            compared(good, folder)
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "compare got no sides; give two"),
        (["one"], "compare got 1 sides: one. Give two"),
        (["a", "b", "c"], "compare got 3 sides"),
        (
            ["a", "b", "resamples=many"],
            "resamples=many is impossible; give a whole number from 1 on, such as 'resamples=10000'",
        ),
        (["a", "b", "resamples=0"], "resamples=0 is impossible"),
        (["a", "b", "--fast"], "compare has no setting '--fast'; choose from resamples=, seed="),
    ],
)
def test_wrong_arguments(arguments, told, capsys):
    with pytest.raises(SystemExit):
        compared(*arguments)
    assert told in capsys.readouterr().err


def test_it_needs_no_torch_and_hydra_leaves_it_alone(left_by):
    a, b = left_by("a", accuracy=0.9), left_by("b", accuracy=0.8)
    code = (
        "import sys; from atrous.cli.main import main; main();"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "evaluate", "--compare", str(a), str(b)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert run.returncode == 0, run.stderr
    assert "A is higher" in run.stdout


def test_the_protocol_in_two_lines():
    first, second = protocol_lines(protocol_of(weights="averaged (decay 0.99)", inference="slide, windows of 512"))
    assert first == (
        "scored on val, 40 images, data 0123456789ab; 3 classes, 255 ignored, absent classes left out; "
        "one confusion matrix over all images"
    )
    assert "network at output stride 16; inference slide, windows of 512" in second
    assert "weights averaged (decay 0.99); atrous " in second


def test_keys_of_one_protocol_only_are_differences():
    assert differences({"split": "val", "flip": True}, {"split": "val"}) == ([], ["flip: True / not stored"])
    assert differences({"data": "a"}, {}) == (["data: a / not stored"], [])


def test_averaged_weights_are_told():
    callbacks = {"best": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint"}}
    assert weights_of({"callbacks": callbacks}) == "as trained"
    callbacks["ema"] = {"_target_": "lightning.pytorch.callbacks.EMAWeightAveraging", "decay": 0.998}
    assert weights_of({"callbacks": callbacks}) == "averaged (decay 0.998)"
