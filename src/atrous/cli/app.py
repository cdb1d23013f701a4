"""How a command starts and how it shows an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from atrous.config.checks import check_words
from atrous.config.compose import hydra_app, prepare
from atrous.config.messages import error_message
from atrous.config.settings import read_settings
from atrous.system.text import printable

T = TypeVar("T")


def run_command(command: str, settings: type[T], run: Callable[[T], Any], argv: Sequence[str] | None) -> None:
    """Reads a command's settings and calls `run` with them.

    Args:
        command: The command's name, and that of its yaml in `conf/`.
        settings: The dataclass of its settings; see `read_settings`.
        run: Does the work.
        argv: What follows the command's name; None: the process's own arguments.
    """
    prepare()
    with errors_as_messages():
        run(read_settings(command, settings, sys.argv[1:] if argv is None else argv))


def run_hydra(task: Callable[[Any], Any], config_name: str, argv: Sequence[str] | None) -> None:
    """As `run_command` for a command that Hydra reads, multiruns included: `conf/<config_name>.yaml` is its config."""
    prepare()
    if argv is not None:
        sys.argv = [f"atrous {config_name}", *argv]
    # Hydra's parser takes no flag between settings.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    with errors_as_messages():
        check_words(sys.argv[1:])
        try:
            hydra_app(task, config_name)()
        except Failed as failed:
            raise failed.error from None


class Failed(BaseException):
    """Carries a single run's error past Hydra, which would print the whole command line before it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Prints user errors without a traceback and exits with 1; `HYDRA_FULL_ERROR=1` shows the traceback."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        yield
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing, and the message is ours to shape
    try:
        yield
    except BrokenPipeError:  # whoever reads us, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        message = error_message(error)
        if message is None:
            raise
        message = printable(message, keep="\n")
        print(f"\nerror: {message}\n", file=sys.stderr)
        sys.exit(1)
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
