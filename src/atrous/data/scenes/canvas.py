"""A scene's canvas: the classes, their colours, and the map of surface ids that everything is drawn into.

The mask and the image are both read off that map, so the pixels that are drawn are the pixels that are labelled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

NO_OBJECT = 255  # in a map of owners


class Label(IntEnum):
    """The classes, in mask order."""

    SKY = 0
    BUILDING = 1
    TERRAIN = 2
    ROAD = 3
    FIELD_A = 4
    FIELD_B = 5
    VEHICLE = 6
    POLE = 7
    WIRE = 8
    SIGN = 9
    MARKER = 10


class Texture(IntEnum):
    """The textures a surface can wear."""

    PLAIN = 0
    GRAIN = 1
    CLOUD = 2
    GRASS = 3
    FURROW = 4
    BRICK = 5


# fmt: off
# RGB. The first colour is the class's own, the others are where its scenes wander.
COLORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "sky": ((128, 176, 222), (206, 211, 216), (238, 194, 152), (92, 120, 168), (242, 238, 226)),
    "building": ((172, 122, 98), (204, 192, 168), (118, 124, 136), (92, 76, 70), (222, 212, 202), (148, 166, 182)),
    "roof": ((120, 66, 54), (78, 72, 76), (150, 96, 66)),
    "window": ((62, 70, 84), (226, 206, 138), (150, 178, 200)),
    "terrain": ((108, 142, 78), (150, 132, 92), (186, 172, 122), (122, 112, 96), (86, 108, 62), (222, 224, 228)),
    "road": ((94, 95, 102), (130, 126, 122), (68, 70, 78), (164, 152, 134), (124, 104, 84)),
    "lane": ((226, 224, 214), (224, 192, 92)),
    "field": ((172, 152, 78), (112, 128, 62), (174, 138, 80), (122, 98, 70), (196, 180, 108)),
    "vehicle": (
        (188, 46, 42), (228, 228, 222), (46, 84, 154), (42, 42, 48), (226, 184, 54), (72, 122, 84), (140, 144, 150),
    ),
    "glass": ((58, 72, 88), (150, 178, 196)),
    "tyre": ((28, 28, 30), (52, 50, 50)),
    "pole": ((74, 66, 60), (152, 152, 152), (106, 82, 60), (206, 206, 200)),
    "wire": ((40, 40, 46), (92, 86, 80), (204, 204, 208)),
    "sign": ((200, 42, 42), (236, 202, 52), (42, 92, 172)),
}
# fmt: on
MARKER_COLORS = {Label.FIELD_A: (236, 84, 36), Label.FIELD_B: (112, 54, 196)}
MARKER_BAND = (252, 250, 250)
SIGN_RIM = (242, 244, 240)


@dataclass(frozen=True)
class SceneObject:
    """One drawn object.

    Attributes:
        label: Its class index.
        box: (left, top, right, bottom) in pixels, right and bottom excluded, before anything hides it; it may pass the
            image's border.
        scale: The length that its knob sets, in pixels: a vehicle's length, a pole's or wire's width, a sign's or
            marker ball's diameter, a field's height.
    """

    label: int
    box: tuple[int, int, int, int]
    scale: float


@dataclass
class Canvas:
    """A map of surface ids, and what each id is: class, colour, texture, and the object it belongs to."""

    height: int
    width: int
    color_variation: float
    ids: NDArray[np.uint8] = field(init=False)  # (H, W)
    labels: list[int] = field(default_factory=list)
    colors: list[NDArray[np.float64]] = field(default_factory=list)
    textures: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    objects: list[SceneObject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids = np.zeros((self.height, self.width), np.uint8)

    def add_object(self, label: int, box: tuple[int, int, int, int], scale: float) -> int:
        self.objects.append(SceneObject(int(label), box, float(scale)))
        return len(self.objects) - 1

    def add_surface(
        self, label: int, color: NDArray[np.float64], texture: Texture = Texture.PLAIN, owner: int = NO_OBJECT
    ) -> int:
        self.labels.append(int(label))
        self.colors.append(color)
        self.textures.append(int(texture))
        self.owners.append(owner)
        return len(self.labels) - 1

    def pick_color(self, rng: np.random.Generator, kind: str) -> NDArray[np.float64]:
        """The kind's own colour, moved towards a mixture of two of its colours by `color_variation`."""
        choices = np.array(COLORS[kind], np.float64)
        first, second = choices[rng.integers(len(choices), size=2)]
        target = first + rng.random() * (second - first) + rng.normal(0.0, 8.0, 3)
        color: NDArray[np.float64] = choices[0] + self.color_variation * (target - choices[0])
        return color
