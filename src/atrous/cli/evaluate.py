"""`evaluate`: score a checkpoint on a split, exactly as at the end of its training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrous.cli.app import errors_as_messages, prepare
from atrous.cli.checkpoint import own_settings
from atrous.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> None:
    """`atrous evaluate ckpt=... [key=value ...]` and `atrous evaluate --compare A B`; see conf/evaluate.yaml."""
    prepare()
    given = list(sys.argv[1:] if argv is None else argv)
    with errors_as_messages():
        if "--compare" in given and not {"-h", "--help"} & set(given):
            from atrous.cli import compare

            given.remove("--compare")
            compare.main(given)
            return
        settings, overrides = own_settings("evaluate", given)
        check_extra_metrics(settings["extra_metrics"])
        run(settings, overrides)


def run(settings: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Returns what it writes to `out/result.json`: scores, per-class scores, protocol."""
    from rich.console import Console

    from atrous.callbacks.progress import Progress
    from atrous.cli import build, evaluation
    from atrous.cli.output_stride import resolution_of
    from atrous.cli.protocol import weights_of
    from atrous.cli.record import RunRecord, now

    build.quiet_lightning()
    restored = build.restore(Path(settings["ckpt"]), settings, overrides)
    datamodule = build.build_datamodule(restored.config)
    build.check_classes(restored, datamodule.class_info)
    out = None if settings["out"] is None else Path(settings["out"])
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    trainer = build.build_trainer(restored.config, callbacks=[Progress()], loggers=[], folder=out or Path())
    scored = evaluation.evaluate(
        trainer,
        restored.scorer,
        datamodule,
        settings["split"],
        resolution=resolution_of(restored.config, restored.scorer.model),
        precision=str(restored.config["trainer"]["precision"]),
        weights=weights_of(restored.config),
        extra=settings["extra_metrics"],
    )
    evaluation.show_evaluation(Console(), scored)
    result = {"checkpoint": settings["ckpt"], **scored.as_json()}
    if out is not None:
        record = RunRecord(out, restored.config)
        evaluation.write_evaluation(out, scored)
        evaluation.write_samples(out / "samples", restored.scorer, datamodule, settings["split"])
        record.update(status="finished", ended=now(), **result)
        record.release()
        print(f"written to {out}")
    return result


def check_extra_metrics(value: Any) -> None:
    """Raises ConfigError where `extra_metrics` is neither true nor false."""
    if not isinstance(value, bool):
        raise ConfigError(f"extra_metrics={value} is impossible; give true or false.")
