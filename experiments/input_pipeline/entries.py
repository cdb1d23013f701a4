"""Times the index of 100,000 entries and weighs a worker: python experiments/input_pipeline/entries.py"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from atrous.data.cache import OnDisk
from atrous.data.camvid import CamVid
from atrous.data.sampling import Transformed
from atrous.data.transforms import TrainTransform
from atrous.types import SegmentationDataset

LENGTHS = (1_000, 100_000)
WORKERS, READ = 2, 500  # processes, and samples that each reads before it is weighed


def write_frames(root: Path, length: int, *, empty: bool) -> None:
    """CamVid's layout with one frame, or nothing, in every file; a file has at most 30,000 names."""
    frame = np.random.default_rng(0).integers(0, 11, (24, 32), dtype=np.uint8)
    for folder in (root / "train", root / "trainannot"):
        folder.mkdir(parents=True)
        image = frame if folder.name == "trainannot" else np.stack([frame] * 3, -1)
        data = b"" if empty else cv2.imencode(".png", image)[1].tobytes()
        for number in range(length):
            path = f"{folder}/0001TP_{number:06d}.png"
            if number % 30_000 == 0:
                Path(path).write_bytes(data)
                first = path
            else:
                os.link(first, path)


class Weighed(Dataset[tuple[int, int]]):
    """Reads sample `index`, or for -1 tells its process's memory: with its part of what is shared, and without, KiB."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._samples = Transformed(dataset=dataset, transform=TrainTransform(crop_size=(24, 32)), seed=0)

    def __getitem__(self, index: int) -> tuple[int, int]:
        if index >= 0:
            self._samples[0, index]
            return 0, 0
        gc.collect()
        lines = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
        sizes = {name: int(value.split()[0]) for name, value in lines.items()}
        return sizes["Pss"], sizes["Private_Dirty"] + sizes["Private_Clean"]


def weigh(dataset: SegmentationDataset, start_method: str) -> tuple[float, float]:
    """MiB of a worker, with its part of what is shared and without: means over the workers."""
    indices = np.random.default_rng(0).integers(0, len(dataset), WORKERS * READ).tolist()
    loader = DataLoader(
        Weighed(dataset),
        batch_size=None,
        sampler=indices + WORKERS * [-1],  # the workers take turns
        num_workers=WORKERS,
        multiprocessing_context=start_method,
    )
    told = [sizes for sizes in loader if sizes[0]]
    return sum(pss for pss, _ in told) / WORKERS / 1024, sum(private for _, private in told) / WORKERS / 1024


def main() -> None:
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "empty")
        write_frames(root, LENGTHS[-1], empty=True)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            length = len(CamVid(root=root, split="train"))
            seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        CamVid(root=root, split="train").cache_key()
        key = time.perf_counter() - start - seconds[-1]
        print(f"{length} entries: index {statistics.median(seconds):.2f} s, cache key {key:.2f} s\n")
    print("| cache | workers are | entries | MiB per worker | of it private |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        datasets: dict[str, list[SegmentationDataset]] = {"none": [], "disk": []}
        for length in LENGTHS:
            root = Path(folder, str(length))
            write_frames(root, length, empty=False)
            datasets["none"].append(CamVid(root=root, split="train"))
            start = time.perf_counter()
            datasets["disk"].append(OnDisk(datasets["none"][-1], folder=folder))
            print(f"{length} entries to disk: {time.perf_counter() - start:.1f} s", file=sys.stderr)
        for cache, both in datasets.items():
            for start_method in ("fork", "spawn"):
                for dataset in both:
                    weight, private = weigh(dataset, start_method)
                    print(f"| {cache} | {start_method}ed | {len(dataset)} | {weight:.1f} | {private:.1f} |", flush=True)


if __name__ == "__main__":
    main()
