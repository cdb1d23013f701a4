"""Which measurements the page of `lab` needs, and what becomes of each. Imports torch only where something is measured."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from atrous.errors import CheckpointError, ConfigError, DataError
from atrous.lab.store import Store, digest
from atrous.report.settings import ABSENT
from atrous.report.study import Group, Study
from atrous.runs.protocol import lines
from atrous.runs.run import Run
from atrous.system.devices import processor_name
from atrous.system.text import one_line, short


@dataclass(frozen=True)
class _Task:
    """One measurement: what it is made from, what the progress bar says, and how it is made."""

    key: dict[str, Any]
    label: str
    make: Callable[[], Any]


class Plan:
    """What a study's page needs, taken from its run folders, from the store, or measured.

    Args:
        study: Runs folded by their settings.
        settings: Those of conf/lab.yaml.
        overrides: Changes to the checkpoints' configs.
        store: What was measured before.
    """

    def __init__(self, study: Study, settings: dict[str, Any], overrides: list[str], store: Store) -> None:
        self.study, self.settings, self.overrides, self.store = study, settings, overrides, store
        self.left_out: list[str] = []
        self._restored = functools.lru_cache(maxsize=1)(self._restore)

    def measure(self) -> dict[str, Any]:
        """The part of lab.json that holds the numbers."""
        settings, groups = self.settings, self.study.groups
        best = {run.folder: path for group in groups for run in group.runs if (path := self._checkpoint(run))}
        firsts = {group.id: next((run for run in group.runs if run.folder in best), None) for group in groups}
        self._say_what_does_not_apply()
        with Progress(transient=True) as progress:
            self._bar = progress
            self._job = progress.add_task("reading", total=None)
            size = settings["size"] or self._size([best[run.folder] for run in firsts.values() if run])
            tasks = dict(self._tasks(best, firsts, size))
            progress.update(self._job, total=len(tasks))
            found = {name: self._value(task) for name, task in tasks.items()}
        return {
            "split": settings["split"],
            "overrides": self.overrides,
            "size": size,
            "context_distances": settings["context_distances"],
            "columns": [{"key": column.key, "name": column.name} for column in self.study.columns],
            "variants": [self._variant(group, firsts[group.id], found) for group in groups],
            "latency": found.get(("latency",)),
            "left_out": list(dict.fromkeys(self.left_out)),
        }

    def _checkpoint(self, run: Run) -> Path | None:
        path = run.folder / str(run.result.get("best_checkpoint") or "checkpoints/best.ckpt")
        if path.is_file():
            return path
        self.left_out.append(
            f"{short(run.folder.resolve())}: no {path.name}, so that nothing was measured with its weights; its mIoU is that of "
            "its result.json."
        )
        return None

    def _say_what_does_not_apply(self) -> None:
        runs = [run for group in self.study.groups for run in group.runs]
        if self.settings["context_distances"] and not all(_has_knob(run) for run in runs):
            self.left_out.append(
                "No scores by context distance where a run's data has no such knob: `scenes` alone draws it."
            )
        if any(group.n == 1 for group in self.study.groups):
            self.left_out.append("No spread where a setting has one seed.")
        for left in self.study.unread:
            self.left_out.append(f"{left.folder}: {left.reason}")
        if unfinished := self.study.unfinished:
            folders = ", ".join(str(short(run.folder.resolve())) for run in unfinished[:5])
            self.left_out.append(f"{len(unfinished)} runs that have not finished, such as {folders}.")
        if repeated := sum(len(group.repeated) for group in self.study.groups):
            self.left_out.append(f"{repeated} older runs with the settings and the seed of a newer one.")

    def _tasks(
        self, best: dict[Path, Path], firsts: dict[str, Run | None], size: list[int] | None
    ) -> Iterator[tuple[tuple[Any, ...], _Task]]:
        """What is to be known, by name; a run's together, so that its checkpoint is read once."""
        from_split = {"split": self.settings["split"], "overrides": self.overrides}
        split, images = self.settings["split"], self.settings["effective_images"]
        for group in self.study.groups:
            for run in group.runs:
                if run.folder not in best:
                    continue
                path = best[run.folder]
                about, told = {"checkpoint": digest(path), **from_split}, short(run.folder.resolve())
                if not self._has_scores(run):
                    yield (
                        ("scores", run.folder),
                        self._task("scores", about, f"scores of {told}", path, lambda net: _lab().scores(net, split)),
                    )
                for distance in self.settings["context_distances"] if _has_knob(run) else ():
                    make = functools.partial(lambda net, pixels: _lab().context(net, split, pixels), pixels=distance)
                    key = {**about, "distance": distance}
                    yield (
                        ("context", run.folder, distance),
                        self._task("context", key, f"context at {distance} pixels of {told}", path, make),
                    )
                if images and size:
                    yield (
                        ("effective", run.folder),
                        self._task(
                            "effective",
                            {**about, "images": images, "size": size},
                            f"effective field of {told}",
                            path,
                            lambda net: _lab().effective(net, split, images=images, size=_pair(size)),
                        ),
                    )
            first = firsts[group.id]
            if first is not None and size:
                yield from self._of_setting(group, best[first.folder], first, size)
        chosen = [best[run.folder] for run in firsts.values() if run is not None]
        if chosen and size and self.settings["latency_rounds"]:
            key = {"kind": "latency", "checkpoints": [digest(path) for path in chosen], "size": size, **self._machine}
            key |= {name: self.settings[name] for name in ("latency_rounds", "warm_up")}
            yield ("latency",), _Task(key, "latency", lambda: self._latency(chosen, _pair(size)))

    def _of_setting(
        self, group: Group, path: Path, run: Run, size: list[int]
    ) -> Iterator[tuple[tuple[Any, ...], _Task]]:
        crop = run.settings.get("data.train_transform.crop_size")
        sizes = [_pair(size), *([_pair(crop)] if isinstance(crop, list) and len(crop) == 2 else [])]
        label, about = self.study.label(group), {"checkpoint": digest(path)}
        key = {**about, "sizes": sizes}
        yield (
            ("sees", group.id),
            self._task("sees", key, f"fields of {label}", path, lambda net: _lab().sees(net.scorer.model, sizes)),
        )
        if self.settings["memory"]:
            threads = self.settings["threads"]
            yield (
                ("memory", group.id),
                self._task(
                    "memory",
                    {**about, "size": size, **self._machine},
                    f"memory of {label}",
                    path,
                    lambda net: _lab().memory(net.config, _pair(size), threads=threads, on_gpu=_lab().uses_gpu(net)),
                ),
            )

    def _task(self, kind: str, about: dict[str, Any], label: str, path: Path, make: Callable[[Any], Any]) -> _Task:
        return _Task({"kind": kind, **about}, label, lambda: make(self._restored(path)))

    @property
    def _machine(self) -> dict[str, Any]:
        return {"machine": processor_name(), **{name: self.settings[name] for name in ("threads", "accelerator")}}

    def _latency(self, chosen: Sequence[Path], size: tuple[int, int]) -> dict[str, Any]:
        configs, on_gpu = [], False
        for path in chosen:  # one checkpoint in memory at a time
            configs.append(self._restored(path).config)
            on_gpu = _lab().uses_gpu(self._restored(path))
        measured: dict[str, Any] = _lab().latency(
            configs,
            size,
            rounds=self.settings["latency_rounds"],
            warm_up=self.settings["warm_up"],
            threads=self.settings["threads"],
            on_gpu=on_gpu,
        )
        return measured

    def _restore(self, path: Path) -> Any:
        from atrous.engine.checkpoint import restore

        return restore(path, self.settings, self.overrides)

    def _size(self, paths: Sequence[Path]) -> list[int] | None:
        """Of the first image of the split, of the first run whose data can be read."""
        for path in paths:
            key = {"checkpoint": digest(path), "split": self.settings["split"], "overrides": self.overrides}
            task = self._task("size", key, "reading", path, lambda net: _lab().image_size(net, self.settings["split"]))
            if (found := self._value(task, step=0)) is not None:
                return list(found)
        return None

    def _value(self, task: _Task, *, step: int = 1) -> Any:
        """What the store has, else what is measured; None where the run's files or its network don't allow it."""
        self._bar.update(self._job, description=one_line(task.label, 60))
        value = self.store.get(task.key)
        if value is None:
            try:
                self.store.put(task.key, task.make())
                value = self.store.get(task.key)
            except (CheckpointError, DataError) as error:
                self.left_out.append(f"{task.label}: {error}")
            except ConfigError as error:
                if task.key["kind"] not in ("sees", "effective"):  # which fail by what the network is
                    raise
                self.left_out.append(f"{task.label}: {error}")
        self._bar.advance(self._job, step)
        return value

    def _has_scores(self, run: Run) -> bool:
        """Whether the run's own result.json has all scores of the split that is asked for."""
        same = run.part("protocol").get("split") == self.settings["split"] and not self.overrides
        return same and bool(run.part("objects"))

    def _variant(self, group: Group, first: Run | None, found: dict[tuple[Any, ...], Any]) -> dict[str, Any]:
        latency = found.get(("latency",))
        order = [other.id for other in self.study.groups if ("sees", other.id) in found]
        stride = first and first.config.get("model.output_stride")
        return {
            "id": group.id,
            "label": self.study.label(group),
            "values": group.values,
            "network": str(group.runs[0].config.get("model._target_", ABSENT)).rpartition(".")[2],
            "output_stride": stride,
            "sees": found.get(("sees", group.id)),
            "memory": found.get(("memory", group.id)),
            "latency": latency["networks"][order.index(group.id)] if latency and group.id in order else None,
            "runs": [self._of_run(run, found) for run in group.runs],
        }

    def _of_run(self, run: Run, found: dict[tuple[Any, ...], Any]) -> dict[str, Any]:
        scored = found.get(("scores", run.folder)) or run.result
        context = [found.get(("context", run.folder, distance)) for distance in self.settings["context_distances"]]
        protocol = scored.get("protocol")
        return {
            "folder": str(run.folder),
            "seed": run.seed,
            "trained_distance": run.settings.get("data.context_distance"),
            "miou": scored["scores"]["miou"],
            "objects": scored.get("objects"),
            "context": [entry for entry in context if entry],
            "effective": found.get(("effective", run.folder)),
            "protocol": _lines(protocol) if isinstance(protocol, dict) else [],
        }


def _lab() -> Any:
    """What imports torch, and so only where something is measured."""
    from atrous.lab import measure as lab_measure

    return lab_measure


def _has_knob(run: Run) -> bool:
    return "data.context_distance" in run.settings


def _pair(size: Sequence[int]) -> tuple[int, int]:
    return int(size[0]), int(size[1])


def _lines(protocol: dict[str, Any]) -> list[str]:
    try:
        return list(lines(protocol))
    except KeyError:
        return [", ".join(f"{key}: {value}" for key, value in protocol.items())]
