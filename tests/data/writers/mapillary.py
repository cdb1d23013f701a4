"""Mapillary Vistas as its archives unpack."""

from pathlib import Path

import numpy as np
from fixtures import blocks, image_of
from PIL import Image

from atrous.data.mapillary import LABELS

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
KEY = "_x-{:04d}N9c72sICO990Ue"  # as long as the real ones, and with their stranger letters


def write_mapillary(
    root: Path,
    *,
    splits: dict[str, int] | None = None,
    release: str = "2.0",
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
) -> Path:
    """`splits` maps train, val or test to its number of images; every second one is upright and a little larger.

    Release "2.0" has labels of both versions, "1.1" those of version 1.2 in the folder labels, which it has, empty, for
    the test split too.
    """
    rng = np.random.default_rng(seed)
    for split, count in ({"train": 5, "val": 3, "test": 2} if splits is None else splits).items():
        folder = root / FOLDERS[split]
        kinds = {"labels": "1.2"} if release == "1.1" else {f"v{version}/labels": version for version in LABELS}
        for below in ("images", *(() if split == "test" and release == "2.0" else kinds)):
            (folder / below).mkdir(parents=True)
        for number in range(count):
            shape = size if number % 2 == 0 else (size[1] + 5, size[0] + 3)
            key = KEY.format(number)
            values = {below: blocks(rng, len(LABELS[version]), shape) for below, version in kinds.items()}
            Image.fromarray(image_of(next(iter(values.values())), rng)).save(folder / "images" / f"{key}.jpg")
            for below, version in kinds.items():
                if split == "test":
                    continue
                mask = Image.fromarray(values[below])
                mask.putpalette([part for _, color, _ in LABELS[version] for part in color])
                mask.save(folder / below / f"{key}.png")
                instances = folder / below.replace("labels", "instances")
                instances.mkdir(exist_ok=True)
                Image.fromarray(values[below].astype(np.uint16) * 256).save(instances / f"{key}.png")
    return root
