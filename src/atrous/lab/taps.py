"""Pictures of where the weights of parallel atrous convolutions lie on their map, to scale."""

from __future__ import annotations

from itertools import pairwise

from atrous.lab.data import Map, Variant
from atrous.system.text import escape

SIDE = 300  # of a picture in its own units


def extent(variants: list[Variant]) -> float:
    """Half the side, in the image's pixels, of a picture that all settings' maps and weights lie in."""
    ends = [0.0]
    for variant in variants:
        for found in variant.maps[:1]:
            reach = max(rate.rate for rate in found.rates) + 1
            ends += [found.stride * reach, found.stride * (max(found.size) / 2 + 1)]
    return max(ends)


def taps(found: Map, label: str, half: float) -> str:
    """The weights around the map's middle place, as SVG.

    Filled squares lie on the map, hollow ones on its padding; a frame and a number for each rate.

    Args:
        found: The map and its rates.
        label: What a screen reader calls it.
        half: See `extent`; one for all pictures, so that an image's pixel is as large in each.
    """
    scale = SIDE / (2 * half)
    step = found.stride * scale
    rows, columns = found.size
    middle = (rows // 2, columns // 2)

    def at(steps: float) -> float:
        return SIDE / 2 + steps * step

    top, left = at(-middle[0] - 0.5), at(-middle[1] - 0.5)
    title = (
        f"{label}: weights of rates {', '.join(str(rate.rate) for rate in found.rates)} on a map of {rows} x {columns}"
    )
    parts = [
        f'<svg class="taps" viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{escape(title)}">',
        f'<rect class="map" x="{left:.1f}" y="{top:.1f}" width="{columns * step:.1f}" height="{rows * step:.1f}"/>',
    ]
    if step >= 3:
        lines = [f"M{left + i * step:.1f} {top:.1f}v{rows * step:.1f}" for i in range(1, columns)]
        lines += [f"M{left:.1f} {top + i * step:.1f}h{columns * step:.1f}" for i in range(1, rows)]
        parts.append(f'<path class="cells" d="{"".join(lines)}"/>')
    for rate in found.rates:
        corner, side = at(-rate.rate), 2 * rate.rate * step
        parts.append(f'<rect class="frame" x="{corner:.1f}" y="{corner:.1f}" width="{side:.1f}" height="{side:.1f}"/>')
    side = max(step, 4.5)
    for down, across in sorted(found.places):
        inside = 0 <= middle[0] + down < rows and 0 <= middle[1] + across < columns
        parts.append(
            f'<rect class="{"on" if inside else "off-map"}" x="{at(across) - side / 2:.1f}" y="{at(down) - side / 2:.1f}" '
            f'width="{side:.1f}" height="{side:.1f}"/>'
        )
    for before, number in pairwise((0, *(rate.rate for rate in found.rates))):
        if (number - before) * step >= side + 14:  # room for a number within the frame, clear of the next one's weights
            place = at(number) - side / 2 - 3
            parts.append(
                f'<text x="{place:.1f}" y="{at(-number) + 11 + side / 2:.1f}" text-anchor="end">{number}</text>'
            )
    return "".join([*parts, "</svg>"])


def places_on_map(found: Map) -> int:
    """How many of `found.places` lie on the map when the middle does."""
    (rows, columns), (down, across) = found.size, (found.size[0] // 2, found.size[1] // 2)
    return sum(0 <= down + y < rows and 0 <= across + x < columns for y, x in found.places)
