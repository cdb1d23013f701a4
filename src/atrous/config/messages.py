"""What is shown of an error that the user can mend."""

from __future__ import annotations

import difflib
import errno
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from atrous.errors import AtrousError, ConfigError


def describe(error: BaseException) -> str:
    """The text to record of any error: the one to show, else its class and words."""
    return error_message(error) or f"{type(error).__name__}: {error}"


def error_message(error: BaseException) -> str | None:
    """The text to show for an error the user can mend, or None where it is not one."""
    if isinstance(error, AtrousError):
        return _without_worker_traceback(str(error))
    if told := _of_the_machine(error):
        return told
    if isinstance(error, OSError) and error.filename is not None:
        unwritable = (
            isinstance(error, PermissionError | FileExistsError | NotADirectoryError) or error.errno == errno.EROFS
        )
        remedy = "Choose a folder that can be written, such as paths.runs=..." if unwritable else "Check the path."
        return f"{error.strerror}: {error.filename}. {remedy}"
    from hydra.errors import HydraException, InstantiationException  # most errors are told without

    if isinstance(error, InstantiationException):
        return instantiation_message(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _hydra_message(error)
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, whose import takes seconds
        return f"Lightning's trainer can't work so: {' '.join(str(error).split())} Change trainer.NAME=..."
    return None


def _of_the_machine(error: BaseException) -> str | None:
    """What is said where memory or disk are used up; imports no torch, whose errors these may be."""
    causes, text = [error], ""
    while (before := causes[-1].__cause__ or causes[-1].__context__) is not None and before not in causes:
        causes.append(before)
    for cause in causes:
        text = str(cause)
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            place = f" ({cause.filename})" if cause.filename else ""
            return (
                f"the disk is full{place}: {cause.strerror}. Free some of it, or give another folder by paths.runs=..., and go on with "
                "resume=auto; the checkpoints written before are kept."
            )
        if (
            type(cause).__name__ == "OutOfMemoryError"
            or isinstance(cause, MemoryError)
            or "can't allocate memory" in text
        ):
            words = (text.strip().splitlines() or ["out of memory"])[0].split(". ")[0]
            return (
                f"the memory does not suffice: {words}. Lower data.batch_size, or keep it and raise "
                "trainer.accumulate_grad_batches; model.encoder.gradient_checkpointing=true and trainer.precision=bf16-mixed need less, "
                "too. In an evaluation lower data.eval_batch_size, or use inference=slide."
            )
    return None


def _hydra_message(error: BaseException) -> str:
    """Hydra's errors of a command line: in one sentence, with the names that there are."""
    from hydra.errors import MissingConfigException, OverrideParseException

    from atrous.config.compose import CONF_DIR

    text, cause = " ".join(re.sub(r"See https?://\S+ for details", "", str(error)).split()), error.__cause__
    if isinstance(error, OverrideParseException):
        return _grammar_message(str(error.override), text)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
        options = error.options or sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
        return f"{group}={name} is unknown; {did_you_mean(name, options)}choose from {', '.join(options)}."
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        error, cause = ConfigError(text), error
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and OmegaConf.is_dict(cause.parent_node):
        above, _, name = str(cause.full_key).rpartition(".")
        known = sorted(str(key) for key in cause.parent_node if not str(key).startswith("_"))
        more = (
            f"; one that its class takes beside them is given by +{above}.{name}="
            if "_target_" in cause.parent_node
            else ""
        )
        kind = f"setting of {above}" if above else "setting"
        return f"unknown {kind} {name!r}; {did_you_mean(name, known)}there are {', '.join(known) or 'none'}{more}."
    if ambiguous := re.match(r"Ambiguous value for argument '(.+?)=(.*?)' 1\. ", text):
        key, value = ambiguous.groups()
        return f"{key}={value} has several values; add -m for a run of each, or give a list as '{key}=[{value}]'."
    if several := re.match(r"Multiple values for (\S+)\. To override a value use 'override (\S+): (.+)'", text):
        return f"+{several[2]}={several[3]} would be a second one beside {several[1]}; give {several[2]}={several[3]}."
    if isinstance(error, InterpolationKeyError | InterpolationResolutionError) and error.full_key:
        return f"{error.full_key} can't be found out: {text.partition(' full_key:')[0]}. Give {error.full_key}=..."
    return text


def _grammar_message(word: str, why: str) -> str:
    """What is shown of a word that Hydra can't read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = word.partition("=")
    escaped = value.replace('"', '\\"')
    quoted = f'{key}="{escaped}"'
    with suppress(HydraException):
        if equals and not value.startswith(("'", '"', "[", "{")):
            OverridesParser.create().parse_override(quoted)
            return f"{word} can't be read as Hydra's grammar has it; put the value in quotes within quotes: {shlex.quote(quoted)}"
    return f"{word} can't be read as Hydra's grammar has it: {why}. Give key=value, lists as 'key=[a,b]'."


def instantiation_message(error: BaseException, key: str = "") -> str:
    """What is shown where Hydra could not build a part.

    Args:
        error: Hydra's InstantiationException.
        key: Where the config is that it was given.
    """
    cause = error.__cause__
    if isinstance(cause, AtrousError):
        return str(cause)
    text = str(error)
    target, below = re.search("target '([^']+)'", text), re.search("full_key: (.+)", text)
    place = ".".join(filter(None, [key, below and below[1]]))
    if target is None:
        return f"{place}: {text}"
    why = " ".join(str(cause).split()) or repr(cause)
    if text.startswith("Error locating"):
        return (
            f"{place}._target_={target[1]} can't be imported: {why}. Give the path of a class, such as "
            "your_package.YourNet, with your_package in the current folder, installed, or below a folder of PYTHONPATH."
        )
    return f"{place} can't be built by {target[1]}: {why}. Change the settings {place}.NAME=..., or take out those that it lacks."


def _without_worker_traceback(message: str) -> str:
    """A DataLoader worker sends its error's whole traceback as the message; keeps what follows the error's name."""
    if not message.startswith("Caught "):
        return message
    name = message.split(maxsplit=2)[1]
    return message.rpartition(f"{name}: ")[2].strip()


def check_name(kind: str, name: str, known: Sequence[str]) -> None:
    """Raises ConfigError where a name is not known, with the nearest one."""
    if not isinstance(name, str):
        raise ConfigError(f"a {kind} can't be {name!r}; choose one of {', '.join(known)}.")
    if name not in known:
        raise ConfigError(f"unknown {kind} {name!r}; {did_you_mean(name, known)}choose from {', '.join(known)}.")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A question for what was meant, where one of the names is near; else nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


@contextmanager
def own_errors() -> Iterator[None]:
    """Raises Hydra's errors as ours."""
    try:
        yield
    except AtrousError:
        raise
    except Exception as error:
        message = error_message(error)
        if message is None or getattr(error, "filename", None):  # a bug, or the file system
            raise
        if isinstance(error.__cause__, AtrousError):
            raise error.__cause__ from None
        raise ConfigError(message) from error
