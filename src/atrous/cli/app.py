"""What the commands share of Hydra: where the configs are, how a command starts, and how an error is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from atrous.errors import AtrousError, ConfigError

_PACKAGED = Path(__file__).parents[1] / "conf"
CONF_DIR = (
    _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"
)  # the second one: an editable install


def prepare() -> None:
    """Registers our resolvers and sets the environment that imports further down read."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks a registry at import otherwise
    OmegaConf.register_new_resolver("len", len, replace=True)
    OmegaConf.register_new_resolver("or", lambda *values: next(filter(None, values), None), replace=True)


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
        print(f"\nerror: {printable(message)}\n", file=sys.stderr)
        sys.exit(1)
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def printable(text: str) -> str:
    """Control characters made visible, so that a name out of a stranger's file can't steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def error_message(error: BaseException) -> str | None:
    """The text to show for an error the user can mend, or None where it is not one."""
    if isinstance(error, AtrousError):
        return _without_worker_traceback(str(error))
    if isinstance(error, InstantiationException):
        cause = error.__cause__
        if isinstance(cause, AtrousError):
            return error_message(cause)
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause = error.__cause__
        return f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}. Choose a folder that can be written, such as paths.runs=..."
    return None


def _without_worker_traceback(message: str) -> str:
    """A DataLoader worker sends its error's whole traceback as the message; keeps what follows the error's name."""
    if not message.startswith("Caught "):
        return message
    name = message.split(maxsplit=2)[1]
    return message.rpartition(f"{name}: ")[2].strip()


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain containers, interpolations replaced.

    Raises:
        ConfigError: If a required value (`???`) is not given.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(
            f"no value for {', '.join(missing)}. Give it on the command line, such as {missing[0]}=..., or in a yaml."
        )
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)  # a composed config is a mapping
    return {str(key): value for key, value in plain.items()}
