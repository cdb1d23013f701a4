"""Keeps decoded samples, so that no file is decoded twice."""

from __future__ import annotations

import os

from atrous.data.parallel import in_threads
from atrous.errors import ConfigError
from atrous.types import RawSample, SegmentationDataset


class InMemory:
    """A dataset whose samples are read once, in threads, and kept decoded.

    Workers that are forked share the memory; each process of a distributed run keeps its own.

    Args:
        dataset: What to read.

    Raises:
        ConfigError: If the samples, taken to be as large as the first, need more than half of the machine's memory.
        DataError: The first in the dataset's order, if samples can't be read.
    """

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.class_info = dataset.class_info
        first = dataset[0]
        needed = len(dataset) * (first.image.nbytes + first.mask.nbytes)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > memory / 2:
            raise ConfigError(
                f"data.cache=ram would keep {len(dataset)} images in {needed / 2**30:.1f} GiB, more than half of this "
                f"machine's {memory / 2**30:.1f} GiB. Set data.cache=disk or none."
            )
        self._samples = list(in_threads(dataset.__getitem__, range(len(dataset)), description="reading"))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> RawSample:
        """The kept sample itself; not to be written to."""
        return self._samples[index]
