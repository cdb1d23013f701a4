"""What the library's face and the commands call. Torch is imported by the functions that need it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.config.checks import check_training
from atrous.config.command_line import COMMAND
from atrous.config.compose import CONF_DIR, compose, compose_groups, prepare
from atrous.config.jobs import compose_run
from atrous.config.messages import check_name, own_errors
from atrous.config.settings import read_settings
from atrous.config.values import Accelerator, Split
from atrous.errors import ConfigError
from atrous.runs.announce import announce, follow
from atrous.runs.compare import RESAMPLES, Comparison, compared
from atrous.runs.folds import pooled
from atrous.runs.resume import choose_folder
from atrous.runs.run import Run, load_run
from atrous.runs.scores import Evaluation, read_evaluation
from atrous.system.ranks import is_launched, is_main_process

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from torch import nn

    from atrous.engine.predict import Predictor
    from atrous.report.study import Study

Scored = Run | Evaluation | Path | str


def create_model(name: str, *, num_classes: int, **settings: Any) -> nn.Module:
    """Builds a network of `conf/model`: (N, 3, H, W) normalised images -> `SegOutput`, whose `logits` are (N, C, h, w).

    Args:
        name: Of its yaml, such as "pspnet".
        num_classes: C.
        settings: Other keys of the yaml; `encoder="resnet50"` means `encoder.name`.

    Raises:
        ConfigError: If there is no such model or setting, or a value is impossible.

    Example:
        >>> import atrous, torch
        >>> model = atrous.create_model("deeplabv3plus", num_classes=19, output_stride=8, encoder="resnet18")
        >>> model.eval()(torch.zeros(1, 3, 64, 64)).logits.shape
        torch.Size([1, 19, 16, 16])
    """
    with own_errors():
        names = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml"))
        check_name("model", name, names)
        keys = sorted(map(str, compose("train", [f"model={name}"]).model))
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise ConfigError(f"num_classes={num_classes!r} is impossible; give a whole number from 1 on.")
        words = [f"model={name}", f"data.num_classes={num_classes}"]  # which every model's yaml refers to
        for key, value in settings.items():
            check_name(f"setting of {name}", key, keys)
            path = "encoder.name" if key == "encoder" and isinstance(value, str) else key
            words.append(f"model.{path}={_word(value)}")
        config = compose_groups(words)
        from atrous.engine.build import build_model

        return build_model(config)


def load(
    path: Run | Path | str, *overrides: str, accelerator: str | None = None, trusted: Sequence[str] = ()
) -> Predictor:
    """Loads a trained network, which labels images exactly as `atrous predict` does.

    Args:
        path: A checkpoint that `train` wrote, or its run or run folder, whose best one is taken.
        overrides: Changes to the config inside it, such as "inference=slide".
        accelerator: "cpu" or "gpu"; None: the one of the run, or the CPU where that is not there.
        trusted: Packages that the config may call beside ours.

    Raises:
        CheckpointError: If the file, its config or its weights won't do.
        ConfigError: If an override is impossible.

    Example:
        >>> net = atrous.load(run.folder)
        >>> labels = net.predict(image)  # uint8 RGB (H, W, 3), a PIL image or a path -> class indices (H, W)
        >>> labels.shape == image.shape[:2]
        True
        >>> net.probabilities(image).shape[0] == len(net.classes)
        True
        >>> net.overlay(image).shape == image.shape
        True
    """
    with own_errors():
        prepare()
        from atrous.engine.checkpoint import restore
        from atrous.engine.predict import Predictor
        from atrous.engine.trainer import quiet_lightning

        quiet_lightning()
        return Predictor(restore(_place(path), overrides, trusted=trusted, accelerator=accelerator))


def train(*overrides: str) -> Run:
    """Trains as `atrous train` does with these words, below `paths.runs` of the current folder.

    In this process, or in as many as `trainer.devices` asks for. It prints what the command prints.

    Args:
        overrides: Such as "model=pspnet", "data=camvid", "seed=1".

    Returns:
        The run: its `score`, `scores`, `folder`, `history()`, and `config`.

    Raises:
        ConfigError: If a setting is impossible.
        DataError: If the data can't be read.
        TrainingError: If the training fails.
        KeyboardInterrupt: After a Ctrl-C; the run can be continued by "resume=auto".

    Example:
        >>> run = atrous.train(*tiny, "seed=1")
        DeepLabV3Plus (resnet10t, from scratch), 5.0 M parameters...
        >>> run.score == run.scores["miou"]
        True
        >>> steps, values = run.history()["val/miou"]
    """
    from atrous.system.signals import Interrupted

    command = {COMMAND: shlex.join(["python", "-m", "atrous", "train", *map(str, overrides)])}
    with own_errors(), _environment(command):
        config, folder = compose_run(overrides)
        made = folder
        try:
            folder, _ = start(config, folder)
        except Interrupted as stopped:
            raise KeyboardInterrupt(f"{stopped.name}; to go on: resume=auto") from stopped
        finally:
            with suppress(OSError):
                made.rmdir()  # where it is empty, after a mistake
        run = load_run(folder)
        assert run is not None  # start has written it
        return run


def evaluate(ckpt: Run | Path | str | None, *words: str) -> Evaluation:
    """Scores a network on a split as `atrous evaluate` does.

    Args:
        ckpt: A checkpoint that `train` wrote, or its run or run folder, whose best one is taken; None: a published
            network that the words name, such as "model=espnet", "weights=espnet:FILE", "data=camvid".
        words: Settings of conf/evaluate.yaml, such as "split=test", and changes to the checkpoint's config.

    Returns:
        Its `scores`, `class_scores`, confusion `matrices` of each image, and `protocol`.

    Raises:
        CheckpointError: If the checkpoint won't do.
        ConfigError: If a setting is impossible.
        DataError: If the data can't be read.

    Example:
        >>> scored = atrous.evaluate(run.folder, "split=val")
        >>> scored.scores == run.scores
        True
        >>> scored.protocol["split"]
        'val'
    """
    with own_errors():
        prepare()
        own = [] if ckpt is None else [f"ckpt={_place(ckpt)}"]
        return score(read_settings("evaluate", EvaluateSettings, [*own, *words]))


def read_runs(*folders: Path | str, baseline: str | None = None) -> Study:
    """Reads all runs in and below folders into a table, as `atrous report` shows them.

    Runs that differ in nothing but their seed are one row (`groups`): its `values` of the `columns`, `mean`, `std`, `n`, and
    `difference` to the baseline.

    Args:
        folders: Run folders, or folders that hold some.
        baseline: The row that the others are compared with, such as "output_stride=16"; None: the first one.

    Raises:
        ConfigError: If the baseline fits no row.
        DataError: If there are no runs.

    Example:
        >>> study = atrous.read_runs("runs")
        >>> len(study.groups)
        1
    """
    from atrous.report.read import read_study

    return read_study([Path(folder) for folder in folders], baseline=baseline)


def compare(a: Scored | Sequence[Scored], b: Scored | Sequence[Scored], *, resamples: int = RESAMPLES) -> Comparison:
    """Compares the scores of two networks on the same images: A's mIoU minus B's.

    Args:
        a: What `train` or `evaluate` returned or left in a folder; or several runs, such as seeds.
        b: As `a`.
        resamples: Of the images, for the interval.

    Returns:
        The `difference` with its 95 % interval, a `verdict` in words, and `notes` on what differs beside it.

    Raises:
        DataError: If they were not scored alike.

    Example:
        >>> compared = atrous.compare(run, other)
        >>> compared.difference.low <= compared.difference.score <= compared.difference.high
        True
    """
    sides = _evaluations(a), _evaluations(b)
    if not all(sides) or not isinstance(resamples, int) or resamples < 1:
        counts = " and ".join(str(len(side)) for side in sides)
        raise ConfigError(
            f"compare got {counts} runs, resamples={resamples!r}; give one or more a side, and 1 or more."
        )
    return compared(*sides, resamples=resamples)


@dataclass(frozen=True)
class EvaluateSettings:
    """See conf/evaluate.yaml."""

    ckpt: Path | list[Path] | None
    split: Split
    accelerator: Accelerator | None
    out: Path | None
    extra_metrics: bool
    trusted: list[str]
    overrides: list[str]
    command: str


def score(asked: EvaluateSettings, *, callbacks: Sequence[Callback] = ()) -> Evaluation:
    """What `evaluate` does once its settings are read."""
    from atrous.engine.ensemble import restore_all
    from atrous.engine.evaluate import evaluate_checkpoint
    from atrous.engine.trainer import quiet_lightning

    quiet_lightning()
    net = restore_all(
        asked.ckpt, asked.overrides, split=asked.split, trusted=asked.trusted, accelerator=asked.accelerator
    )
    return evaluate_checkpoint(
        net, asked.split, extra=asked.extra_metrics, out=asked.out, callbacks=callbacks, command=asked.command
    )


def start(config: dict[str, Any], folder: Path) -> tuple[Path, float]:
    """Trains a run, or starts the processes that do.

    Args:
        config: The resolved config.
        folder: The run folder made for it.

    Returns:
        The run folder, which with `resume=auto` may be an earlier one, and the score.
    """
    check_training(config)
    from atrous.studies.torchrun import launch, needs_launch

    starts = needs_launch(config["trainer"])
    below, apart = Path(config["paths"]["runs"]), is_launched()
    chosen = follow(config, folder, below) if apart and not is_main_process() else None
    config, folder, earlier = chosen or choose_folder(config, folder, leads=is_main_process())
    note = announce(below, folder, earlier) if apart and is_main_process() else None
    if earlier is not None and earlier.finished:
        return folder, earlier.score
    try:
        if starts:
            return folder, launch(config, folder)
        from atrous.engine.fit import run
        from atrous.report.training import TrainingReport

        return folder, run(config, folder, TrainingReport())
    finally:
        if note:
            note.unlink(missing_ok=True)


def _word(value: Any) -> str:
    """A value as Hydra's grammar has it, which is JSON's but for the quotes of keys."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_word(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_word, value))}]"
    try:
        return json.dumps(value)
    except TypeError as error:
        raise ConfigError(
            f"a setting can't be a {type(value).__name__}, {value!r}; give numbers, text, lists."
        ) from error


def _place(run: Run | Path | str) -> Path:
    return run.folder if isinstance(run, Run) else Path(run)


def _evaluations(side: Scored | Sequence[Scored]) -> list[Evaluation]:
    if isinstance(side, Evaluation):
        return [side]
    if isinstance(side, Run | Path | str):
        return [read_evaluation(_place(side))]
    return pooled([scored for one in side for scored in _evaluations(one)])


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets environment variables meanwhile, but for those that are set."""
    added = {key: value for key, value in values.items() if key not in os.environ}
    os.environ |= added
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)
