"""Sample order: a function of (seed, epoch), dealt out to the processes without repeats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from atrous.data.pairs import FilePairs
from atrous.data.transforms import Transform
from atrous.errors import ConfigError, DataError
from atrous.types import Sample, SegmentationDataset

STAND_IN = -1  # the index of a sample that counts for nothing
Key = tuple[int, ...]  # epoch, index; with rare classes also how many times the sample came earlier in the epoch


class TrainSampler(Sampler[Key]):
    """One rank's share of an epoch's random order; the order is a function of (seed, epoch).

    Without `rare_classes` an epoch is a permutation. With them each of its samples is drawn anew: some come several
    times, each time with another augmentation, and others not at all.

    The order is cut to whole optimizer steps and dealt out to the ranks in turn. So the k-th batches of all ranks
    together are the k-th batch of one process with the same total batch size, with accumulation too.

    Args:
        length: Number of samples.
        step_size: Samples per optimizer step, over all ranks and accumulated batches.
        seed: Another seed gives other orders.
        rank: This process.
        world_size: Number of processes; divides `step_size`.
        rare_classes: Draws the samples.
        start: (epoch, samples): that epoch leaves out the rank's first samples, which a training before this one saw.
    """

    def __init__(
        self,
        *,
        length: int,
        step_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        rare_classes: RareClasses | None = None,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        self._length = length
        self._used = length // step_size * step_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._rare_classes = rare_classes
        self._start = start
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the iterators to come; Lightning calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        rng = np.random.default_rng([self._seed, self._epoch])
        epoch, seen = self._start
        first = seen * self._world_size if epoch == self._epoch else 0
        share = slice(first + self._rank, None, self._world_size)
        if self._rare_classes is None:
            order = rng.permutation(self._length)[: self._used]
            return iter([(self._epoch, index) for index in order[share].tolist()])
        drawn = self._rare_classes.draw(self._used, rng)
        keys = zip(drawn[share].tolist(), _earlier(drawn)[share].tolist(), strict=True)
        return iter([(self._epoch, index, earlier) for index, earlier in keys])

    def __len__(self) -> int:
        return self._used // self._world_size


class RareClasses:
    """Draws images so that rare classes are seen often: a class first, then an image that has it.

    Rare class sampling of Hoyer, Dai and Van Gool: DAFormer. CVPR 2022, https://arxiv.org/abs/2111.14887, as in its
    code, https://github.com/lhoyer/DAFormer/blob/master/mmseg/datasets/uda_dataset.py: class c is drawn with
    probability proportional to exp((1 - f_c) / temperature), where f_c is its share of the labelled pixels, then each
    image with at least `min_pixels` of it is as likely as the others. Its configs use a temperature of 0.01 and 3000
    pixels, for GTA's images of 1052 x 1914. Its search for a crop that shows the class (up to 10 crops) is left out,
    and so are classes without any pixel.

    Args:
        counts: Pixels of each class in each image, (N, C); not kept.
        names: The classes' names.
        temperature: Above 0. The smaller, the more the rarest classes are preferred; a large one draws all alike.
        min_pixels: From 1 on.

    Raises:
        ConfigError: If a value is outside its range, or no image has `min_pixels` of a class.
        DataError: If there are no labelled pixels.
    """

    def __init__(
        self, counts: NDArray[np.int64], *, names: Sequence[str], temperature: float, min_pixels: int = 3000
    ) -> None:
        if not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
            raise ConfigError(
                f"data.rare_class_temperature={temperature} is impossible; give a number above 0, such as 0.01, or "
                "null to draw every image once."
            )
        if not isinstance(min_pixels, int) or min_pixels < 1:
            raise ConfigError(
                f"data.rare_class_min_pixels={min_pixels} is impossible; give a whole number from 1 on, such as 3000."
            )
        pixels = counts.sum(0)
        if not pixels.any():
            raise DataError(
                "data.rare_class_temperature needs labels, and the train split has no labelled pixel. Set it to null."
            )
        has_class = counts >= min_pixels
        lost = [c for c in np.flatnonzero(pixels).tolist() if not has_class[:, c].any()]
        if lost:
            most = counts.max(0)[lost]
            raise ConfigError(
                f"data.rare_class_min_pixels={min_pixels}: no image has as many pixels of "
                f"{', '.join(f'{names[c]!r} (at most {n})' for c, n in zip(lost, most, strict=True))}. Set it to "
                f"{most.min()} or less."
            )
        scaled = np.where(pixels > 0, (1 - pixels / pixels.sum()) / temperature, -np.inf)
        weights = np.exp(scaled - scaled.max())
        self.probabilities: NDArray[np.float64] = weights / weights.sum()  # (C,), 0 where a class has no pixel
        # The images of class 0, then those of class 1, and so on: one array, whatever their number.
        self._images = np.concatenate([np.flatnonzero(column) for column in has_class.T]).astype(np.int32)
        self._sizes = has_class.sum(0)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def draw(self, number: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """Indices of `number` images."""
        classes = rng.choice(len(self.probabilities), size=number, p=self.probabilities)
        drawn: NDArray[np.int32] = self._images[self._starts[classes] + rng.integers(0, self._sizes[classes])]
        return drawn


def eval_keys(length: int, *, rank: int = 0, world_size: int = 1) -> list[Key]:
    """One rank's share of all samples in order: over the ranks each comes once, with no padding.

    A rank without a share gets `STAND_IN` for an index, a sample that is not to be counted, so that it does what the others do.
    """
    return [(0, index) for index in range(rank, length, world_size)] or [(0, STAND_IN)] * (length > 0)


class Transformed(Dataset[Sample]):
    """A dataset with its transform. An item is a function of its key and the seed, in whatever process it is made.

    Args:
        dataset: Gives raw samples.
        transform: Applied to each.
        seed: Another seed gives other augmentations.
    """

    def __init__(self, *, dataset: SegmentationDataset, transform: Transform, seed: int) -> None:
        self._dataset = dataset
        self._transform = transform
        self._seed = seed

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: Key) -> Sample:
        index = key[1]
        if index == STAND_IN:
            return {**self[key[0], 0], "index": STAND_IN}
        seed = int(np.random.SeedSequence([self._seed, *key]).generate_state(1, np.uint64)[0])
        if isinstance(self._dataset, FilePairs):  # decodes smaller what is to be shown smaller
            raw = self._dataset.read(index, reduction=self._transform.reduction(seed))
        else:
            raw = self._dataset[index]
        image, mask = self._transform(raw.image, raw.mask, seed=seed)
        return Sample(image=image, mask=mask, name=raw.name, index=index)


def _earlier(order: NDArray[np.int32]) -> NDArray[np.intp]:
    """Counts, for each element, the equal ones before it."""
    by_value = np.argsort(order, kind="stable")
    starts = np.flatnonzero(np.diff(order[by_value], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    earlier = np.empty(len(order), np.intp)
    earlier[by_value] = np.arange(len(order)) - np.repeat(starts, sizes)
    return earlier
