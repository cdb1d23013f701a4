"""Draws the surfaces of a scene, without antialiasing.

Lengths without a knob are fractions of the image's height H or width W. Each function takes its own random stream and
draws the same numbers whatever the knobs say, so that turning one knob leaves the rest of the scene as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.data.scenes.canvas import MARKER_BAND, MARKER_COLORS, SIGN_RIM, Canvas, Label, Texture


@dataclass(frozen=True)
class Ground:
    """The horizon's row and the road's two edges, each as (column at the horizon, column at the bottom row)."""

    horizon: int
    left: tuple[float, float]
    right: tuple[float, float]


def draw_backdrop(canvas: Canvas, rng: np.random.Generator) -> Ground:
    """Sky, a row of buildings, terrain, and a road that runs to the horizon."""
    H, W = canvas.height, canvas.width
    canvas.ids[:] = canvas.add_surface(Label.SKY, canvas.pick_color(rng, "sky"), Texture.CLOUD)
    horizon = int(H * rng.uniform(0.38, 0.5))
    left = -W * rng.uniform(0.0, 0.12)
    while left < W:
        width, height, gap = W * rng.uniform(0.09, 0.22), H * rng.uniform(0.1, 0.32), W * rng.uniform(-0.06, 0.1)
        _draw_building(canvas, rng, int(left), horizon - int(height), int(left + width), horizon)
        left += width + max(gap, 0.0)
    canvas.ids[horizon:] = canvas.add_surface(Label.TERRAIN, canvas.pick_color(rng, "terrain"), Texture.GRASS)
    vanishing, bottom = W * rng.uniform(0.42, 0.58), W * rng.uniform(0.38, 0.62)
    far, near = W * rng.uniform(0.01, 0.03), W * rng.uniform(0.15, 0.24)  # half widths
    ground = Ground(horizon, (vanishing - far, bottom - near), (vanishing + far, bottom + near))
    road = canvas.add_surface(Label.ROAD, canvas.pick_color(rng, "road"), Texture.GRAIN)
    corners = ((ground.left[0], horizon), (ground.right[0], horizon), (ground.right[1], H - 1), (ground.left[1], H - 1))
    _fill(canvas, road, corners)
    lane = canvas.add_surface(Label.ROAD, canvas.pick_color(rng, "lane"))
    for start in (0.06, 0.16, 0.32, 0.56, 0.9):  # dashes that lengthen towards the viewer
        rows = (start, start * 1.35)
        columns = [vanishing + (bottom - vanishing) * t for t in rows]
        halves = [(far + (near - far) * t) * 0.06 for t in rows]
        top, low = (horizon + (H - 1 - horizon) * t for t in rows)
        (a, b), (u, v) = columns, halves
        _fill(canvas, lane, ((a - u, top), (a + u, top), (b + v, low), (b - v, low)))
    return ground


def draw_fields(
    canvas: Canvas, rng: np.random.Generator, ground: Ground, context_distance: int
) -> list[tuple[Label, tuple[int, int], int]]:
    """A field on each side of the road, both of one colour and texture, each field_a or field_b by the toss of a coin.

    Returns:
        For each field its class, the (first, last) column of its upper edge over which markers may stand, and that
        edge's row.
    """
    H, W = canvas.height, canvas.width
    radius = marker_radius(H, W)
    color = canvas.pick_color(rng, "field")
    fields = []
    for side, edge in ((-1, ground.left), (1, ground.right)):
        label = Label.FIELD_A if rng.random() < 0.5 else Label.FIELD_B
        row, height, width, flare = rng.random(4)
        top = ground.horizon + int((0.08 + 0.3 * row) * (H - ground.horizon))
        top = min(max(top, context_distance + 2 * radius + 1), H - min_field_height(H))
        low = min(top + min_field_height(H) + int(H * 0.08 * height), H - 1)
        inner = [_edge_column(edge, row, ground.horizon, H) + side * 0.03 * W for row in (top, low)]
        outer = [inner[0] + side * W * (0.2 + 0.1 * width), inner[1] + side * W * (0.24 + 0.2 * flare)]
        corners = ((inner[0], top), (outer[0], top), (outer[1], low), (inner[1], low))
        columns = [round(x) for x, _ in corners]
        owner = canvas.add_object(label, (min(columns), top, max(columns) + 1, low + 1), low + 1 - top)
        tint = np.array(MARKER_COLORS[label], np.float64)
        shown = color if context_distance else 0.5 * (color + tint)
        _fill(canvas, canvas.add_surface(label, shown, Texture.FURROW, owner), corners)
        near, far = np.clip(sorted((inner[0], outer[0])), radius, W - 1 - radius)
        fields.append((label, (int(near), int(far)), top))
    return fields


def draw_markers(canvas: Canvas, fields: list[tuple[Label, tuple[int, int], int]], context_distance: int) -> None:
    """Above each field a row of balls in the colour of its class, `context_distance` rows (at least 1) from its edge.

    Drawn last, so that nothing hides a marker.
    """
    radius = marker_radius(canvas.height, canvas.width)
    for label, (near, far), edge_row in fields:
        row = edge_row - max(context_distance, 1) - radius
        count = 1 + (far - near) // (4 * radius)
        first = (near + far - (count - 1) * 4 * radius) // 2
        columns = [first + 4 * radius * k for k in range(count)]
        box = (columns[0] - radius, row - radius, columns[-1] + radius + 1, row + radius + 1)
        owner = canvas.add_object(Label.MARKER, box, 2 * radius + 1)
        ball = canvas.add_surface(Label.MARKER, np.array(MARKER_COLORS[label], np.float64), owner=owner)
        for column in columns:
            cv2.circle(canvas.ids, (column, row), radius, ball, cv2.FILLED, cv2.LINE_8)
        band = canvas.ids[row - radius // 6 : row + radius // 6 + 1]
        band[band == ball] = canvas.add_surface(Label.MARKER, np.array(MARKER_BAND, np.float64), owner=owner)


def draw_vehicles(canvas: Canvas, rng: np.random.Generator, ground: Ground, scale_range: tuple[int, int]) -> None:
    """Three to six vehicles whose length is log-uniform over `scale_range`; the nearer hides the farther."""
    H, W = canvas.height, canvas.width
    smallest, largest = scale_range
    count = 3 + rng.integers(4)
    draws = rng.random((count, 5))
    colors = [canvas.pick_color(rng, "vehicle") for _ in draws]
    glass, tyre = canvas.pick_color(rng, "glass"), canvas.pick_color(rng, "tyre")
    nearness = 0.75 * draws[:, 0] + 0.25 * draws[:, 1]  # large vehicles tend to be near
    for k in np.argsort(nearness):
        length = round(smallest * (largest / smallest) ** draws[k, 0])
        base = ground.horizon + int((H - ground.horizon) * (0.06 + 0.92 * nearness[k]))
        left = int(-0.3 * length + draws[k, 2] * (W - 0.4 * length))
        _draw_vehicle(canvas, left, base, length, draws[k, 3], draws[k, 4] < 0.5, (colors[k], glass, tyre))


def draw_lines(
    canvas: Canvas, rng: np.random.Generator, ground: Ground, thin_width: tuple[int, int]
) -> list[tuple[int, int, int]]:
    """A row of poles and the wires that hang between them, each of a width in `thin_width`.

    Returns:
        For each pole inside the image its (middle column, top row, bottom row).
    """
    H, W = canvas.height, canvas.width
    narrow, wide = thin_width
    span, offset, top, slope, depth, sag = rng.random(6)
    span = W * (0.28 + 0.14 * span)
    top, slope = H * (0.05 + 0.13 * top), 0.12 * (slope - 0.5)
    sag = span * (0.04 + 0.08 * sag)
    strands = 2 + rng.integers(2)
    spacing = wide + max(5, H // 32)
    colors = canvas.pick_color(rng, "pole"), canvas.pick_color(rng, "wire")
    widths = narrow + (rng.random(16) * (wide - narrow + 1)).astype(int)
    feet = rng.random(8)
    stations = [(offset + k - 1) * span for k in range(6)]  # columns from left of the image to right of it
    poles = []
    for k, station in enumerate(stations):
        x, w = int(station), int(widths[k])
        if not 0 <= x <= W - w:
            continue
        y = int(top + slope * station)
        foot = ground.horizon + int((H - ground.horizon) * (0.1 + 0.2 * depth + 0.1 * feet[k]))
        owner = canvas.add_object(Label.POLE, (x, y, x + w, foot + 1), w)
        pole = canvas.add_surface(Label.POLE, colors[0], owner=owner)
        cv2.rectangle(canvas.ids, (x, y), (x + w - 1, foot), pole, cv2.FILLED)
        for strand in range(strands):
            arm = y + 2 + strand * spacing
            reach = max(3, H // 50)
            cv2.rectangle(canvas.ids, (x - reach, arm), (x + w - 1 + reach, arm + w - 1), pole, cv2.FILLED)
        poles.append((x + w // 2, y, foot))
    steps = np.arange(0.0, 1.0, 0.125)
    for strand in range(strands):
        w = int(widths[8 + strand])
        along = np.concatenate([(k + steps) * span for k in range(len(stations))]) + stations[0]
        drop = top + slope * along + 2 + strand * spacing + sag * np.tile(4 * steps * (1 - steps), len(stations))
        points = np.stack([along, drop], axis=1).round().astype(np.int32)  # (P, 2)
        box = (int(points[0, 0]), int(points[:, 1].min()), int(points[-1, 0]) + 1, int(points[:, 1].max()) + w)
        wire = canvas.add_surface(Label.WIRE, colors[1], owner=canvas.add_object(Label.WIRE, box, w))
        for thickness in range(w):  # stacked lines of one pixel: exactly w pixels in each column
            cv2.polylines(canvas.ids, [points + np.array((0, thickness), np.int32)], False, wire, 1, cv2.LINE_8)
    return poles


def draw_sign(
    canvas: Canvas,
    rng: np.random.Generator,
    poles: list[tuple[int, int, int]],
    probability: float,
    size_range: tuple[int, int],
) -> None:
    """With `probability` one small sign on one of the poles."""
    present, which, size, height = rng.random(4)
    color = canvas.pick_color(rng, "sign")
    corners = (3, 4, 8)[rng.integers(3)]
    if present >= probability:
        return
    x, top, foot = poles[int(which * len(poles))]
    smallest, largest = size_range
    diameter = smallest + int(size * (largest - smallest + 1))
    y = int(top + (foot - top) * (0.5 + 0.3 * height))
    half = diameter // 2
    left, upper = x - half, y - half
    owner = canvas.add_object(Label.SIGN, (left, upper, left + diameter, upper + diameter), diameter)
    turns = np.arange(corners) / corners - (0.25 if corners < 8 else 0.0625)
    for scale, surface in ((1.0, SIGN_RIM), (0.66, color)):
        points = np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=1)
        points *= scale * (diameter - 1) / 2
        board = canvas.add_surface(Label.SIGN, np.asarray(surface, np.float64), owner=owner)
        _fill(canvas, board, points + np.array((left, upper)) + (diameter - 1) / 2)


def marker_radius(height: int, width: int) -> int:
    """A marker ball's radius in pixels: 7 at 256 x 256."""
    return max(2, round(min(height, width) / 36))


