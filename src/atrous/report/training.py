"""What a training says on its way: what starts, where it goes on, how it ended, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from atrous.config.trust import needs_trust
from atrous.report.evaluation import show_evaluation
from atrous.runs.scores import Evaluation
from atrous.system.text import short


class TrainingReport:
    """Prints it to `console`; None: to stdout."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()

    def start(
        self,
        *,
        network: str,
        parameters: int,
        device: str,
        classes: int,
        images: Mapping[str, int],
        batch_size: int,
        folder: Path,
    ) -> None:
        """Before the first update.

        Args:
            network: Its name.
            parameters: How many it has.
            device: The devices and the precision.
            classes: How many.
            images: How many by split.
            batch_size: Of one device.
            folder: The run folder.
        """
        sizes = ", ".join(f"{count} {split}" for split, count in images.items())
        self._console.print(
            f"[bold]{network}[/], {parameters / 1e6:.1f} M parameters, on {device}\n"
            f"{classes} classes; images: {sizes}; batch size {batch_size}\n"
            f"run folder: {short(folder)}\n",
            soft_wrap=True,
        )

    def resume(self, notes: Sequence[str]) -> None:
        """Where the training goes on, and what it could not go on from."""
        self._console.print("\n".join(notes) + "\n" if notes else "", end="", soft_wrap=True)

    def start_method(self, method: str, *, classes: int, split: str, images: int, folder: Path) -> None:
        """Before a method without a network segments its first image."""
        self._console.print(
            f"[bold]{escape(method)}[/], nothing is trained\n"
            f"{classes} classes; images: {images} {split}\n"
            f"run folder: {short(folder)}\n",
            soft_wrap=True,
            highlight=False,
        )

    def stop(self, message: str) -> None:
        """Why it ends early."""
        self._console.print(message, soft_wrap=True, markup=False, highlight=False)

    def finish(
        self,
        evaluation: Evaluation,
        *,
        folder: Path,
        best: Path,
        seconds: float,
        command: str,
        config: Mapping[str, Any],
    ) -> None:
        """The scores and what to do next.

        Args:
            evaluation: Of the best checkpoint.
            folder: The run folder.
            best: The best checkpoint.
            seconds: How long it trained.
            command: What was typed.
            config: The run's.
        """
        show_evaluation(self._console, evaluation)
        minutes, rest = divmod(round(seconds), 60)
        place = escape(str(short(folder)))
        lines = [
            f"\ntrained for {minutes} min {rest} s; the run folder is [bold]{place}[/]",
            f"  look       {escape(str(short(folder / 'samples')))}: image | truth | prediction",
            *(f"  {name:<11}{escape(line)}" for name, line in next_commands(command, config, short(best)).items()),
        ]
        self._console.print("\n".join(lines), soft_wrap=True, highlight=False)

    def finish_method(
        self, evaluation: Evaluation, *, segments: Mapping[str, float], seconds: float, folder: Path
    ) -> None:
        """The scores of a method without a network.

        Args:
            evaluation: With classes.
            segments: Means over images that need no classes, and the number of segments.
            seconds: An image.
            folder: The run folder.
        """
        show_evaluation(self._console, evaluation)
        others = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in segments.items())
        self._console.print(
            f"segments, means over images: {others}\n"
            f"\n{seconds:.2g} s an image (median); the run folder is [bold]{short(folder)}[/]\n"
            f"  look       {short(folder / 'samples')}: image | truth | segments with their classes\n"
            "  compare    python -m atrous report FOLDERS, where runs of networks may be, too",
            soft_wrap=True,
            highlight=False,
        )


def next_commands(command: str, config: Mapping[str, Any], best: Path) -> dict[str, str]:
    """What to do after a training, each fit to be pasted: by its name.

    Args:
        command: What was typed.
        config: The run's.
        best: Its best checkpoint.
    """
    packages = needs_trust([config["model"], config["data"], config["inference"]])
    checkpoint = [
        f"ckpt={best}",
        *([f"trusted=[{','.join(f'{package}.' for package in packages)}]"] if packages else []),
    ]
    words = shlex.split(command)
    start = words.index("train") + 1 if "train" in words[:4] else 2  # `python -m atrous train`, or `python train.py`
    program, settings = words[:start], [word for word in words[start:] if not word.startswith(_OF_THIS_RUN)]
    commands = {
        "predict": shlex.join(["python", "-m", "atrous", "predict", *checkpoint, "images=FOLDER"]),
        "evaluate": shlex.join(["python", "-m", "atrous", "evaluate", *checkpoint]),
        "more seeds": shlex.join([*program, "-m", *settings, "seed=0,1,2"]),
    }
    if "Scenes" in str(config["data"].get("dataset")):
        commands["real data"] = shlex.join([*program, "model=deeplabv3plus", "data=camvid", "data.root=FOLDER"])
    return commands


_OF_THIS_RUN = ("seed=", "resume=", "hydra.mode=", "hydra.run.dir=", "ckpt_path=", "-m", "--multirun")
