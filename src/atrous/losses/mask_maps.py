"""Maps that are computed from a mask in NumPy, and kept for the masks that come again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Map = NDArray[np.float32]
Make = Callable[[NDArray[np.int64]], Map]


class MaskMaps:
    """One map per mask, the last `size` of them kept by the mask's content.

    Masks come again in epochs without random crops, and for each auxiliary head of a batch.

    Args:
        size: How many maps are kept, 0 or more.

    Raises:
        ValueError: If `size` is negative.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"cached_masks {size} is negative; give 0 or more, such as 64")
        self.size = size
        self.kept: OrderedDict[tuple[int, bytes], Map] = OrderedDict()

    def of(self, mask: Tensor, make: Make) -> Tensor:
        """The maps of a batch.

        Args:
            mask: int64 (N, H, W).
            make: int64 (H, W) -> float32 (..., H, W); always the same function of the mask.

        Returns:
            float32 (N, ..., H, W), on the mask's device.
        """
        maps = np.stack([self._map(one, make) for one in mask.cpu().numpy()])
        return torch.from_numpy(maps).to(mask.device)

    def _map(self, mask: NDArray[np.int64], make: Make) -> Map:
        key = (mask.shape[1], hashlib.blake2b(mask.tobytes(), digest_size=16).digest())
        found = self.kept.pop(key, None)
        if found is None:
            found = make(mask)
        self.kept[key] = found
        while len(self.kept) > self.size:
            self.kept.popitem(last=False)
        return found
