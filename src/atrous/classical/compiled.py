"""Loops that numba compiles at their first use. Imports numba."""

from __future__ import annotations

import numpy as np
from numba import njit, prange  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray


@njit(parallel=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def climbed(
    colours: NDArray[np.float32], spatial: np.float32, colour: np.float32, iterations: int, still: np.float32
) -> NDArray[np.float32]:
    """Where each pixel has come to by mean shift, (h, w, 2 + 3): row, column and colour.

    Args:
        colours: (h, w, 3).
        spatial: Bandwidth in pixels.
        colour: Bandwidth in the colours' units.
        iterations: At most.
        still: A pixel that moves less than this share of the bandwidths has arrived.
    """
    height, width = colours.shape[:2]
    modes = np.empty((height, width, 5), np.float32)
    reach = int(np.ceil(spatial)) + 1
    for start in prange(height):
        for column in range(width):
            y, x = np.float32(start), np.float32(column)
            a, b, c = colours[start, column, 0], colours[start, column, 1], colours[start, column, 2]
            for _ in range(iterations):
                count = np.float32(0)
                sum_y = sum_x = sum_a = sum_b = sum_c = np.float32(0)
                top, left = int(y), int(x)
                for i in range(max(0, top - reach), min(height, top + reach + 2)):
                    for j in range(max(0, left - reach), min(width, left + reach + 2)):
                        if (i - y) ** 2 + (j - x) ** 2 > spatial * spatial:
                            continue
                        da, db, dc = colours[i, j, 0] - a, colours[i, j, 1] - b, colours[i, j, 2] - c
                        if da * da + db * db + dc * dc > colour * colour:
                            continue
                        count += np.float32(1)
                        sum_y += i
                        sum_x += j
                        sum_a += da
                        sum_b += db
                        sum_c += dc
                if count == 0:
                    break
                moved = ((sum_y / count - y) ** 2 + (sum_x / count - x) ** 2) / (spatial * spatial)
                moved += (sum_a**2 + sum_b**2 + sum_c**2) / (count * count * colour * colour)
                y, x = sum_y / count, sum_x / count
                a, b, c = a + sum_a / count, b + sum_b / count, c + sum_c / count
                if moved < still * still:
                    break
            modes[start, column, 0], modes[start, column, 1] = y, x
            modes[start, column, 2], modes[start, column, 3], modes[start, column, 4] = a, b, c
    return modes
