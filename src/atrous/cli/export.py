"""`export`: a checkpoint as ONNX or as torch's program, checked on real images before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from atrous.cli.app import run_command
from atrous.config.values import PositiveInt, Range, Size, Split, Text


@dataclass(frozen=True)
class Settings:
    """See conf/export.yaml."""

    ckpt: Path | None
    out: Path
    format: Literal["onnx", "torch", "both"]
    size: Size | None
    fixed: bool
    probabilities: bool
    opset: Annotated[int, Range(18, 23)]
    images: Text | None
    split: Split
    count: PositiveInt
    trusted: list[str]
    overrides: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous export ckpt=... [key=value ...]`; see conf/export.yaml."""
    run_command("export", Settings, run, argv)


def run(settings: Settings) -> None:
    """Says what the files take and how well they agree with the network."""
    from atrous.engine.ensemble import restore_all
    from atrous.engine.export import check_images, export
    from atrous.engine.trainer import quiet_lightning

    quiet_lightning()
    restored = restore_all(
        settings.ckpt, settings.overrides, split=settings.split, trusted=settings.trusted, accelerator="cpu"
    )
    written = export(
        restored,
        check_images(restored, split=settings.split, paths=settings.images, count=settings.count),
        settings.out,
        formats=["torch", "onnx"] if settings.format == "both" else [settings.format],
        size=settings.size,
        fixed=settings.fixed,
        probabilities=settings.probabilities,
        opset=settings.opset,
        say=print,
    )
    for path in written:
        print(f"written to {path}, {path.stat().st_size / 1e6:.1f} MB")
    if "onnx" in settings.format or settings.format == "both":
        print(f"try: python {settings.out / 'predict.py'} {settings.out / 'model.onnx'} IMAGE -o labelled")