def min_field_height(height: int) -> int:
    """The height in pixels that the lowest field keeps."""
    return max(4, round(0.12 * height))


def _edge_column(edge: tuple[float, float], row: int, horizon: int, height: int) -> float:
    return edge[0] + (edge[1] - edge[0]) * (row - horizon) / (height - 1 - horizon)


def _fill(canvas: Canvas, surface: int, corners: object) -> None:
    """Fills a convex polygon of (column, row) corners."""
    cv2.fillConvexPoly(canvas.ids, np.asarray(corners).round().astype(np.int32), surface, cv2.LINE_8)


def _draw_building(canvas: Canvas, rng: np.random.Generator, left: int, top: int, right: int, base: int) -> None:
    wall = canvas.add_surface(Label.BUILDING, canvas.pick_color(rng, "building"), Texture.BRICK)
    pane = canvas.add_surface(Label.BUILDING, canvas.pick_color(rng, "window"))
    roof = canvas.pick_color(rng, "roof")
    gable, pitch, storey, bay, open_share = rng.random(5)
    if gable < 0.4:
        roof_surface = canvas.add_surface(Label.BUILDING, roof, Texture.GRAIN)
        rise = (right - left) * (0.2 + 0.25 * pitch)
        _fill(canvas, roof_surface, ((left - 1, top), ((left + right) / 2, top - rise), (right + 1, top)))
    cv2.rectangle(canvas.ids, (left, top), (right, base), wall, cv2.FILLED)
    unit = canvas.height / 256
    storey, bay = max(3, int((9 + 6 * storey) * unit)), max(3, int((7 + 6 * bay) * unit))
    row, column = np.arange(base - top - 1), np.arange(max(left, 0), min(right, canvas.width)) - left
    lit = (row % storey >= storey * (0.4 + 0.2 * open_share)) & (row < base - top - storey // 2)
    glazed = (column % bay >= bay * 0.5) & (column < (right - left) // bay * bay)
    canvas.ids[top : base - 1, max(left, 0) : min(right, canvas.width)][lit[:, None] & glazed] = pane


def _draw_vehicle(
    canvas: Canvas,
    left: int,
    base: int,
    length: int,
    shape: float,
    mirrored: bool,
    colors: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """A side view: body, cabin, window and two wheels; `shape` runs from a low car (0) to a van (1)."""
    height = round(length * (0.34 + 0.2 * shape))
    owner = canvas.add_object(Label.VEHICLE, (left, base - height + 1, left + length, base + 1), length)
    body, glass, tyre = (canvas.add_surface(Label.VEHICLE, color, owner=owner) for color in colors)

    def spot(x: float, y: float) -> tuple[float, float]:  # from fractions of length and height to pixels
        return left + (1 - x if mirrored else x) * (length - 1), base - y * (height - 1)

    front, rear = 0.72 + 0.2 * shape, 0.16 - 0.14 * shape
    _fill(canvas, body, (spot(rear, 0.5), spot(rear + 0.1, 1), spot(front - 0.16, 1), spot(front, 0.5)))
    _fill(canvas, body, (spot(0, 0.16), spot(0.02, 0.58), spot(0.98, 0.54), spot(1, 0.16)))
    if length >= 12:
        low, high = 0.6, 0.92
        middle = (rear + front) / 2 - 0.03
        back = (spot(rear + 0.06, low), spot(rear + 0.12, high), spot(middle - 0.02, high), spot(middle - 0.02, low))
        ahead = (spot(middle + 0.03, low), spot(middle + 0.03, high), spot(front - 0.18, high), spot(front - 0.06, low))
        for window in (back, ahead):
            _fill(canvas, glass, window)
    radius = max(1, round(0.09 * length))
    for x in (0.2, 0.8):
        column, _ = spot(x, 0)
        cv2.circle(canvas.ids, (round(column), base - radius), radius, tyre, cv2.FILLED, cv2.LINE_8)
