"""Writes a tiny CamVid of 32 classes in its real layout."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from fixtures import blocks, image_of
from PIL import Image

FRAMES = {  # real names: the first and the last of every sequence in a split come first
    "train": ("0001TP_006690", "0001TP_008520", "0006R0_f00930", "0006R0_f03930", "0016E5_00390", "0016E5_08640"),
    "val": ("0016E5_07959", "0016E5_08159", "0016E5_07961", "0016E5_07963"),
    "test": ("0001TP_008550", "0001TP_010380", "Seq05VD_f00000", "Seq05VD_f05100"),
}
# label_colors.txt as published
LABEL_COLORS = """\
64 128 64\tAnimal
192 0 128\tArchway
0 128 192\tBicyclist
0 128 64\tBridge
128 0 0\t\tBuilding
64 0 128\tCar
64 0 192\tCartLuggagePram
192 128 64\tChild
192 192 128\tColumn_Pole
64 64 128\tFence
128 0 192\tLaneMkgsDriv
192 0 64\tLaneMkgsNonDriv
128 128 64\tMisc_Text
192 0 192\tMotorcycleScooter
128 64 64\tOtherMoving
64 192 128\tParkingBlock
64 64 0\t\tPedestrian
128 64 128\tRoad
128 128 192\tRoadShoulder
0 0 192\t\tSidewalk
192 128 128\tSignSymbol
128 128 128\tSky
64 128 192\tSUVPickupTruck
0 0 64\t\tTrafficCone
0 64 64\t\tTrafficLight
192 64 128\tTrain
128 128 0\tTree
192 128 192\tTruck_Bus
64 0 64\t\tTunnel
192 192 0\tVegetationMisc
0 0 0\t\tVoid
64 192 0\tWall
"""


def write_camvid32(
    root: Path, *, splits: Collection[str] = tuple(FRAMES), size: tuple[int, int] = (24, 32), seed: int = 0
) -> Path:
    """All frames of `splits`."""
    rng = np.random.default_rng(seed)
    colors = np.array([line.split()[:3] for line in LABEL_COLORS.splitlines()], np.uint8)
    images, labels = root / "701_StillsRaw_full", root / "LabeledApproved_full"
    images.mkdir(parents=True)
    labels.mkdir()
    (root / "label_colors.txt").write_text(LABEL_COLORS)
    for split in splits:
        for name in FRAMES[split]:
            values = blocks(rng, len(colors), size)
            Image.fromarray(image_of(values, rng)).save(images / f"{name}.png")
            Image.fromarray(colors[values]).save(labels / f"{name}_L.png")
    return root
