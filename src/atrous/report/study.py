"""Runs folded by their settings: seeds become mean, spread and number, and a difference to the baseline with a word for it."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError, DataError
from atrous.metrics.bootstrap import Difference
from atrous.metrics.main_score import MEAN_IOU, MainScore
from atrous.report.settings import Column, order, settings_of
from atrous.runs.compare import Baseline, verdict
from atrous.runs.folds import read_evaluations
from atrous.runs.run import Run, Unread
from atrous.runs.scores import Evaluation
from atrous.system.text import one_line, score


@dataclass(frozen=True)
class Spread:
    """One number over the runs that have it.

    Args:
        values: One for each of these runs.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def std(self) -> float:
        """Of the sample, n - 1; NaN for one run."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan

    def text(self, style: str = ".3f") -> str:
        """The mean and its spread; the mean alone where there is none."""
        return score(self.mean, style) if math.isnan(self.std) else f"{self.mean:{style}} ± {self.std:{style}}"


@dataclass
class Group:
    """The finished runs that differ in nothing but their seed and fold.

    Args:
        id: Its name on the page.
        values: The text of each column.
        runs: One for each seed, the newest; one for each seed and fold where val is one of several.
        repeated: Older runs of the same seeds, which are not counted: they would look like further seeds.
        difference: This group's main score minus the baseline's; None where it was not compared.
        verdict: What that comes to.
        reason: What stands in the way of a comparison.
        pooled: The evaluation of each seed over its folds; empty where there are none.
    """

    id: str
    values: tuple[str, ...]
    runs: list[Run]
    repeated: list[Run] = field(default_factory=list)
    difference: Difference | None = None
    verdict: str = ""
    reason: str = ""
    pooled: list[Evaluation] = field(default_factory=list)

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.pooled or self.runs)

    @property
    def score(self) -> Spread:
        """The main score."""
        return Spread(tuple(scored.score for scored in self.pooled or self.runs))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.runs[0].classes

    @property
    def iou(self) -> NDArray[np.float64]:
        """Each class's mean over the runs that have a score for it, (C,)."""
        if self.pooled:
            rows = np.stack([scored.class_scores["iou"] for scored in self.pooled])
        else:
            rows = np.stack([run.iou for run in self.runs if run.classes == self.classes])
        known = ~np.isnan(rows)
        return np.where(known.any(0), np.nansum(rows, 0) / np.maximum(known.sum(0), 1), np.nan)

    def cost(self, key: str) -> float:
        """The median over the runs that have it."""
        values = np.array([run.cost(key) for run in self.runs])
        return float(np.median(values[~np.isnan(values)])) if not np.isnan(values).all() else math.nan


@dataclass
class Study:
    """All that a report shows.

    Args:
        columns: The settings that vary.
        groups: Sorted by their settings.
        baseline: One of the groups; None where there is only one, or none.
        runs: Every run that could be read, sorted by settings and seed.
        values: The columns' texts for each of them.
        unread: Folders that could not be read.
        implied: Further keys that vary along with the columns.
    """

    columns: list[Column]
    groups: list[Group]
    baseline: Group | None
    runs: list[Run]
    values: list[tuple[str, ...]]
    unread: list[Unread]
    implied: list[str]

    @property
    def main_score(self) -> MainScore:
        return self.runs[0].main_score if self.runs else MEAN_IOU

    @functools.cached_property
    def numbers(self) -> dict[Path, int]:
        """Each run's number, from 1 on, by its folder."""
        return {run.folder: number for number, run in enumerate(self.runs, 1)}

    @functools.cached_property
    def ranked(self) -> list[Group]:
        """The baseline, then the others by falling score: what is shown first where not all can be."""
        return sorted(self.groups, key=lambda group: (group is not self.baseline, -group.score.mean))

    @property
    def unfinished(self) -> list[Run]:
        return [run for run in self.runs if not run.finished]

    def settings(self, values: Sequence[str]) -> str:
        """A run's or a group's values in a line."""
        pairs = zip(self.columns, values, strict=True)
        return ", ".join(f"{column.name}={value}" for column, value in pairs) or "all runs"

    def label(self, group: Group) -> str:
        return self.settings(group.values)


