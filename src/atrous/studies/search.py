"""A search: a study whose values Optuna draws, each by what came of the ones before.

What came of a trial stands in its run folder, as in every study. search.db remembers what was drawn, and only the process
that draws opens it, so that it may lie where SQLite could not be shared. The sampler's seed is made of the search's and of
how much was drawn: a search that was killed draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from atrous.config.search_space import Choice, Number, check_settings, first_points, read_space, size, written
from atrous.errors import ConfigError, TrainingError
from atrous.metrics.main_score import main_score_of
from atrous.runs.run import Status, load_run
from atrous.studies.search_trials import ENDED, Trial, best_of, say_best, table, write_trials
from atrous.studies.study import Job, Multirun, launch_jobs, plan, report_command, tell_unread
from atrous.system.locks import FolderLock
from atrous.system.text import short

FOLDER = "folder"  # what search.db knows of a trial beside its values
DRAWS = 100  # of known settings, one after another, until the space counts as exhausted


def run_search(
    overrides: Sequence[Any], multirun: Multirun, *, trials: int, jobs: int, seed: int, pruning: Any
) -> None:
    """Tries settings until `trials` different ones have been, and shows what came of all.

    Trials that were running when an earlier process ended go on, failed ones are tried again, ended ones stay.

    Args:
        overrides: The command's as Hydra parses them, with the space among them.
        multirun: Composes and launches the jobs.
        trials: How many different settings are tried.
        jobs: How many are drawn and launched together.
        seed: Of the draws.
        pruning: When a trial may be given up, or None.

    Raises:
        ConfigError: If the space or a setting is impossible, or the folder holds a search of other settings.
        TrainingError: If trials failed, or another process is searching in the folder.
    """
    check_settings(trials=trials, jobs=jobs, seed=seed, pruning=pruning)
    folder = multirun.folder
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    try:
        search = Search(overrides, multirun, seed=seed)
        ended = sum(trial.job.status in ENDED for trial in search.trials)
        print(f"search {short(folder)}: {trials} trials, {ended} ended already\n", flush=True)
        console = Console()
        try:
            _run(search, console, trials, jobs, pruning)
        finally:  # also where a signal ends the search
            write_trials(search.trials, folder)
            console.print(table(search.trials))
            say_best(console, search.trials)
            if any(trial.job.status == Status.FINISHED for trial in search.trials):
                print(f"  report     {report_command(folder)}", flush=True)
    finally:
        lock.release()
    if len(search.trials) < trials:
        console.print("There are no more settings, or so few that they were not drawn.")
    failed = [trial.job for trial in search.trials if trial.job.status not in ENDED]
    reasons = [f"  {job.folder.name}: {job.reason()}" for job in failed]
    if reasons:
        raise TrainingError(
            f"{len(reasons)} of {len(search.trials)} trials did not finish:\n"
            + "\n".join(reasons)
            + "\nThe same command tries them again."
        )


class Search:
    """The trials of a folder, as search.db remembers them, and those drawn meanwhile.

    Args:
        overrides: The command's, with the space among them.
        multirun: Composes the jobs; its folder is held by this process.
        seed: Of the draws.

    Raises:
        ConfigError: If the space is impossible, or the folder holds a search of other settings.
    """

    def __init__(self, overrides: Sequence[Any], multirun: Multirun, *, seed: int) -> None:
        self._optuna = import_optuna()
        self.multirun = multirun
        self.trials: list[Trial] = []  # each setting once
        self._seed = seed
        self._fixed, self._space = read_space(overrides)
        self._distributions = {key: distribution(self._optuna, drawn) for key, drawn in self._space.items()}
        self._known: dict[tuple[str, ...], Trial] = {}  # by what is written of a draw
        first, *_ = [multirun.compose(self._overrides(point)).resolved() for point in first_points(self._space)]
        storage = f"sqlite:///{multirun.folder / 'search.db'}"
        self._study = self._optuna.create_study(
            study_name="search",
            storage=storage,
            direction=main_score_of(first).direction,
            load_if_exists=True,
        )
        wanted = multirun.files.identity(first)
        tell_unread([wanted])
        self._check_same(wanted.fingerprint)
        self._read()

    def left(self) -> list[Trial]:
        """The trials that have not ended: were running as an earlier process ended, or have failed."""
        left = [trial for trial in self.trials if trial.asked is not None or trial.job.status not in ENDED]
        for trial in left:
            if trial.asked is None:
                again = self._optuna.trial.create_trial(
                    state=self._state.RUNNING,
                    params=trial.drawn,
                    distributions=self._distributions,
                    user_attrs={FOLDER: trial.job.folder.name},
                )
                self._study.add_trial(again)
                trial.asked = self._trial(self._study.get_trials(deepcopy=False)[-1])
        return left

    def draw(self) -> Trial | None:
        """Another setting; None where all are known, or `DRAWS` in a row were."""
        for _ in range(DRAWS if len(self._known) < size(self._space) else 0):
            count = len(self._study.get_trials(deepcopy=False))
            (seed,) = np.random.SeedSequence((self._seed, count)).generate_state(1)
            self._study.sampler = self._optuna.samplers.TPESampler(
                seed=int(seed), multivariate=True, constant_liar=True
            )
            asked = self._study.ask(self._distributions)
            trial = None
            try:
                trial = self._new(asked)
            finally:
                if trial is None:  # known, or it does not compose
                    self._study.tell(asked, state=self._state.FAIL)
            if trial is not None:
                return trial
        return None

    def tell(self, trial: Trial) -> None:
        """Tells the sampler what came of a trial that it was asked for.

        Raises:
            TrainingError: If the trial is finished and has left no score.
        """
        asked, trial.asked = trial.asked, None
        came, run = trial.job.status, trial.job.run
        scores = run.validation_scores() if came in ENDED else []
        if came == Status.FINISHED and not scores:
            raise TrainingError(
                f"{short(run.folder)} is finished, but its metrics.csv holds no {run.main_score.monitor}, which a search goes by. "
                "Keep metrics.csv among the loggers: logger=csv or logger=wandb."
            )
        for step, score in enumerate(scores):
            asked.report(score, step)
        if came == Status.FINISHED:
            self._study.tell(asked, run.main_score.best(scores))
        else:
            self._study.tell(asked, state=self._state.PRUNED if came == Status.PRUNED else self._state.FAIL)

    @property
    def _state(self) -> Any:
        return self._optuna.trial.TrialState

    def _read(self) -> None:
        for earlier in self._study.get_trials(deepcopy=False):
            if earlier.params.keys() != self._space.keys():  # killed as it was drawn
                if earlier.state == self._state.RUNNING:
                    self._study.tell(earlier.number, state=self._state.FAIL)
                continue
            known = self._known.get(tuple(written(self._space, earlier.params).values()))
            name = earlier.user_attrs.get(FOLDER)
            if earlier.state == self._state.RUNNING:
                asked = self._trial(earlier)
                if known is not None and name is not None:  # a failed one, tried again
                    known.asked = asked
                elif self._new(asked, name) is None:
                    self._study.tell(asked, state=self._state.FAIL)
            elif known is None and name is not None:
                self._new(self._trial(earlier), name).asked = None  # type: ignore[union-attr]  # it is new

    def _new(self, asked: Any, folder: str | None = None) -> Trial | None:
        """The trial of what was drawn, in its folder; None where it is a known one."""
        values = written(self._space, asked.params)
        key = tuple(values.values())
        if key in self._known:
            return None
        overrides = self._overrides(values)
        if folder is None:
            (job,) = plan([overrides], self.multirun, named_by=list(values))
        else:
            job = Job(self.multirun.folder / folder, overrides)
        for trial in self.trials:
            if trial.job.folder == job.folder:  # differs in nothing that counts
                self._known[key] = trial
                return None
        if folder is None:
            asked.set_user_attr(FOLDER, job.folder.name)
        self._known[key] = trial = Trial(values, asked.params, job, asked)
        self.trials.append(trial)
        return trial

    def _overrides(self, values: dict[str, str]) -> list[str]:
        return [*self._fixed, *(f"{key}={value}" for key, value in values.items())]

    def _trial(self, frozen: Any) -> Any:
        return self._optuna.trial.Trial(self._study, frozen._trial_id)  # there is no public way to go on with one

    def _fits_trials(self) -> bool:
        """Whether this command would give a trial the settings that its run has."""
        for trial in self._study.get_trials(deepcopy=False):
            run = load_run(self.multirun.folder / str(trial.user_attrs.get(FOLDER)))
            if run is not None:
                job = self.multirun.compose(self._overrides(written(self._space, trial.params)))
                return self.multirun.files.identity(job.resolved()).is_of(run)
        return True

    def _check_same(self, counted: str) -> None:
        """Refuses to mix searches whose scores can't be compared."""
        to_json = self._optuna.distributions.distribution_to_json
        space = {key: to_json(distribution) for key, distribution in self._distributions.items()}
        now = {"space": space, "fixed": self._fixed, "fingerprint": counted}
        before = self._study.user_attrs.get("settings")
        changed = before is not None and before["fingerprint"] != counted
        if changed and before["space"] == space and self._fits_trials():
            before = None  # its fingerprint was made by an earlier version, or where the data lay elsewhere
        if before is None:
            self._study.set_user_attr("settings", now)
        elif before["space"] != space or changed:
            keys = [key for key in {**before["space"], **space} if before["space"].get(key) != space.get(key)]
            what = (
                f"the space of {', '.join(keys)} was another"
                if keys
                else (
                    f"what stays fixed was {' '.join(before['fixed']) or 'the defaults'}, now "
                    f"{' '.join(self._fixed) or 'the defaults'}, or the configs have changed"
                )
            )
            raise ConfigError(
                f"{short(self.multirun.folder)} holds a search of other settings: {what}. Trials of two searches can't be compared. "
                "Give this one a folder of its own, study=NAME, or go back to the earlier settings; hydra.sweeper.trials, "
                "jobs, seed and pruning may change."
            )


