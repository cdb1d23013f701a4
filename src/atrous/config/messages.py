"""What is shown of an error that the user can mend."""

from __future__ import annotations

from omegaconf.errors import OmegaConfBaseException

from atrous.errors import AtrousError


def describe(error: BaseException) -> str:
    """The text to record of any error: the one to show, else its class and words."""
    return error_message(error) or f"{type(error).__name__}: {error}"


def error_message(error: BaseException) -> str | None:
    """The text to show for an error the user can mend, or None where it is not one."""
    if isinstance(error, AtrousError):
        return _without_worker_traceback(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}. Choose a folder that can be written, such as paths.runs=..."
    from hydra.errors import HydraException, InstantiationException  # most errors are told without

    cause = error.__cause__
    if isinstance(error, InstantiationException):
        return error_message(cause) if isinstance(cause, AtrousError) else str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return f"{error}\n{cause}" if isinstance(cause, OmegaConfBaseException) else str(error)
    return None


def _without_worker_traceback(message: str) -> str:
    """A DataLoader worker sends its error's whole traceback as the message; keeps what follows the error's name."""
    if not message.startswith("Caught "):
        return message
    name = message.split(maxsplit=2)[1]
    return message.rpartition(f"{name}: ")[2].strip()
