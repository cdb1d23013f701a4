"""Trains a run, scores its best checkpoint, and records what came of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger
from rich.console import Console

from atrous.analysis.cost import cost
from atrous.callbacks.checkpoint import LastCheckpoint
from atrous.callbacks.prune import Pruned
from atrous.config.compose import build
from atrous.config.messages import describe
from atrous.config.signatures import check_signatures
from atrous.config.upgrade import upgraded
from atrous.data.quick_check import fingerprint
from atrous.engine.build import build_datamodule, build_loggers, build_task, network_name, unsharded
from atrous.engine.checkpoint import load_checkpoint, load_weights
from atrous.engine.evaluate import evaluate, write_evaluation, write_samples
from atrous.engine.first_pass import check_parts
from atrous.engine.resolution import resolution_of
from atrous.engine.segment import segment_and_score
from atrous.engine.trainer import build_trainer, out_of_time, quiet_lightning, warn_of_slow_precision
from atrous.errors import CheckpointError, TrainingError
from atrous.loggers.wandb import close, keep_id, log_scores
from atrous.report.training import TrainingReport
from atrous.runs.failures import failure_of
from atrous.runs.protocol import weights_of
from atrous.runs.record import RunRecord
from atrous.runs.resume import OUT_OF_TIME, whole_checkpoint
from atrous.runs.run import Status, flat
from atrous.system.ranks import is_main_process
from atrous.system.signals import Interrupted, Signals
from atrous.system.text import setting, short
from atrous.tasks.semantic import SemanticTask


def run(config: dict[str, Any], folder: Path, report: TrainingReport | None = None) -> float:
    """Trains, or segments by a method, in this process, as one of several where a launcher has said so. Returns the main score.

    With `resume: auto` it goes on from what the folder holds.

    Args:
        config: The resolved config.
        folder: The run folder; it exists.
        report: Is told what happens, in the main process; None: nobody is.

    Raises:
        Interrupted: If a signal asked it to stop; status 128 + signal.
    """
    quiet_lightning()
    with Signals() as signals:
        record = RunRecord(folder, config, resumed=config["resume"] == "auto") if is_main_process() else None
        report = report if report and record else TrainingReport(Console(quiet=True))
        loggers: list[Logger] = []
        try:
            loggers = build_loggers(config, wandb_id=record.content.get("wandb_id")) if record else []
            keep_id(loggers, record)
            if "method" in config:
                score = segment_and_score(config, folder, loggers, record, report)
            else:
                score = _fit_and_score(config, folder, loggers, record, signals, report)
        except Pruned as pruned:
            score = pruned.score
            if record:
                record.end(Status.PRUNED, **{f"val_{record.main_score.key}": score}, steps=pruned.steps)
                report.stop(str(pruned))
        except BaseException as error:
            failure = failure_of(error, folder, signals.number)
            stopped = failure if isinstance(failure, Interrupted) else None
            if record and stopped:
                record.end(Status.INTERRUPTED, signal=stopped.name)
                report.stop(f"\n{stopped.name}: stopped. To go on: the same command with resume=auto")
            elif record:
                with suppress(OSError):  # of a full disk: the run then counts as killed
                    record.end(Status.FAILED, error=describe(failure))
            close(loggers, exit_code=128 + stopped.number if stopped else 1)
            if failure is error:
                raise
            raise failure from error
        finally:
            if record:
                record.release()
        close(loggers, exit_code=0)
        if signals.number:  # too late for this run, but not for the next ones of a multirun
            raise Interrupted(signals.number)
    return score


def _fit_and_score(
    config: dict[str, Any],
    folder: Path,
    loggers: list[Logger],
    record: RunRecord | None,
    signals: Signals,
    report: TrainingReport,
) -> float:
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    split = config["eval_split"]
    check_signatures(config)  # all of it, before data is read
    datamodule = build_datamodule(config)
    datamodule.check()
    if record:
        prints = {name: fingerprint(datamodule.dataset(name)) for name in sorted({"train", "val", split})}
        record.know_files(config, prints)
    task = build_task(config, datamodule)
    check_parts(task, datamodule, config)
    callbacks = {name: build(options, f"callbacks.{name}") for name, options in config["callbacks"].items()}
    keeper: LastCheckpoint = callbacks["last"]
    keeper.signals = signals
    trainer = build_trainer(config["trainer"], callbacks=[*callbacks.values()], loggers=loggers, folder=folder)
    start = _starting_point(folder if config["resume"] == "auto" else None, config["ckpt_path"], task)
    if record:
        warn_of_slow_precision(trainer)
        report.start(
            network=network_name(config["model"]),
            parameters=sum(p.numel() for p in task.model.parameters()),
            device=f"{trainer.world_size} x {trainer.strategy.root_device.type}, precision {trainer.precision}",
            classes=task.class_info.num_classes,
            images={name: len(datamodule.dataset(name)) for name in ("train", "val")},
            batch_size=datamodule.batch_size,
            folder=folder,
        )
        if start.own and "resumed" in record.content:
            record.content["resumed"][-1]["steps"] = start.steps
            record.write()
        report.resume(start.notes)

    trainer.fit(task, datamodule=datamodule, ckpt_path=start.checkpoint, weights_only=True)
    seconds = keeper.seconds  # those of earlier processes of the run included
    chosen = getattr(callbacks.get("best"), "best_model_path", "")
    best = Path(chosen) if chosen else keeper.path
    if not best.exists():
        raise TrainingError(
            f"the run ended after {trainer.global_step} updates, before there was a checkpoint, as where trainer.max_time="
            f"{config['trainer']['max_time']} leaves no time for one; raise it."
        )
    if not chosen:
        report.stop(f"no validation has chosen a checkpoint; the last one is scored, {short(best)}\n")
    scorer = unsharded(task, config)
    load_weights(scorer, load_checkpoint(best)["state_dict"], best)
    scored = evaluate(
        trainer,
        scorer,
        datamodule,
        split,
        resolution=resolution_of(config["model"], scorer.model),
        weights=weights_of(config),
        extra=config["extra_metrics"],
    )
    if record:
        write_evaluation(folder, scored)
        samples = write_samples(folder / "samples", scorer, datamodule, split)
        record.end(
            Status.FINISHED,
            **scored.as_json(),
            best_checkpoint=str(best.resolve().relative_to(folder.resolve())),
            epochs=trainer.current_epoch,
            steps=trainer.global_step,
            out_of_time=config["trainer"]["max_time"] if out_of_time(trainer) else None,
            cost={**cost(scorer, datamodule, split), "train_seconds": seconds},
        )
        log_scores(
            loggers,
            scores=scored.scores,
            classes=scored.classes,
            class_scores=scored.class_scores,
            confusion=scored.confusion,
            samples=samples,
        )
        report.finish(
            scored, folder=folder, best=best, seconds=seconds, command=str(record.content["command"]), config=config
        )
        if out_of_time(trainer):
            report.stop(OUT_OF_TIME)
    return scored.score


@dataclass(frozen=True)
class _Start:
    """The checkpoint that a training goes on from, if any.

    Args:
        checkpoint: Its file.
        own: Whether it is one of the run folder's own.
        steps: The updates it has behind it.
        notes: What to say about it, and about damaged ones.
    """

    checkpoint: Path | None
    own: bool
    steps: int
    notes: list[str]


def _starting_point(folder: Path | None, given: str | None, task: SemanticTask) -> _Start:
    """Looks for the checkpoint to go on from, the folder's own first, and loads its weights."""
    own, notes = whole_checkpoint(folder) if folder is not None else (None, [])
    path = own or (None if given is None else Path(given))
    if path is None:
        return _Start(
            None, False, 0, [*notes, *["no whole checkpoint is left: starts from the beginning"] * bool(notes)]
        )
    checkpoint = load_checkpoint(path)
    load_weights(task, checkpoint["state_dict"], path)
    if own is None:
        _check_optimizer(checkpoint, task.config, path)
    steps = int(checkpoint["global_step"])
    return _Start(path, own is not None, steps, [*notes, f"goes on from {short(path)}, after {steps} updates"])


def _check_optimizer(checkpoint: dict[str, Any], config: dict[str, Any], path: Path) -> None:
    """Refuses settings that the optimizer's state in another run's checkpoint would silently take the place of."""
    then, now = flat(upgraded(checkpoint.get("config", {})).get("optimizer", {})), flat(config["optimizer"])
    keys = [key for key in {**now, **then} if then and then.get(key) != now.get(key)]
    if keys or "optimizer_states" not in checkpoint:
        told = "; ".join(
            f"optimizer.{key}={setting(then.get(key))} there, {setting(now.get(key))} here" for key in keys
        )
        raise CheckpointError(
            f"ckpt_path={path} goes on with the optimizer that it holds ({told or 'and it holds none'}). Give the same settings, or take "
            f"its weights alone: weights={path}."
        )
