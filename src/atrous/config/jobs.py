"""The jobs of a multirun as Hydra composes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.resolvers import oc

from atrous.config.checks import check_words
from atrous.config.command_line import COMMAND, command_line
from atrous.config.compose import compose, hydra_config, resolved, training_config
from atrous.errors import ConfigError

NO_FOLDER = "RUN-FOLDER"  # of a job that is not placed yet; nothing else is called so


@dataclass(frozen=True)
class JobConfig:
    """A job's config.

    Args:
        whole: As Hydra has composed it, with the part `hydra`.
    """

    whole: DictConfig

    def resolved(self, folder: str = NO_FOLDER) -> dict[str, Any]:
        """Its config with all interpolations replaced, as in that run folder."""
        with self._in(folder) as task:
            return training_config(task)

    def portable(self, folder: str) -> dict[str, Any]:
        """The same for another machine: what depends on environment variables keeps its interpolation."""
        with self._in(folder) as task:
            here = resolved(task)
            with _marked_environment():
                marked = resolved(task)
            kept: dict[str, Any] = _where_unequal(OmegaConf.to_container(task), here, marked)
            return kept

    @property
    def folder(self) -> Path:
        """Where Hydra would put it: under other sweepers than ours its run folder."""
        with hydra_config(self.whole):
            sweep = self.whole.hydra.sweep
            return Path(sweep.dir, str(sweep.subdir)).absolute()

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its processes."""
        with hydra_config(self.whole):
            return {**self.whole.hydra.job.env_set, COMMAND: self.command}

    @property
    def command(self) -> str:
        """The command that runs this job alone."""
        with hydra_config(self.whole):
            return command_line()

    @contextmanager
    def _in(self, folder: str) -> Iterator[DictConfig]:
        with open_dict(self.whole), read_write(self.whole.hydra):
            self.whole.hydra.runtime.output_dir = folder
            task = self.whole.copy()
            del task["hydra"]
        with hydra_config(self.whole):
            yield task


def compose_job(overrides: Sequence[str], config: DictConfig, loader: Any, *, number: int | None = None) -> JobConfig:
    """Composes a job.

    Args:
        overrides: The job's.
        config: The multirun's own config.
        loader: Hydra's config loader.
        number: The job's, where its folder is named by it.
    """
    job = JobConfig(loader.load_sweep_config(config, list(overrides)))
    if number is not None:
        with open_dict(job.whole):
            job.whole.hydra.job.id = job.whole.hydra.job.num = number
    return job


def compose_run(overrides: Sequence[str]) -> tuple[dict[str, Any], Path]:
    """The resolved config of a single training and its new run folder, as the command would have them.

    Args:
        overrides: The command's words.

    Raises:
        ConfigError: If a word is no setting, or a required value is missing.
    """
    if strange := [word for word in overrides if not isinstance(word, str)]:
        raise ConfigError(
            f"{strange[0]!r} is no setting of a training; give each as a text of its own, such as train(*words)."
        )
    if impossible := [word for word in overrides if "=" not in word and not word.startswith("~")]:
        raise ConfigError(f"{impossible[0]!r} is no setting of a training; give key=value, such as model=pspnet.")
    check_words(overrides)
    job = JobConfig(compose("train", overrides, return_hydra_config=True))
    with hydra_config(job.whole):
        wanted = Path(job.whole.hydra.run.dir).absolute()
    folder, number = wanted, 1
    while folder.exists():  # another run began in the same second
        number += 1
        folder = wanted.with_name(f"{wanted.name}_{number}")
    config = job.resolved(str(folder))
    folder.mkdir(parents=True)
    return config, folder


def sweep_folder(config: DictConfig) -> Path:
    """Where a multirun's job folders are; written into its config, too, since launchers read it where no job is set up."""
    with hydra_config(config):
        folder = Path(config.hydra.sweep.dir).absolute()
    with read_write(config.hydra):
        config.hydra.sweep.dir = str(folder)
    return folder


@contextmanager
def _marked_environment() -> Iterator[None]:
    """Every environment variable has an unlikely value meanwhile."""
    OmegaConf.register_new_resolver("oc.env", lambda *_: "environment", replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _where_unequal(raw: Any, here: Any, marked: Any) -> Any:
    """`here`, with what stands in `raw` wherever `marked` differs, unless that can't be resolved outside of Hydra."""
    if isinstance(raw, dict) and isinstance(here, dict):
        return {key: _where_unequal(raw[key], here[key], marked[key]) for key in here}
    if isinstance(raw, list) and isinstance(here, list):
        return [_where_unequal(*values) for values in zip(raw, here, marked, strict=True)]
    depends = isinstance(raw, str) and here != marked and "${hydra:" not in raw and "${now:" not in raw
    return raw if depends else here