def study_of(
    runs: Sequence[Run],
    unread: Sequence[Unread],
    *,
    ignored: Sequence[tuple[str, ...]],
    baseline: str | None,
    resamples: int | None,
    seed: int = 0,
) -> Study:
    """Folds the runs and compares each group with the baseline.

    Args:
        runs: Read; none is fine.
        unread: Passed on.
        ignored: See `settings_of`.
        baseline: Settings as a group has them, `output_stride=16,loss=dice`, or one of its run folders; None: the first.
        resamples: Of the images, for the differences; None: nothing is compared.
        seed: Of the resamples.

    Raises:
        ConfigError: If the baseline names no group, or several.
    """
    if not runs:
        return Study([], [], None, [], [], list(unread), [])
    settings = settings_of(runs, ignored)
    rows = list(zip(runs, settings.values, settings.same, strict=True))
    rows.sort(key=lambda row: (order(row[1]), row[2], order((str(row[0].seed), str(row[0].fold))), str(row[0].folder)))
    groups: dict[int, Group] = {}
    for run, values, same in rows:
        if run.finished:
            groups.setdefault(same, Group(f"g{len(groups) + 1}", values, [])).runs.append(run)
    found = list(unread)
    for group in groups.values():
        newest = {
            (str(run.seed), run.fold): run for run in sorted(group.runs, key=lambda run: str(run.result.get("ended")))
        }
        group.repeated = [run for run in group.runs if newest[str(run.seed), run.fold] is not run]
        group.runs = [run for run in group.runs if newest[str(run.seed), run.fold] is run]
        found += _pool(group)
    whole = [group for group in groups.values() if group.runs]
    study = Study(settings.columns, whole, None, [], [], found, settings.implied)
    study.runs, study.values = [run for run, *_ in rows], [values for _, values, _ in rows]
    study.baseline = _choose(study, baseline)
    if study.baseline is not None and resamples is not None:
        compared = Baseline([run.folder for run in study.baseline.runs], resamples=resamples, seed=seed)
        for group in study.groups:
            _judge(group, study.baseline, compared)
    return study


def _pool(group: Group) -> list[Unread]:
    """Pools the folds of each seed; what can't be pooled leaves the group, and is returned with the reason."""
    seeds: dict[str, list[Run]] = {}
    for run in group.runs:
        if run.fold is not None:
            seeds.setdefault(str(run.seed), []).append(run)
    left_out = []
    for runs in seeds.values():
        try:
            group.pooled += read_evaluations([run.folder for run in runs])
        except DataError as error:
            group.runs = [run for run in group.runs if run not in runs]
            left_out.append(Unread(runs[0].folder, one_line(error, 300)))
    return left_out


def _judge(group: Group, chosen: Group, baseline: Baseline) -> None:
    if group is chosen:
        group.verdict = "baseline"
        return
    try:
        group.difference = baseline.difference([run.folder for run in group.runs])
    except (DataError, ValueError, OSError) as error:
        group.verdict, group.reason = "not comparable", str(error)
        return
    group.verdict = verdict(group.difference, group.n, chosen.n)


def _choose(study: Study, baseline: str | None) -> Group | None:
    groups = study.groups
    if baseline is None:
        return groups[0] if len(groups) > 1 else None
    place = Path(baseline).resolve()
    wanted = _pairs(baseline, study.columns)
    fits = [group for group in groups if any(run.folder.resolve() == place for run in group.runs + group.repeated)]
    if not fits and wanted is not None:
        fits = [
            group for group in groups if wanted.items() <= dict(zip(study.columns, group.values, strict=True)).items()
        ]
    if len(fits) == 1:
        return fits[0]
    known = "\n  ".join(study.label(group).replace(", ", ",") for group in (fits or groups)[:20])
    raise ConfigError(
        f"baseline={baseline} fits {len(fits)} of the {len(groups)} settings that have finished runs. Give a run folder, or "
        f"settings that fit one of\n  {known}"
    )


def _pairs(text: str, columns: Sequence[Column]) -> dict[Column, str] | None:
    """`a=1,b=[2,3]` by column, each by its name or its whole key; None where it is something else."""
    found: dict[Column, str] = {}
    for pair in re.split(r",(?=[^,\[\]]+=)", text):
        key, equals, value = pair.strip().partition("=")
        column = next((column for column in columns if key in (column.name, column.key)), None)
        if not equals or column is None:
            return None
        found[column] = value.replace(" ", "") if value.startswith("[") else value
    return found


def notes(study: Study) -> list[str]:
    """What a reader of the numbers should not miss."""
    found = []
    commits = Counter(run.commit for group in study.groups for run in group.runs if run.commit)
    if len(commits) > 1:
        found.append(f"The runs were made by {len(commits)} states of the code: {', '.join(sorted(commits)[:8])}.")
    if any(commit.endswith("+") for commit in commits):
        found.append("Some ran on a clone with changes that no commit holds; a + stands behind those commits.")
    if repeated := sum(len(group.repeated) for group in study.groups):
        found.append(
            f"Left out: {repeated} older {'run' if repeated == 1 else 'runs'} with the settings and the seed of a newer one."
        )
    if folds := sorted({run.fold[1] for group in study.groups for run in group.runs if run.fold is not None}):
        found.append(
            f"The {' or '.join(map(str, folds))} folds of a seed are one evaluation, in which each image counts once."
        )
    if any(group.difference is not None for group in study.groups):
        if any(group.n == 1 for group in study.groups):
            found.append("With one seed an interval is about the choice of images only.")
        if (count := sum(group.difference is not None for group in study.groups)) > 1:
            found.append(
                f"Each of the {count} intervals stands by itself: where nothing differs, about one in twenty leaves out 0 "
                "by chance."
            )
    return found
