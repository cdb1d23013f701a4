"""In W&B: a run's final scores, a table per class, the confusion matrix and sample pictures; and the report of a study."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError
from atrous.system.text import one_line


def log_scores(
    loggers: list[Any],
    *,
    scores: Mapping[str, float],
    classes: Sequence[str],
    class_scores: Mapping[str, NDArray[np.float64]],
    confusion: NDArray[np.int64],
    samples: list[Path],
) -> None:
    """Logs a run's final scores to every W&B logger among `loggers`; the other loggers hold numbers over time only.

    Args:
        loggers: The run's.
        scores: By name.
        classes: The classes' names, C.
        class_scores: Each class's scores by name, (C,).
        confusion: The confusion matrix (C, C), rows as truth.
        samples: Pictures.
    """
    for logger in _wandb_loggers(loggers):
        import wandb

        rows = [[name, *(float(values[i]) for values in class_scores.values())] for i, name in enumerate(classes)]
        cells = [
            [true, predicted, int(confusion[i, j])]
            for i, true in enumerate(classes)
            for j, predicted in enumerate(classes)
        ]
        logger.experiment.summary.update({f"final/{name}": value for name, value in scores.items()})
        logger.experiment.log(
            {
                "final/per_class": wandb.Table(columns=["class", *class_scores], data=rows),
                "final/confusion": wandb.Table(columns=["truth", "prediction", "pixels"], data=cells),
                "final/samples": [wandb.Image(str(path), caption=path.stem) for path in samples],
            }
        )


def keep_id(loggers: list[Any], record: Any) -> None:
    """Begins the W&B run and stores its id so that a resumed run can reuse it; under a sweep's agent it is the sweep's.

    Raises:
        ConfigError: If W&B can't be reached or refuses the login.
    """
    for logger in _wandb_loggers(loggers):
        import wandb

        try:
            record.update(wandb_id=logger.experiment.id)
        except wandb.errors.Error as error:
            raise ConfigError(
                f"logger=wandb can't begin its run: {one_line(error)} Use logger.wandb.offline=true, and `wandb sync` later."
            ) from error


def keep_one_history(loggers: list[Any], rows: Sequence[Mapping[str, str]]) -> None:
    """Makes the W&B run of a resumed training whole, if earlier processes have left offline parts of it.

    W&B has a folder for each process, and syncing one replaces what another one with the same id has brought. So the rows
    are logged again, and the earlier folders go to `wandb/continued`, where no `wandb sync` looks.

    Args:
        loggers: The run's; its W&B run has begun.
        rows: Of metrics.csv, up to where the training goes on.
    """
    for logger in _wandb_loggers(loggers):
        run = logger.experiment
        folder, own = Path(logger.save_dir) / "wandb", Path(run.dir).parent.name
        earlier = [path for path in sorted(folder.glob(f"offline-run-*-{run.id}")) if path.name != own]
        if not earlier:
            continue
        for row in rows:
            values = {key: float(value) for key, value in row.items() if value and key != "step"}
            logger.log_metrics(values, step=int(row["step"]))
        for path in earlier:
            (folder / "continued").mkdir(exist_ok=True)
            path.rename(folder / "continued" / path.name)


def wandb_mode(offline: bool | None, *, folder: Path, run_id: str | None) -> str:
    """W&B's mode of a run: what WANDB_MODE says, else what the config says.

    Args:
        offline: `logger.wandb.offline`; None: offline where nobody is logged in, or where the run was begun so.
        folder: That of the run's `wandb` folder.
        run_id: The run's, where it has one already.

    Raises:
        ConfigError: If it is to be online and nobody is logged in.
    """
    if (mode := os.environ.get("WANDB_MODE")) in ("offline", "dryrun", "disabled"):
        return "disabled" if mode == "disabled" else "offline"
    begun = run_id is not None and any((folder / "wandb").glob(f"offline-run-*-{run_id}"))
    if offline is None and mode != "online":
        return "online" if wandb_login() and not begun else "offline"
    if not offline and not wandb_login():
        key = "WANDB_MODE=online" if offline is None else "logger.wandb.offline=false"
        raise ConfigError(
            f"{key}, but this machine has no W&B login. Run `wandb login` or set WANDB_API_KEY, or keep the run here by "
            "logger.wandb.offline=true, which `wandb sync` sends later."
        )
    return "offline" if offline else "online"


def close(loggers: list[Any], *, exit_code: int) -> None:
    """Closes a run's loggers, W&B's with its outcome; one left open would swallow the next job of a multirun."""
    for logger in loggers:
        if hasattr(logger, "finalize"):
            logger.finalize("success" if exit_code == 0 else "failed")
    if _wandb_loggers(loggers):
        import wandb

        wandb.finish(exit_code=exit_code)


def _wandb_loggers(loggers: list[Any]) -> list[Any]:
    return [logger for logger in loggers if type(logger).__name__ == "WandbLogger"]


def log_report(folder: Path, files: Mapping[str, str], *, project: str, name: str, command: str) -> str:
    """Logs a report as a run of its own: the table, the page, and all files as an artifact of type `report`.

    Args:
        folder: That of the files; without a login the run is kept offline in it.
        files: Their texts by their names; `table.csv` and `report.html` are among them.
        project: W&B's.
        name: Of the run, and behind `report-` of the artifact.
        command: Kept in the run's config.

    Returns:
        What to say of where it is.
    """
    import wandb

    online = wandb_login()
    head, *rows = csv.reader(io.StringIO(files["table.csv"]))
    table = wandb.Table(columns=head, data=rows)
    with wandb.init(
        project=project,
        name=name,
        job_type="report",
        dir=str(folder),
        mode="online" if online else "offline",
        config={"command": command},
    ) as run:
        artifact = wandb.Artifact("report-" + re.sub(r"[^\w.-]+", "-", name)[:100], type="report")
        for file in files:
            artifact.add_file(str(folder / file))
        run.log_artifact(artifact)
        run.log({"report/table": table, "report/page": wandb.Html(str(folder / "report.html"), inject=False)})
        return str(run.url) if online else f"{Path(run.dir).parent}, which `wandb sync` sends"


def wandb_login() -> bool:
    """Whether this machine has a W&B API key, in the environment or where `wandb login` puts it."""
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    return path.is_file() and "wandb" in path.read_text(errors="replace")
