"""Which sample comes when: orders that depend on seed and epoch alone, and shards that repeat nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset, Sampler

from atrous.data.transforms import Transform
from atrous.types import Sample, SegmentationDataset

Key = tuple[int, int]  # epoch, index


class TrainSampler(Sampler[Key]):
    """One rank's share of an epoch's random order; the order is a function of (seed, epoch).

    The order is cut to whole optimizer steps and dealt out to the ranks in turn. So the k-th batches of all ranks
    together are the k-th batch of one process with the same total batch size, with accumulation too.

    Args:
        length: Number of samples.
        step_size: Samples per optimizer step, over all ranks and accumulated batches.
        seed: Another seed gives other orders.
        rank: This process.
        world_size: Number of processes; divides `step_size`.
    """

    def __init__(self, *, length: int, step_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._length = length
        self._used = length // step_size * step_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the iterators to come; Lightning calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._length)[: self._used]
        return iter([(self._epoch, int(index)) for index in order[self._rank :: self._world_size]])

    def __len__(self) -> int:
        return self._used // self._world_size


class EvalSampler(Sampler[Key]):
    """One rank's share of all samples in order: over the ranks each comes once, with no padding.

    Args:
        length: Number of samples.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, *, length: int, rank: int = 0, world_size: int = 1) -> None:
        self._indices = range(rank, length, world_size)

    def __iter__(self) -> Iterator[Key]:
        return iter([(0, index) for index in self._indices])

    def __len__(self) -> int:
        return len(self._indices)


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
        epoch, index = key
        raw = self._dataset[index]
        seed = np.random.SeedSequence([self._seed, epoch, index]).generate_state(1, np.uint64)[0]
        image, mask = self._transform(raw.image, raw.mask, seed=int(seed))
        return Sample(image=image, mask=mask, name=raw.name, index=index)
