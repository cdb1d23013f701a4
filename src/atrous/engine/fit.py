"""Trains a run and scores its best checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atrous.config.messages import error_message
from atrous.errors import TrainingError
from atrous.runs.resume import whole_checkpoint
from atrous.system.ranks import is_main_process
from atrous.system.text import short


def run(config: dict[str, Any], folder: Path) -> float:
    """Trains in this process, as one of several where a launcher has said so. Returns the mIoU.

    With `resume: auto` it goes on from what the folder holds.

    Raises:
        Interrupted: If a signal asked it to stop; status 128 + signal.
    """
    from atrous.callbacks.prune import Pruned
    from atrous.engine.build import build_loggers
    from atrous.engine.trainer import quiet_lightning
    from atrous.loggers.wandb import keep_id
    from atrous.runs.record import RunRecord, now
    from atrous.system.signals import Interrupted, Signals

    quiet_lightning()
    with Signals() as signals:
        record = RunRecord(folder, config, resumed=config["resume"] == "auto") if is_main_process() else None
        loggers: list[Any] = []
        try:
            loggers = build_loggers(config, wandb_id=record.content.get("wandb_id")) if record else []
            keep_id(loggers, record)
            score = _fit_and_score(config, folder, loggers, record, signals)
        except Pruned as pruned:
            score = pruned.score
            if record:
                record.update(status="pruned", ended=now(), val_miou=score, steps=pruned.steps)
                print(pruned, flush=True)
        except BaseException as error:
            stopped = error if isinstance(error, Interrupted) else None
            if stopped is None and signals.number:  # such as another process that was stopped first
                stopped = Interrupted(signals.number)
            if record and stopped:
                record.update(status="interrupted", signal=stopped.name, ended=now())
                print(f"\n{stopped.name}: stopped. To go on: the same command with resume=auto", flush=True)
            elif record:
                message = error_message(error) or f"{type(error).__name__}: {error}"
                record.update(status="failed", error=message, ended=now())
            _finish(loggers, exit_code=128 + stopped.number if stopped else 1)
            if stopped is error or stopped is None:
                raise
            raise stopped from error
        finally:
            if record:
                record.release()
        _finish(loggers, exit_code=0)
        if signals.number:  # too late for this run, but not for the next ones of a multirun
            raise Interrupted(signals.number)
    return score


def _fit_and_score(config: dict[str, Any], folder: Path, loggers: list[Any], record: Any, signals: Any) -> float:
    import time

    import lightning.pytorch as pl
    from rich.console import Console

    from atrous.analysis.cost import cost
    from atrous.callbacks.checkpoint import LastCheckpoint
    from atrous.config.compose import instantiate
    from atrous.data.quick_check import fingerprint
    from atrous.engine.build import build_datamodule, build_task, unsharded
    from atrous.engine.checkpoint import load_checkpoint, load_weights
    from atrous.engine.evaluation import evaluate, write_evaluation, write_samples
    from atrous.engine.resolution import resolution_of
    from atrous.engine.trainer import build_trainer, warn_of_slow_precision
    from atrous.loggers.wandb import log_scores
    from atrous.report.evaluation import show_evaluation
    from atrous.runs.protocol import weights_of
    from atrous.runs.record import now

    console = Console()
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    datamodule = build_datamodule(config)
    datamodule.check()
    if record:
        prints = {
            split: fingerprint(datamodule.dataset(split)) for split in sorted({"train", "val", config["eval_split"]})
        }
        record.update(provenance={**record.content["provenance"], "data": prints})
    task = build_task(config, datamodule)
    callbacks = [instantiate(options) for options in config["callbacks"].values()]
    keeper = next((callback for callback in callbacks if isinstance(callback, LastCheckpoint)), None)
    if keeper:
        keeper.signals = signals
    trainer = build_trainer(config, callbacks=callbacks, loggers=loggers, folder=folder)
    own, damaged = whole_checkpoint(folder) if config["resume"] == "auto" else (None, [])
    resume = own or config["ckpt_path"]
    if resume is not None:
        checkpoint = load_checkpoint(Path(resume))
        load_weights(task, checkpoint["state_dict"], Path(resume))
    if record:
        warn_of_slow_precision(trainer)
        _say_what_starts(console, config, trainer, task, datamodule, folder)
        if resume is not None:
            damaged.append(f"goes on from {short(Path(resume))}, after {checkpoint['global_step']} updates")
            if own and "resumed" in record.content:
                record.content["resumed"][-1]["steps"] = checkpoint["global_step"]
                record.write()
        elif damaged:
            damaged.append("no whole checkpoint is left: starts from the beginning")
        console.print("\n".join(damaged) + "\n" if damaged else "", end="", soft_wrap=True)

    started = time.monotonic()
    trainer.fit(task, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    seconds = keeper.seconds if keeper else time.monotonic() - started

    best = Path(trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    if best == Path():
        raise TrainingError(
            f"the run ended after {trainer.global_step} updates and no validation, so there is no checkpoint to score. Raise "
            "trainer.limit_val_batches."
        )
    scorer = unsharded(task, config)
    load_weights(scorer, load_checkpoint(best)["state_dict"], best)
    scored = evaluate(
        trainer,
        scorer,
        datamodule,
        config["eval_split"],
        resolution=resolution_of(config, scorer.model),
        weights=weights_of(config),
        extra=config["extra_metrics"],
    )
    if record:
        write_evaluation(folder, scored)
        samples = write_samples(folder / "samples", scorer, datamodule, config["eval_split"])
        costs = cost(scorer, datamodule, config["eval_split"])
        record.update(
            status="finished",
            ended=now(),
            **scored.as_json(),
            best_checkpoint=str(best.relative_to(folder)),
            epochs=trainer.current_epoch,
            steps=trainer.global_step,
            cost={**costs, "train_seconds": seconds},
        )
        log_scores(
            loggers,
            scores=scored.scores,
            classes=scored.classes,
            class_scores=scored.class_scores,
            confusion=scored.confusion,
            samples=samples,
        )
        show_evaluation(console, scored)
        _say_what_next(console, folder, best, seconds)
    return scored.scores["miou"]


def _say_what_starts(
    console: Any, config: dict[str, Any], trainer: Any, task: Any, datamodule: Any, folder: Path
) -> None:
    encoder = config["model"].get("encoder") or {}
    network = config["model"]["_target_"].rpartition(".")[2]
    if "name" in encoder:
        network += f" ({encoder['name']}, {encoder.get('weights') or 'from scratch'})"
    parameters = sum(p.numel() for p in task.model.parameters()) / 1e6
    device = f"{trainer.world_size} x {trainer.strategy.root_device.type}, precision {config['trainer']['precision']}"
    sizes = ", ".join(f"{len(datamodule.dataset(split))} {split}" for split in ("train", "val"))
    console.print(
        f"[bold]{network}[/], {parameters:.1f} M parameters, on {device}\n"
        f"{task.class_info.num_classes} classes; images: {sizes}; batch size {datamodule.batch_size}\n"
        f"run folder: {short(folder)}\n",
        soft_wrap=True,
    )


def _say_what_next(console: Any, folder: Path, best: Path, seconds: float) -> None:
    minutes, rest = divmod(round(seconds), 60)
    console.print(
        f"\ntrained for {minutes} min {rest} s; the run folder is [bold]{short(folder)}[/]\n"
        f"  look       {short(folder / 'samples')}: image | truth | prediction\n"
        f"  predict    python -m atrous predict ckpt={short(best)} images=FOLDER\n"
        f"  evaluate   python -m atrous evaluate ckpt={short(best)}\n"
        "  ablate     python train.py -m model.output_stride=8,16 seed=0,1,2\n"
        "  real data  python train.py model=deeplabv3plus data=camvid data.root=FOLDER",
        soft_wrap=True,
        highlight=False,
    )


def _finish(loggers: list[Any], *, exit_code: int) -> None:
    """Closes the W&B run with its outcome; an open one would swallow the next job of a multirun."""
    for logger in loggers:
        if hasattr(logger, "finalize"):
            logger.finalize("success" if exit_code == 0 else "failed")
        if type(logger).__name__ == "WandbLogger":
            import wandb

            wandb.finish(exit_code=exit_code)
