"""lab.json as the dilation lab's page needs it: numbers of a setting's runs folded into mean, spread and number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from atrous.report.charts import COLOURS
from atrous.report.study import Spread
from atrous.system.text import number

SIZES = ("small", "medium", "large")


class Rate(NamedTuple):
    """One of the convolutions that read a map side by side.

    Attributes:
        rate: Places from one weight to the next.
        field: Pixels that its branch sees; NaN for the whole image.
        valid, all_valid, one_valid: See `atrous.analysis.valid_weights.AtrousConvs`.
    """

    rate: int
    field: float
    valid: float
    all_valid: float
    one_valid: float


class Map(NamedTuple):
    """The map that they read.

    Attributes:
        image: Height and width of the image in pixels.
        size: Height and width of the map in places.
        rates: The convolutions.
        curve: The valid share of a 3 x 3 convolution at rate 1, 2, ... on the map.
    """

    image: Sequence[int]
    size: tuple[int, int]
    rates: Sequence[Rate]
    curve: Sequence[float]

    @property
    def stride(self) -> float:
        """Pixels from one place to the next: a power of two, which odd sizes, rounded up, hide."""
        return 2.0 ** round(math.log2(max(self.image[0] / self.size[0], self.image[1] / self.size[1])))

    @property
    def places(self) -> set[tuple[int, int]]:
        """Where the weights lie, as steps from the middle; the shared middle once."""
        return {(r.rate * down, r.rate * across) for r in self.rates for down in (-1, 0, 1) for across in (-1, 0, 1)}


@dataclass(frozen=True)
class Variant:
    """The runs of one setting.

    Args:
        id: Its name on the page.
        style: The class of its marks.
        raw: Its part of lab.json.
        maps: One for each size of image, the evaluation's first; empty where no convolutions lie side by side.
    """

    id: str
    style: str
    raw: dict[str, Any]
    maps: tuple[Map, ...]

    @property
    def label(self) -> str:
        return str(self.raw["label"])

    @property
    def values(self) -> list[str]:
        return [str(value) for value in self.raw["values"]]

    @property
    def runs(self) -> list[dict[str, Any]]:
        return list(self.raw["runs"])

    @property
    def n(self) -> int:
        return len(self.runs)

    def alone(self, run: dict[str, Any]) -> Variant:
        """One of the runs, as if it had been the only one."""
        return replace(self, raw={**self.raw, "runs": [run]})

    @property
    def miou(self) -> Spread:
        return _spread(run.get("miou") for run in self.runs)

    def recall(self, size: str) -> Spread:
        """Of the objects of one of `SIZES`."""
        objects = [run.get("objects") or {} for run in self.runs]
        return _spread(dict(zip(o.get("sizes", ()), o.get("recall", ()), strict=False)).get(size) for o in objects)

    def context(self, distance: int, key: str = "iou") -> Spread:
        """`iou` of the context classes, or the `right` share, at a distance in pixels."""
        return _spread(entry[key] for run in self.runs for entry in run["context"] if entry["distance"] == distance)

    @property
    def effective(self) -> Spread:
        """The effective receptive field in pixels."""
        return _spread((run.get("effective") or {}).get("size") for run in self.runs)

    @property
    def field(self) -> float:
        """The theoretical receptive field's height in pixels, image pooling left aside; NaN for the whole image."""
        return number(((self.raw["sees"] or {}).get("field") or [None])[0])

    @property
    def rates(self) -> str:
        return ", ".join(str(rate.rate) for rate in self.maps[0].rates) if self.maps else ""

    @property
    def valid(self) -> float:
        """The share of valid weights over all rates, at the evaluation's size."""
        return float(np.mean([rate.valid for rate in self.maps[0].rates])) if self.maps else math.nan

    @property
    def places(self) -> float:
        """How many places the rates' weights read around one, the middle that they share counted once."""
        return len(self.maps[0].places) if self.maps else math.nan

    def cost(self, key: str) -> float:
        """`macs`, `parameters`, seconds (`p05`, `p50`, `p95`, `cpu`) or peak bytes (`inference`, `training`); NaN if not known."""
        if key in ("macs", "parameters"):
            return number((self.raw["sees"] or {}).get(key))
        if key in ("inference", "training"):
            return number(((self.raw["memory"] or {}).get(key) or {}).get("bytes"))
        return number((self.raw["latency"] or {}).get(key))


@dataclass(frozen=True)
class Lab:
    """All that the page shows.

    Args:
        raw: lab.json.
        variants: In the order of their settings.
        distances: Of the context, in pixels, rising; those that any run was scored at.
    """

    raw: dict[str, Any]
    variants: tuple[Variant, ...]
    distances: tuple[int, ...]

    @property
    def columns(self) -> list[str]:
        return [str(column["name"]) for column in self.raw["columns"]]

    @property
    def keys(self) -> list[str]:
        return [str(column["key"]) for column in self.raw["columns"]]

    @property
    def legend(self) -> list[tuple[str, str]]:
        return [(variant.style, variant.label) for variant in self.variants]

    @property
    def left_out(self) -> list[str]:
        return [str(line) for line in self.raw["left_out"]]

    @property
    def latency(self) -> dict[str, Any]:
        return self.raw.get("latency") or {}


def read(content: dict[str, Any]) -> Lab:
    """lab.json for its page: the best settings have colours, the others are grey."""
    ranked = sorted(content["variants"], key=lambda raw: -np.mean([run["miou"] for run in raw["runs"]]))
    best = {raw["id"] for raw in ranked[:COLOURS]}
    coloured = [raw["id"] for raw in content["variants"] if raw["id"] in best]
    variants = tuple(
        Variant(
            id=raw["id"],
            style=f"s{coloured.index(raw['id'])}" if raw["id"] in best else "rest",
            raw=raw,
            maps=tuple(map(_map, (raw["sees"] or {}).get("maps", ()))),
        )
        for raw in content["variants"]
    )
    distances = {entry["distance"] for variant in variants for run in variant.runs for entry in run["context"]}
    return Lab(content, variants, tuple(sorted(distances)))


def _map(raw: dict[str, Any]) -> Map:
    shares = ("valid", "all_valid", "one_valid")
    rates = [Rate(one["rate"], number(one["field"][0]), *(number(one[key]) for key in shares)) for one in raw["rates"]]
    return Map(raw["size"], (raw["map"][0], raw["map"][1]), rates, raw["curve"])


def _spread(values: Iterable[Any]) -> Spread:
    """Of the values that are numbers."""
    return Spread(tuple(value for value in map(number, values) if not math.isnan(value)))