def _run(search: Search, console: Console, trials: int, jobs: int, pruning: Any) -> None:
    """Batch by batch: those left over, then new ones."""
    left = search.left()
    while True:
        batch, left = left[:jobs], left[jobs:]
        while len(batch) < jobs and len(search.trials) < trials:
            trial = search.draw()
            if trial is None:
                break
            batch.append(trial)
        if not batch:
            return
        numbers = [search.trials.index(trial) + 1 for trial in batch]
        best = best_of(search.trials)
        told = "" if best is None else f"; best val {best.main_score.name} so far {best.score:.4f}"
        names = f"trial {numbers[0]}" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))}"
        console.print(f"{names} of {max(trials, len(search.trials))}{told}", highlight=False)
        write_trials(search.trials, search.multirun.folder)  # a trial's process looks there for the others
        running = [trial.job for trial in batch if trial.job.status not in ENDED]
        if running:
            launch_jobs(running, search.multirun, first=numbers[0] - 1, pruning=pruning)
        for trial in batch:
            search.tell(trial)


def distribution(optuna: Any, drawn: Choice | Number) -> Any:
    """Optuna's distribution."""
    if isinstance(drawn, Choice):
        return optuna.distributions.CategoricalDistribution(list(drawn.values))
    if isinstance(drawn.low, int):
        return optuna.distributions.IntDistribution(drawn.low, drawn.high, log=drawn.log, step=drawn.step)
    return optuna.distributions.FloatDistribution(drawn.low, drawn.high, log=drawn.log, step=drawn.step)


def import_optuna() -> Any:
    """Optuna, without its log lines.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("a search needs optuna, which is not installed; `pip install 'atrous[search]'`.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
