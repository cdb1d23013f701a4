"""Polygons as pixels, against pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as reference

from atrous.data.annotations.shapes import Shape, draw, ellipse, from_run_lengths, rectangle, run_lengths

rng = np.random.default_rng(0)
STAR = [(30, 2), (42, 60), (3, 20), (57, 22), (14, 61)]  # crosses itself
POLYGONS = {
    "a triangle": [(3.2, 4.1), (40.7, 10.3), (12.5, 50.9)],
    "a star": STAR,
    "whole pixels": [(5, 5), (9, 5), (9, 12), (5, 12)],
    "half pixels": [(5.5, 5.5), (9.5, 5.5), (9.5, 12.5), (5.5, 12.5)],
    "a point twice": [(5, 5), (9, 5), (9, 5), (9, 12), (5, 12), (5, 5)],
    "a line": [(5, 5), (30, 9), (5, 5)],
    "a point": [(5, 5), (5, 5), (5, 5)],
    "beyond the image": [(-20.5, -7), (100, 3), (90, 100), (-3, 80)],
    "outside": [(200, 200), (210, 200), (210, 220)],
    "the image": [(0, 0), (60, 0), (60, 64), (0, 64)],
    **{f"{count} random corners": rng.uniform(-15, 80, (count, 2)).tolist() for count in (3, 4, 5, 8, 20, 100)},
    "corners of tenths": (rng.integers(0, 600, (12, 2)) / 10).tolist(),
}


@pytest.mark.parametrize("name", POLYGONS)
@pytest.mark.parametrize("size", [(64, 60), (1, 60), (64, 1)])
def test_pixels_of_a_polygon(name, size):
    points = np.array(POLYGONS[name], float)
    expected = reference.decode(reference.frPyObjects([points.ravel().tolist()], *size))[..., 0]
    mask = np.zeros(size, np.uint8)
    draw(Shape("", [points]), mask, 1)
    np.testing.assert_array_equal(mask, expected)


def test_two_parts_are_one_area():
    parts = [np.array(STAR, float), rectangle(10.3, 10.1, 30, 40.9)]
    expected = reference.decode(
        reference.merge(reference.frPyObjects([part.ravel().tolist() for part in parts], 64, 60))
    )
    mask = np.zeros((64, 60), np.uint8)
    draw(Shape("", parts), mask, 1)
    np.testing.assert_array_equal(mask, expected)


def test_neighbours_share_no_pixel_and_leave_none():
    mask = np.zeros((64, 60), int)
    for points in ([(0, 0), (60, 0), (23.37, 64), (0, 64)], [(60, 0), (60, 64), (23.37, 64)]):
        own = np.zeros_like(mask)
        draw(Shape("", [np.array(points, float)]), own, 1)
        mask += own
    assert (mask == 1).all()


def test_runs():
    pixels = rng.random((37, 53)) < 0.3
    packed = reference.encode(np.asfortranarray(pixels.astype(np.uint8)))
    counts = run_lengths(packed["counts"].decode())
    np.testing.assert_array_equal(from_run_lengths(counts, (37, 53), by_column=True), pixels)
    with pytest.raises(ValueError, match="37 x 54"):
        from_run_lengths(counts, (37, 54), by_column=True)


def test_an_ellipse():
    mask = np.zeros((200, 300), np.uint8)
    draw(Shape("", [ellipse(150, 100, 140, 90)]), mask, 1)
    y, x = np.mgrid[:200, :300] + 0.5
    inside = ((x - 150) / 140) ** 2 + ((y - 100) / 90) ** 2 <= 1
    assert (mask != inside).sum() < 100  # of 600 pixels on the outline
