"""The command of this process as a user would type it again."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from atrous.system.text import short

COMMAND = "ATROUS_COMMAND"  # the user's command, told to the processes that a run is launched in


def command_line() -> str:
    """The command; of a multirun's job, the one that runs this job alone."""
    if COMMAND in os.environ:
        return os.environ[COMMAND]

    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from atrous.config.compose import task_words

    name, words = str(short(Path(sys.argv[0]))), sys.argv[1:]
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        hydra = HydraConfig.get()
        words = [word for word in task_words(hydra) if not word.startswith("study=")]  # which is for several jobs
        if hydra.runtime.choices.get("experiment"):  # which may say that it is a multirun
            words.append("hydra.mode=RUN")
    return shlex.join(["python", *(["-m", *name.split()] if name.startswith("atrous ") else [name]), *words])
