"""What the commands share of Hydra: where the configs are, how a command starts, and how an error is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from atrous.config.compose import CONF_DIR, prepare
from atrous.config.messages import error_message
from atrous.errors import AtrousError
from atrous.system.text import printable


def run_hydra(task: Callable[[DictConfig], Any], config_name: str, argv: Sequence[str] | None) -> None:
    """Composes `conf/<config_name>.yaml` with the overrides in `argv` (None: the process's own) and calls `task`.

    Leaves with status 1 and a message where the user's input is at fault; `HYDRA_FULL_ERROR=1` shows the traceback.
    """
    prepare()
    if argv is not None:
        sys.argv = [f"atrous {config_name}", *argv]
    # Imported under its module's name, not `__main__`, so that launchers pickle the task by reference.
    app = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(task)
    with errors_as_messages():
        app()


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Shows errors that a user can mend as messages on stderr and leaves with status 1; lets bugs pass."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        yield
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing, and the message is ours to shape
    try:
        yield
    except BrokenPipeError:  # whoever reads us, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (AtrousError, HydraException, OmegaConfBaseException, OSError) as error:
        message = error_message(error)
        if message is None:
            raise
        message = printable(message, keep="\n")
        print(f"\nerror: {message}\n", file=sys.stderr)
        sys.exit(1)
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
