"""Whether an exported network labels real images as the network it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from atrous.export.graph import PixelsToLabels, Range
from atrous.export.runtime import Pixels, check_size

Run = Callable[
    [Pixels], tuple[NDArray[Any], NDArray[Any]]
]  # images (N, H, W, 3) -> labels (N, H, W), logits (N, C, h, w)
MIN_EQUAL = 0.9999


@dataclass(frozen=True)
class Agreement:
    """How well two networks agree.

    Args:
        equal: Share of pixels with equal labels, 0 to 1, over all images.
        max_difference: Largest difference of two logits at the image's size.
        spread: Standard deviation of the logits, to measure the difference by.
        sizes: Of the images compared, (height, width), each once.
        images: How many were compared.
    """

    equal: float
    max_difference: float
    spread: float
    sizes: tuple[tuple[int, int], ...]
    images: int

    @property
    def good(self) -> bool:
        return self.equal >= MIN_EQUAL

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def variants(image: Pixels, taken: dict[str, Range]) -> Iterator[Pixels]:
    """The image (H, W, 3) and crops of it with odd sides, portrait and small, as far as a network takes their sizes."""
    height, width = image.shape[:2]
    wanted = [
        (height, width),
        (height - 1 - height % 2, width - 1 - width % 2),
        (height * 2 // 3, width // 2),
        (height // 2 | 1, width * 3 // 4 | 1),
    ]
    sides = []
    for size in wanted:
        fitted = (into(size[0], taken["height"]), into(size[1], taken["width"]))
        if fitted[0] <= height and fitted[1] <= width and fitted not in sides:
            sides.append(fitted)
    for rows, columns in sides:
        yield np.ascontiguousarray(image[:rows, :columns])


def into(side: int, taken: Range) -> int:
    """The number nearest to `side` within a range."""
    smallest, largest = taken
    side = max(side, smallest)
    return side if largest is None else min(side, largest)


def compare(net: PixelsToLabels, run: Run, images: Sequence[Pixels], taken: dict[str, Range]) -> Agreement:
    """Compares an exported network with its original on several sizes of each image, and on a batch of two.

    Args:
        net: The original, in eval mode.
        run: The exported one.
        images: uint8 RGB (H, W, 3).
        taken: The sizes that the exported one takes.

    Returns:
        Their agreement; nothing is equal where the exported one takes none of the sizes.
    """
    equal = pixels = count = 0
    difference, spreads, sizes = 0.0, [], []
    batches = [variant[None] for image in images for variant in variants(image, taken)]
    if batches and taken["batch"][1] is None:
        batches.append(np.concatenate([batches[0], batches[0][:, ::-1]]))  # the second upside down
    for batch in batches:
        smallest = taken["batch"][0]
        batch = batch if len(batch) >= smallest else batch.repeat(smallest, axis=0)
        check_size({name: list(found) for name, found in taken.items()}, batch.shape)
        with torch.no_grad():
            labels, logits, *_ = net(torch.from_numpy(batch))
        found, scores = run(batch)
        size = batch.shape[1:3]
        theirs = at_size(torch.from_numpy(np.asarray(scores)), size)
        difference = max(difference, float((at_size(logits, size) - theirs).abs().max()))
        spreads.append(float(logits.std()))
        equal += int((found == labels.numpy()).sum())
        pixels += labels.numel()
        count += len(batch)
        if size not in sizes:
            sizes.append(size)
    return Agreement(equal / max(pixels, 1), difference, float(np.mean(spreads or 0)), tuple(sizes), count)


def at_size(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, C, h, w) -> (N, C, *size): a network may give coarser logits than its program, which follows one way of two."""
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
