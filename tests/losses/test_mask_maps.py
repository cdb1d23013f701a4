"""Maps kept by the content of their masks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from atrous.losses.mask_maps import MaskMaps


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.calls += 1
        return np.stack([mask, mask + 1]).astype(np.float32)


def test_equal_masks_are_computed_once_and_the_oldest_go() -> None:
    maps, make = MaskMaps(2), Counting()
    first, second, third = (torch.full((1, 2, 3), value) for value in range(3))
    for mask in (first, second, first.clone(), second):
        assert torch.equal(maps.of(mask, make), torch.stack([mask, mask + 1], 1).float())
    assert make.calls == 2
    maps.of(third, make)  # the first goes
    maps.of(second, make)
    assert make.calls == 3
    maps.of(first, make)
    assert make.calls == 4


def test_the_shape_is_part_of_the_content() -> None:
    maps, make = MaskMaps(8), Counting()
    assert maps.of(torch.zeros(1, 2, 3), make).shape == (1, 2, 2, 3)
    assert maps.of(torch.zeros(1, 3, 2), make).shape == (1, 2, 3, 2)


def test_nothing_kept() -> None:
    maps, make = MaskMaps(0), Counting()
    for _ in range(2):
        maps.of(torch.zeros(3, 2, 2), make)
    assert make.calls == 6
