"""`python -m atrous.worker RUN_FOLDER [--watch-stdin]`: one process of a run, from its saved config.

torchrun, `hydra/launcher=local` and `hydra/launcher=slurm` start it; `run_saved` is also what a multirun's job does under
any other launcher of Hydra.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from atrous.config.checks import check_training
from atrous.config.compose import prepare, resolved
from atrous.config.messages import describe, error_message
from atrous.config.upgrade import upgraded
from atrous.runs.record import RunRecord
from atrous.runs.resume import choose_folder, in_folder
from atrous.runs.run import CONFIG, RESULT, Status
from atrous.system.locks import is_held
from atrous.system.ranks import is_main_process, is_torchrun, srun_tasks
from atrous.system.text import printable


def main() -> None:
    """Runs it. Leaves with status 1 where it fails, 128 + signal where it was told to stop.

    Until training takes them over, signals end the process: nothing is lost then.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own would write a traceback of the imports
    prepare()
    if len(sys.argv) < 2 or not Path(sys.argv[1], CONFIG).is_file():
        print(f"usage: python -m atrous.worker RUN_FOLDER, one that holds a {CONFIG}", file=sys.stderr)
        sys.exit(2)
    folder = Path(sys.argv[1]).absolute()
    if "--watch-stdin" in sys.argv[2:]:
        threading.Thread(target=_watch_stdin, daemon=True).start()
    if is_main_process():
        _write_log(folder / "train.log")
    try:
        run_saved(folder)
    except SystemExit:  # asked to end
        if srun_tasks() > 1:  # srun, seeing one process end so, tells the others to, and theirs is the status
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    except Exception:
        if is_torchrun():
            raise  # into launch.log
        sys.exit(1)  # it is told and recorded


def run_saved(folder: Path) -> float:
    """Runs what a folder's config.yaml says: in this process, or in as many as `trainer.devices` asks for.

    It goes on with what the folder holds, and leaves a finished run as it is.

    Returns:
        The run's score.

    Raises:
        Interrupted: If it was told to stop.
    """
    from atrous.studies.torchrun import launch, needs_launch

    if is_torchrun():  # whoever started it has checked the config, chosen the folder, and tells what fails
        return _train(_config(folder), folder)
    with _failure_recorded(folder):
        config = {**_config(folder), "resume": "auto"}
        check_training(config)
        starts = needs_launch(config["trainer"])
        config, folder, earlier = choose_folder(config, folder, runs=folder, leads=is_main_process())
        if earlier is not None and earlier.finished:
            return earlier.score
        return launch(config, folder) if starts else _train(config, folder)


def _train(config: dict[str, Any], folder: Path) -> float:
    from atrous.engine.fit import run  # imports torch
    from atrous.report.training import TrainingReport

    return run(config, folder, TrainingReport())


def _config(folder: Path) -> dict[str, Any]:
    return in_folder(upgraded(resolved(OmegaConf.load(folder / CONFIG))), folder)  # type: ignore[arg-type]


@contextmanager
def _failure_recorded(folder: Path) -> Iterator[None]:
    """Tells why a run fails, and records it where the run has not come so far."""
    try:
        yield
    except Exception as error:
        why, bug = describe(error), error_message(error) is None
        logging.getLogger(__name__).error("%s", printable(why, keep="\n"), exc_info=error if bug else None)
        path = folder / CONFIG
        if is_main_process() and path.exists() and not (folder / RESULT).exists() and not is_held(folder):
            config: Any = OmegaConf.to_container(OmegaConf.load(path))  # it may be what can't be resolved
            record = RunRecord(folder, config)
            record.end(Status.FAILED, error=why)
            record.release()
        raise


def _write_log(path: Path) -> None:
    """Sends log lines to stdout and a file, as Hydra does in the commands."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), logging.FileHandler(path)]
    logging.basicConfig(
        level=logging.INFO, handlers=handlers, format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
    )


def _watch_stdin() -> None:
    """Tells this process to save and end where the launcher, which holds the other end, has gone without doing so."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
