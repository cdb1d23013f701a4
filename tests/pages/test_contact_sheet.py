import numpy as np
import pytest

from atrous.pages.contact_sheet import (
    SWATCH,
    contact_sheet,
    hatched,
    hatched_swatch,
    shortened,
    thumbnail,
)

RNG = np.random.default_rng(0)


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def places(sheet, tile):
    """Upper left corners at which `tile` stands in `sheet`, pixel for pixel."""
    height, width = tile.shape[:2]
    found = []
    for y, x in np.argwhere((sheet == tile[0, 0]).all(2)):
        part = sheet[y : y + height, x : x + width]
        if part.shape == tile.shape and (part == tile).all():
            found.append((int(y), int(x)))
    return found


def test_every_tile_stands_whole_in_reading_order_and_none_overlap():
    sizes = [(30, 200), (50, 40), (20, 60), (10, 333), (41, 41)]
    tiles = [noise(*size) for size in sizes]
    sheet = contact_sheet(tiles, ["a\nb", "", "c", "d", "e"], [("road", (1, 2, 3))], 2)
    assert sheet.dtype == np.uint8
    corners = [places(sheet, tile) for tile in tiles]
    assert all(len(found) == 1 for found in corners)
    (ys, xs) = zip(*(found[0] for found in corners), strict=True)
    assert ys[0] == ys[1] < ys[2] == ys[3] < ys[4]
    assert xs[0] == xs[2] == xs[4] < xs[1] == xs[3]
    assert ys[2] >= ys[0] + 50
    assert xs[1] >= xs[0] + 200
    assert xs[3] + 333 < sheet.shape[1]


def test_a_caption_stays_below_its_own_tile():
    tiles = [noise(30, 170) for _ in range(4)]
    plain = contact_sheet(tiles, ["", "x", "", ""], [], 2)
    told = contact_sheet(tiles, ["a very long name of a file/" * 20 + "end", "x", "", ""], [], 2)
    assert plain.shape == told.shape
    ys, xs = np.nonzero((plain != told).any(2))
    (y, x), (y_next, _) = places(told, tiles[0])[0], places(told, tiles[2])[0]
    assert ys.min() >= y + 30
    assert ys.max() < y_next
    assert xs.min() >= x - 1
    assert xs.max() <= x + 170


def test_each_line_of_a_caption_has_room():
    tile = noise(20, 170)
    heights = [contact_sheet([tile], ["\n".join("x" * count)], [], 1).shape[0] for count in (1, 2, 4)]
    assert heights[2] - heights[1] == 2 * (heights[1] - heights[0]) > 0


def test_the_legend_shows_each_colour_once_and_wraps():
    palette = [(int(r), int(g), int(b)) for r, g, b in RNG.integers(30, 220, (40, 3))]
    legend = [(f"class {number}", color) for number, color in enumerate(palette)] + [("ignored", hatched_swatch())]
    sheet = contact_sheet([np.zeros((20, 300, 3), np.uint8)], ["x"], legend, 1)
    for color in palette:
        inner = np.full((SWATCH - 2, SWATCH - 2, 3), color, np.uint8)
        assert len(places(sheet, inner)) == 1
    assert len(places(sheet, hatched_swatch()[1:-1, 1:-1])) == 1
    assert len({places(sheet, np.full((14, 14, 3), color, np.uint8))[0][0] for color in palette}) > 3


def test_a_title_is_added_on_top():
    tile = noise(20, 300)
    plain, titled = contact_sheet([tile], [""], [], 3), contact_sheet([tile], [""], [], 3, title="Scenes\nepoch 0")
    assert titled.shape[1] == plain.shape[1]
    y = places(titled, tile)[0][0]
    assert (titled[:y] < 128).any()
    assert y > places(plain, tile)[0][0]


def test_sheets_that_cannot_be_made():
    for tiles, captions, columns in (([], [], 2), ([noise(2, 2)], [], 2), ([noise(2, 2)], ["a"], 0)):
        with pytest.raises(ValueError, match=f"{len(tiles)} tiles, {len(captions)} captions, {columns} columns"):
            contact_sheet(tiles, captions, [], columns)


def test_what_cannot_be_printed_can_be_drawn():
    contact_sheet([noise(9, 9)], ["\x00\udcff\r"], [("\udcfe", (1, 2, 3))], 1, title="\udcfd")


def test_a_long_text_keeps_both_ends_and_fits():
    text = "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit"
    assert shortened(text, 10_000) == text
    short = shortened(text, 200)
    head, tail = short.split("…")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) > 8
    assert len(tail) > 8
    assert shortened(short, 200) == short
    assert len(shortened(text, 100)) < len(short)
    assert shortened(text, 1) == "…"


def test_a_thumbnail_keeps_the_proportions_and_invents_no_label():
    image = noise(100, 300)
    assert thumbnail(image, 90).shape == (30, 90, 3)
    assert thumbnail(image, 300) is image
    assert thumbnail(image, 1000) is image
    assert thumbnail(np.full((300, 2, 3), 7, np.uint8), 10).shape == (10, 1, 3)
    checks = np.kron(np.indices((10, 30)).sum(0) % 2 * 200, np.ones((10, 10), int))  # 10 x 10 squares of 0 and 200
    np.testing.assert_array_equal(thumbnail(checks, 30, labels=True), checks[5::10, 5::10])
    means = thumbnail(np.repeat(checks[..., None].astype(np.uint8), 3, 2), 15)
    assert set(np.unique(means)) == {100}


def test_hatching_is_seen_on_any_colour_and_only_where_it_should_be():
    where = np.zeros((40, 40), bool)
    where[8:32, 8:32] = True
    for value in (0, 128, 255):
        plain = np.full((40, 40, 3), value, np.uint8)
        lined = hatched(plain, where)
        assert (plain == value).all()
        np.testing.assert_array_equal(lined[~where], plain[~where])
        changed = (lined != plain).any(2)[where].mean()
        assert 0.2 <= changed <= 0.6
    for y, x in np.ndindex(3, 3):  # every 8 x 8 block of a grey field shows black and white
        block = hatched(np.full((40, 40, 3), 128, np.uint8), where)[8 + 8 * y : 16 + 8 * y, 8 + 8 * x : 16 + 8 * x]
        assert {0, 255} <= set(np.unique(block))
