"""`evaluate`: score a checkpoint on a split, exactly as at the end of its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atrous.cli.app import run_command
from atrous.config.values import Split


@dataclass(frozen=True)
class Settings:
    """See conf/evaluate.yaml."""

    ckpt: str
    split: Split
    accelerator: str | None
    out: Path | None
    extra_metrics: bool
    trusted: list[str]
    overrides: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous evaluate ckpt=... [key=value ...]`; see conf/evaluate.yaml."""
    run_command("evaluate", Settings, lambda settings: run(vars(settings), settings.overrides), argv)


def run(settings: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Returns what it writes to `out/result.json`: scores, per-class scores, protocol."""
    from rich.console import Console

    from atrous.callbacks.progress import Progress
    from atrous.engine.build import build_datamodule
    from atrous.engine.checkpoint import check_classes, restore
    from atrous.engine.evaluate import evaluate, write_evaluation, write_samples
    from atrous.engine.resolution import resolution_of
    from atrous.engine.trainer import build_trainer, quiet_lightning
    from atrous.report.evaluation import show_evaluation
    from atrous.runs.protocol import weights_of
    from atrous.runs.record import RunRecord, now

    quiet_lightning()
    restored = restore(Path(settings["ckpt"]), settings, overrides)
    datamodule = build_datamodule(restored.config)
    check_classes(restored, datamodule.class_info)
    out = settings["out"]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    trainer = build_trainer(restored.config["trainer"], callbacks=[Progress()], loggers=[], folder=out or Path())
    scored = evaluate(
        trainer,
        restored.scorer,
        datamodule,
        settings["split"],
        resolution=resolution_of(restored.config["model"], restored.scorer.model),
        weights=weights_of(restored.config),
        extra=settings["extra_metrics"],
    )
    show_evaluation(Console(), scored)
    result = {"checkpoint": settings["ckpt"], **scored.as_json()}
    if out is not None:
        record = RunRecord(out, restored.config)
        write_evaluation(out, scored)
        write_samples(out / "samples", restored.scorer, datamodule, settings["split"])
        record.update(status="finished", ended=now(), **result)
        record.release()
        print(f"written to {out}")
    return result
