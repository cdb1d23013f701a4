"""`evaluate`: score a checkpoint on a split, exactly as at the end of its training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrous.cli.app import errors_as_messages
from atrous.cli.settings import own_settings
from atrous.config.checks import check_extra_metrics
from atrous.config.compose import prepare


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous evaluate ckpt=... [key=value ...]` and `atrous evaluate --compare A B`; see conf/evaluate.yaml."""
    prepare()
    given = list(sys.argv[1:] if argv is None else argv)
    with errors_as_messages():
        if "--compare" in given and not {"-h", "--help"} & set(given):
            from atrous.cli.compare import main

            given.remove("--compare")
            main(given)
            return
        settings, overrides = own_settings("evaluate", given)
        check_extra_metrics(settings["extra_metrics"])
        run(settings, overrides)


def run(settings: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Returns what it writes to `out/result.json`: scores, per-class scores, protocol."""
    from rich.console import Console

    from atrous.callbacks.progress import Progress
    from atrous.engine.build import build_datamodule
    from atrous.engine.checkpoint import check_classes, restore
    from atrous.engine.evaluation import evaluate, write_evaluation, write_samples
    from atrous.engine.resolution import resolution_of
    from atrous.engine.trainer import build_trainer, quiet_lightning
    from atrous.report.evaluation import show_evaluation
    from atrous.runs.protocol import weights_of
    from atrous.runs.record import RunRecord, now

    quiet_lightning()
    restored = restore(Path(settings["ckpt"]), settings, overrides)
    datamodule = build_datamodule(restored.config)
    check_classes(restored, datamodule.class_info)
    out = None if settings["out"] is None else Path(settings["out"])
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    trainer = build_trainer(restored.config, callbacks=[Progress()], loggers=[], folder=out or Path())
    scored = evaluate(
        trainer,
        restored.scorer,
        datamodule,
        settings["split"],
        resolution=resolution_of(restored.config, restored.scorer.model),
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
