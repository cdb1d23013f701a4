"""The numbers of lab's page: from run folders, from what was measured before, or measured now, which alone imports torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from atrous.errors import CheckpointError, ConfigError, DataError
from atrous.lab.store import Store, digest
from atrous.report.settings import ABSENT
from atrous.report.study import Group, Study
from atrous.runs.protocol import protocol_lines
from atrous.runs.run import Run
from atrous.system.devices import processor_name
from atrous.system.text import one_line, short


class Collector:
    """Collects the numbers of a study.

    Args:
        study: Runs folded by their settings.
        settings: Those of conf/lab.yaml.
        overrides: Changes to the checkpoints' configs.
        store: What was measured before.
    """

    def __init__(self, study: Study, settings: dict[str, Any], overrides: list[str], store: Store) -> None:
        self.study, self.settings, self.overrides, self.store = study, settings, overrides, store
        self.left_out: list[str] = []
        self._split = {"split": settings["split"], "overrides": overrides}
        options = {name: settings[name] for name in ("threads", "accelerator")}
        self._machine = {"machine": processor_name(), **options}
        self._restored = functools.lru_cache(maxsize=1)(self._restore)  # a run's measurements follow each other

    def collect(self) -> dict[str, Any]:
        """The part of lab.json that holds the numbers."""
        settings, groups = self.settings, self.study.groups
        best = {run.folder: path for group in groups for run in group.runs if (path := self._checkpoint(run))}
        firsts = {group.id: next((run for run in group.runs if run.folder in best), None) for group in groups}
        chosen = {id: best[run.folder] for id, run in firsts.items() if run is not None}
        self._say_what_does_not_apply()
        with Progress(transient=True) as self._progress:
            self._job = self._progress.add_task("reading", total=len(groups) + 1)
            self.size = settings["size"] or self._first_size(list(chosen.values()))
            variants = []
            for group in groups:
                variants.append(self._variant(group, firsts[group.id], best))
                self._progress.advance(self._job)
            latency = None
            if chosen and self.size and settings["latency_rounds"]:
                latency = self._latency(list(chosen.values()), _pair(self.size))
        for id, seconds in zip(chosen, latency["networks"] if latency else (), strict=False):
            next(variant for variant in variants if variant["id"] == id)["latency"] = seconds
        return {
            "split": settings["split"],
            "overrides": self.overrides,
            "size": self.size,
            "context_distances": settings["context_distances"],
            "columns": [{"key": column.key, "name": column.name} for column in self.study.columns],
            "variants": variants,
            "latency": latency,
            "left_out": list(dict.fromkeys(self.left_out)),
        }

    def _checkpoint(self, run: Run) -> Path | None:
        path = run.checkpoint
        if path.is_file():
            return path
        self.left_out.append(
            f"{short(run.folder.resolve())}: no {path.name}, so that nothing was measured with its weights; its mIoU is that of "
            "its result.json."
        )
        return None

    def _say_what_does_not_apply(self) -> None:
        groups = self.study.groups
        if self.settings["context_distances"] and not all(_has_knob(run) for group in groups for run in group.runs):
            self.left_out.append(
                "No scores by context distance where a run's data has no such knob: `scenes` alone draws it."
            )
        if any(group.n == 1 for group in groups):
            self.left_out.append("No spread where a setting has one seed.")
        self.left_out += [f"{left.folder}: {left.reason}" for left in self.study.unread]
        if unfinished := self.study.unfinished:
            folders = ", ".join(str(short(run.folder.resolve())) for run in unfinished[:5])
            self.left_out.append(f"{len(unfinished)} runs that have not finished, such as {folders}.")
        if repeated := sum(len(group.repeated) for group in groups):
            self.left_out.append(f"{repeated} older runs with the settings and the seed of a newer one.")

    def _first_size(self, paths: Sequence[Path]) -> list[int] | None:
        """Of the first image of the split, of the first run whose data can be read."""
        for path in paths:
            make = lambda net: _measure().image_size(net, self.settings["split"])  # noqa: E731
            size = self._measured("size", "size of the images", path, self._split, make)
            if size is not None:
                return list(size)
        return None

    def _variant(self, group: Group, first: Run | None, best: dict[Path, Path]) -> dict[str, Any]:
        runs = [self._run(run, best.get(run.folder)) for run in group.runs]
        label, sees, memory = self.study.label(group), None, None
        if first is not None and self.size:
            path, size = best[first.folder], _pair(self.size)
            crop = first.settings.get("data.train_transform.crop_size")
            sizes = [size, *([_pair(crop)] if isinstance(crop, list) and len(crop) == 2 else [])]
            sees = self._measured(
                "sees",
                f"fields of {label}",
                path,
                {"sizes": sizes},
                lambda net: _measure().sees(net.scorer.model, sizes),
            )
            if self.settings["memory"]:
                memory = self._measured(
                    "memory",
                    f"memory of {label}",
                    path,
                    {"size": self.size, **self._machine},
                    lambda net: _measure().memory(
                        net.config, size, threads=self.settings["threads"], on_gpu=_measure().uses_gpu(net)
                    ),
                )
        return {
            "id": group.id,
            "label": label,
            "values": group.values,
            "network": str(group.runs[0].settings.get("model._target_", ABSENT)).rpartition(".")[2],
            "output_stride": first and first.settings.get("model.output_stride"),
            "sees": sees,
            "memory": memory,
            "latency": None,
            "runs": runs,
        }

    def _run(self, run: Run, path: Path | None) -> dict[str, Any]:
        split, images, size = self.settings["split"], self.settings["effective_images"], self.size
        name, scored, context, effective = short(run.folder.resolve()), None, [], None
        if path is not None:
            same = run.part("protocol").get("split") == split and not self.overrides
            if not (same and run.part("objects")):
                scored = self._measured(
                    "scores", f"scores of {name}", path, self._split, lambda net: _measure().scores(net, split)
                )
            for distance in self.settings["context_distances"] if _has_knob(run) else ():
                entry = self._measured(
                    "context",
                    f"context at {distance} pixels of {name}",
                    path,
                    {**self._split, "distance": distance},
                    functools.partial(lambda net, pixels: _measure().context(net, split, pixels), pixels=distance),
                )
                context += [entry] if entry else []
            if images and size:
                effective = self._measured(
                    "effective",
                    f"effective field of {name}",
                    path,
                    {**self._split, "images": images, "size": size},
                    lambda net: _measure().effective(net, split, images=images, size=_pair(size)),
                )
        scored = scored or run.result
        protocol = scored.get("protocol")
        return {
            "folder": str(run.folder),
            "seed": run.seed,
            "trained_distance": run.settings.get("data.context_distance"),
            "miou": scored["scores"]["miou"],
            "objects": scored.get("objects"),
            "context": context,
            "effective": effective,
            "protocol": protocol_lines(protocol) if isinstance(protocol, dict) else [],
        }

    def _latency(self, paths: Sequence[Path], size: tuple[int, int]) -> Any:
        rounds = {name: self.settings[name] for name in ("latency_rounds", "warm_up")}
        key = {"kind": "latency", "checkpoints": [digest(path) for path in paths], "size": self.size}

        def make() -> Any:
            configs, on_gpu = [], False
            for path in paths:  # one checkpoint in memory at a time
                configs.append(self._restored(path).config)
                on_gpu = _measure().uses_gpu(self._restored(path))
            return _measure().latency(
                configs,
                size,
                rounds=rounds["latency_rounds"],
                warm_up=rounds["warm_up"],
                threads=self.settings["threads"],
                on_gpu=on_gpu,
            )

        return self._value({**key, **self._machine, **rounds}, "latency", make)

    def _measured(self, kind: str, label: str, path: Path, key: dict[str, Any], make: Callable[[Any], Any]) -> Any:
        """What `make` measures with a restored checkpoint; `key` tells apart measurements of a kind."""
        return self._value({"kind": kind, "checkpoint": digest(path), **key}, label, lambda: make(self._restored(path)))

    def _value(self, key: dict[str, Any], label: str, make: Callable[[], Any]) -> Any:
        """What the store has, else what is measured; None where the run's files or its network don't allow it."""
        self._progress.update(self._job, description=one_line(label, 60))
        value = self.store.get(key)
        if value is None:
            try:
                self.store.put(key, make())
                value = self.store.get(key)
            except (CheckpointError, DataError, ConfigError) as error:
                if isinstance(error, ConfigError) and key["kind"] not in (
                    "sees",
                    "effective",
                ):  # which the network forbids
                    raise
                self.left_out.append(f"{label}: {error}")
        return value

    def _restore(self, path: Path) -> Any:
        from atrous.engine.checkpoint import restore

        trusted, accelerator = self.settings["trusted"], self.settings["accelerator"]
        return restore(path, self.overrides, trusted=trusted, accelerator=accelerator)


def _measure() -> Any:
    """What imports torch, and so only where something is measured."""
    from atrous.lab import measure

    return measure


def _has_knob(run: Run) -> bool:
    return "data.context_distance" in run.settings


def _pair(size: Sequence[int]) -> tuple[int, int]:
    return int(size[0]), int(size[1])
