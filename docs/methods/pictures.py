"""The pictures of docs/methods.md: each method's steps on a drawn scene.

python docs/methods/pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from atrous.config.compose import CONF_DIR
from atrous.engine.labellers import open_labeller

HERE = Path(__file__).parent
SCENE = ["data=scenes", "data.val.length=1", "data.size=[192,256]", "data.context_distance=16"]
OWN = {
    "kmeans": ["method.clusters=6"],
    "kmeans_deep": ["method.clusters=6"],
    "spectral": ["method.clusters=6"],
    "slic": ["method.segments=80"],
    "watershed": ["method.segments=80"],
    "mean_shift": ["method.iterations=16"],
}


def main() -> None:
    for path in sorted((CONF_DIR / "method").glob("*.yaml")):
        with tempfile.TemporaryDirectory() as out:
            labeller = open_labeller(None, path.stem, [*SCENE, *OWN.get(path.stem, [])], split="val")
            assert labeller.images is not None
            name, image = next(labeller.images[1])
            labeller.write(image, Path(out), name, ["labels", "iterates"], overlay_size=1)
            (picture,) = (Path(out) / "iterates").rglob("*.png")
            Image.open(picture).quantize(128).save(HERE / f"{path.stem}.png", optimize=True)


if __name__ == "__main__":
    main()
