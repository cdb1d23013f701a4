"""Scenes: street views drawn from (seed, split, index), with every difficulty a knob. No files are read.

Each class asks for one thing that segmentation networks are said to need:

- `pole` and `wire` are `thin_width` pixels wide: feature resolution.
- `vehicle` spans `scale_range` in length, 16-fold by default: features at several scales.
- `field_a` and `field_b` have one texture and one colour; only the colour of the `marker`, a row of balls
  `context_distance` pixels above a field's upper edge, tells which it is (orange: a, violet: b): receptive field.
- `sign` is rare and small: class imbalance.
- `color_variation`, `texture`, `light` and `noise` keep colour alone from giving the class away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.data.scenes import draw
from atrous.data.scenes.canvas import Canvas, Label, SceneObject
from atrous.data.scenes.paint import paint
from atrous.errors import ConfigError
from atrous.types import ClassInfo, RawSample

SPLITS = ("train", "val", "test")
MIN_SIDE = 32  # pixels

# fmt: off
CLASS_INFO = ClassInfo(
    names=tuple(label.name.lower() for label in Label),
    palette=(
        (132, 190, 226), (106, 94, 104), (120, 168, 92), (74, 74, 88), (244, 162, 60), (138, 92, 196),
        (46, 92, 190), (240, 240, 120), (20, 20, 24), (214, 40, 60), (240, 110, 190),
    ),
    things=(Label.VEHICLE, Label.SIGN, Label.MARKER),
)
# fmt: on


@dataclass(frozen=True)
class SceneDescription:
    """The objects of a scene, for scores by object size or context distance.

    Attributes:
        objects: The drawn objects. Fields come first; the last objects are their markers, in the same order.
        owner: uint8 (H, W): for each pixel the position in `objects` of the object seen there, or 255.
    """

    objects: tuple[SceneObject, ...]
    owner: NDArray[np.uint8]


class Scenes:
    """Procedural scenes: item `index` is a pure function of seed, split, index and the knobs below.

    The same scene comes out in any process and any order and whatever `length` is; splits never share a scene. A
    difficulty knob changes only what it names, so that two settings of it can be compared scene by scene.

    Args:
        split: "train", "val" or "test".
        size: (height, width) in pixels, each at least 32.
        length: Number of scenes.
        seed: Another seed is another data set.
        context_distance: Rows from a marker's lowest pixel to its field's upper edge (1: they touch); a field moves down
            where its marker would leave the image. 0: off, they touch and the fields are tinted in their marker's colour.
        scale_range: Shortest and longest vehicle in pixels; equal numbers: off.
        thin_width: Narrowest and widest pole or wire in pixels.
        rare_probability: Share of scenes with a sign, 0 to 1.
        rare_size: Smallest and largest sign in pixels.
        color_variation: How far a scene's colours wander from their class's own, 0 (not at all) to 1.
        texture: Strength of the textures, 0 (flat colours) to 1.
        light: Strength of exposure, colour cast, brightness gradient and shadows, 0 (none) to 1.
        noise: Standard deviation of the sensor noise in grey levels of 255, 0 to 64.

    Raises:
        ConfigError: If a value is outside its range.
    """

    class_info = CLASS_INFO

    def __init__(
        self,
        *,
        split: str,
        size: Sequence[int] = (256, 256),
        length: int = 1000,
        seed: int = 0,
        context_distance: int = 24,
        scale_range: Sequence[int] = (8, 128),
        thin_width: Sequence[int] = (1, 3),
        rare_probability: float = 0.2,
        rare_size: Sequence[int] = (8, 14),
        color_variation: float = 1.0,
        texture: float = 0.8,
        light: float = 0.6,
        noise: float = 5.0,
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(f"scenes: no split {split!r}; choose one of {', '.join(SPLITS)}")
        self.split = split
        self.height, self.width = _pair("size", size, MIN_SIDE, 8192)
        self.length = _whole("length", length, 1, 2**31 - 1)
        self.seed = _whole("seed", seed, 0, 2**63 - 1)
        room = self.height - draw.min_field_height(self.height) - 2 * draw.marker_radius(self.height, self.width) - 1
        self.context_distance = _whole("context_distance", context_distance, 0, room)
        self.scale_range = _pair("scale_range", scale_range, 4, 1024, ordered=True)
        self.thin_width = _pair("thin_width", thin_width, 1, self.width // 4, ordered=True)
        self.rare_probability = _number("rare_probability", rare_probability, 0, 1)
        self.rare_size = _pair("rare_size", rare_size, 3, 256, ordered=True)
        self.color_variation = _number("color_variation", color_variation, 0, 1)
        self.texture = _number("texture", texture, 0, 1)
        self.light = _number("light", light, 0, 1)
        self.noise = _number("noise", noise, 0, 64)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> RawSample:
        """Draws scene `index`.

        Raises:
            IndexError: If `index` is not in 0 to length - 1.
        """
        canvas = self._draw(index)
        image = paint(
            canvas,
            texture_rng=self._stream(index, "texture"),
            light_rng=self._stream(index, "light"),
            texture=self.texture,
            light=self.light,
            noise=self.noise,
        )
        return RawSample(image, _lookup(canvas.ids, canvas.labels), f"{self.split}/{index:06d}")

    def cache_key(self) -> str:
        """Twenty hex digits of the knobs, and of the first scene, which changes when the drawing does."""
        knobs = repr(sorted(vars(self).items())).encode()
        return hashlib.sha256(knobs + self[0].image.tobytes()).hexdigest()[:20]

    def describe(self, index: int) -> SceneDescription:
        """The objects of scene `index` and where each is seen.

        Raises:
            IndexError: If `index` is not in 0 to length - 1.
        """
        canvas = self._draw(index)
        return SceneDescription(tuple(canvas.objects), _lookup(canvas.ids, canvas.owners))

    def _draw(self, index: int) -> Canvas:
        if not 0 <= index < self.length:
            raise IndexError(f"scenes: no scene {index}; split {self.split!r} has 0 to {self.length - 1}")
        canvas = Canvas(self.height, self.width, self.color_variation)
        ground = draw.draw_backdrop(canvas, self._stream(index, "backdrop"))
        fields = draw.draw_fields(canvas, self._stream(index, "fields"), ground, self.context_distance)
        draw.draw_vehicles(canvas, self._stream(index, "vehicles"), ground, self.scale_range)
        poles = draw.draw_lines(canvas, self._stream(index, "lines"), ground, self.thin_width)
        draw.draw_sign(canvas, self._stream(index, "sign"), poles, self.rare_probability, self.rare_size)
        draw.draw_markers(canvas, fields, self.context_distance)
        return canvas

    def _stream(self, index: int, part: str) -> np.random.Generator:
        """One random stream per part of a scene, so that a knob of one part leaves the others alone."""
        parts = ("backdrop", "fields", "vehicles", "lines", "sign", "texture", "light")
        key = (SPLITS.index(self.split), index, parts.index(part))
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))


def _lookup(ids: NDArray[np.uint8], values: list[int]) -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    table[: len(values)] = values
    looked_up: NDArray[np.uint8] = cv2.LUT(ids, table)
    return looked_up


def _number(name: str, value: float, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"scenes: {name} is {value!r}; give a number from {low} to {high}")
    return float(value)


def _whole(name: str, value: int, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"scenes: {name} is {value!r}; give a whole number from {low} to {high}")
    return value


def _pair(name: str, value: Sequence[int], low: int, high: int, *, ordered: bool = False) -> tuple[int, int]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise ConfigError(f"scenes: {name} is {value!r}; give two whole numbers, such as [{low}, {2 * low}]")
    first, second = (_whole(name, v, low, high) for v in value)
    if ordered and first > second:
        raise ConfigError(f"scenes: {name} is [{first}, {second}]; give the smaller number first: [{second}, {first}]")
    return first, second
