"""Pictures of an evaluation's scores: the trimap curve and the reliability diagram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from atrous.system.files import save_figure

GREY, BLUE, ORANGE = "#999999", "#2a6fb0", "#d9772b"


def write_trimap(path: Path, boundary: dict[str, Any]) -> None:
    """Scores within bands around the true boundaries over the bands' width.

    Args:
        path: Of the PNG.
        boundary: The part of result.json.
    """
    figure = Figure(figsize=(6, 4), dpi=120)
    axes = figure.subplots()
    trimap = boundary["trimap"]
    for key, name, colour in (("pixel_accuracy", "pixel accuracy", BLUE), ("miou", "mIoU", ORANGE)):
        axes.plot(trimap["width"], trimap[key], "o-", color=colour, label=name)
    axes.set(xlabel="pixels on each side of a boundary", ylabel="score within the band", xlim=(0, None), ylim=(0, 1))
    _finish(figure, axes, path, legend="lower right")


def write_reliability(path: Path, calibration: dict[str, Any]) -> None:
    """How often the network is right over how sure it is, with the share of pixels in each bin.

    Args:
        path: Of the PNG.
        calibration: The part of result.json.
    """
    figure = Figure(figsize=(5, 5), dpi=120)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins, pixels = calibration["bins"], calibration["pixels"]
    centres = [(index + 0.5) / bins for index in range(bins)]
    upper.bar(centres, calibration["accuracy"], 0.9 / bins, color=BLUE, label=f"accuracy, ECE {calibration['ece']:.3f}")
    upper.plot((0, 1), (0, 1), "--", color=GREY, label="as often right as sure")
    upper.set(ylabel="share of pixels that are right", xlim=(0, 1), ylim=(0, 1))
    lower.bar(centres, pixels / max(1, sum(pixels)), 0.9 / bins, color=GREY)
    lower.set(xlabel="probability of the predicted class", ylabel="share of pixels")
    lower.spines[["top", "right"]].set_visible(False)
    _finish(figure, upper, path, legend="upper left")


def _finish(figure: Figure, axes: Any, path: Path, *, legend: str) -> None:
    """Adds the legend and writes the PNG."""
    axes.legend(frameon=False, loc=legend)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save_figure(path, figure)
