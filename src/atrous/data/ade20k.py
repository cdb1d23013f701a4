"""ADE20K in the 150 classes of MIT's Scene Parsing Benchmark (SceneParse150): indoor and outdoor scenes.

Zhou, Zhao, Puig, Fidler, Barriuso, Torralba: Scene Parsing through ADE20K Dataset. CVPR 2017.
Zhou, Zhao, Puig, Xiao, Fidler, Barriuso, Torralba: Semantic Understanding of Scenes through the ADE20K Dataset. IJCV
127, 2019. https://arxiv.org/abs/1608.05442 http://sceneparsing.csail.mit.edu
Terms: non-commercial research and education. https://groups.csail.mit.edu/vision/datasets/ADE20K/terms

Names are the first ones of objectInfo150.txt and label values its Idx (github.com/CSAILVision/sceneparsing), colours
those of its color150.mat as mmsegmentation's ade.py has them (road and skyscraper share one), things those of
Mask2Former's register_ade20k_panoptic.py.
"""

from __future__ import annotations

from pathlib import Path

from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split
from atrous.types import ClassInfo

# Split -> the folder of its images and that of its masks; 20,210 and 2,000 images, and 3,352 without labels.
FOLDERS = {
    "train": ("ADEChallengeData2016/images/training", "ADEChallengeData2016/annotations/training"),
    "val": ("ADEChallengeData2016/images/validation", "ADEChallengeData2016/annotations/validation"),
    "test": ("release_test/testing", None),
}
# fmt: off
_NAMES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
    "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
    "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
    "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
    "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path",
    "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge", "bookcase",
    "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
    "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light",
    "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television", "airplane", "dirt track",
    "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van",
    "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything", "swimming pool", "stool", "barrel",
    "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank", "trade name",
    "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen", "blanket", "sculpture", "hood", "sconce",
    "vase", "traffic light", "tray", "ashcan", "fan", "pier", "crt screen", "plate", "monitor", "bulletin board",
    "shower", "radiator", "glass", "clock", "flag",
)
_PALETTE = (
    (120, 120, 120), (180, 120, 120), (6, 230, 230), (80, 50, 50), (4, 200, 3), (120, 120, 80), (140, 140, 140),
    (204, 5, 255), (230, 230, 230), (4, 250, 7), (224, 5, 255), (235, 255, 7), (150, 5, 61), (120, 120, 70),
    (8, 255, 51), (255, 6, 82), (143, 255, 140), (204, 255, 4), (255, 51, 7), (204, 70, 3), (0, 102, 200),
    (61, 230, 250), (255, 6, 51), (11, 102, 255), (255, 7, 71), (255, 9, 224), (9, 7, 230), (220, 220, 220),
    (255, 9, 92), (112, 9, 255), (8, 255, 214), (7, 255, 224), (255, 184, 6), (10, 255, 71), (255, 41, 10),
    (7, 255, 255), (224, 255, 8), (102, 8, 255), (255, 61, 6), (255, 194, 7), (255, 122, 8), (0, 255, 20),
    (255, 8, 41), (255, 5, 153), (6, 51, 255), (235, 12, 255), (160, 150, 20), (0, 163, 255), (140, 140, 140),
    (250, 10, 15), (20, 255, 0), (31, 255, 0), (255, 31, 0), (255, 224, 0), (153, 255, 0), (0, 0, 255), (255, 71, 0),
    (0, 235, 255), (0, 173, 255), (31, 0, 255), (11, 200, 200), (255, 82, 0), (0, 255, 245), (0, 61, 255),
    (0, 255, 112), (0, 255, 133), (255, 0, 0), (255, 163, 0), (255, 102, 0), (194, 255, 0), (0, 143, 255),
    (51, 255, 0), (0, 82, 255), (0, 255, 41), (0, 255, 173), (10, 0, 255), (173, 255, 0), (0, 255, 153), (255, 92, 0),
    (255, 0, 255), (255, 0, 245), (255, 0, 102), (255, 173, 0), (255, 0, 20), (255, 184, 184), (0, 31, 255),
    (0, 255, 61), (0, 71, 255), (255, 0, 204), (0, 255, 194), (0, 255, 82), (0, 10, 255), (0, 112, 255), (51, 0, 255),
    (0, 194, 255), (0, 122, 255), (0, 255, 163), (255, 153, 0), (0, 255, 10), (255, 112, 0), (143, 255, 0),
    (82, 0, 255), (163, 255, 0), (255, 235, 0), (8, 184, 170), (133, 0, 255), (0, 255, 92), (184, 0, 255),
    (255, 0, 31), (0, 184, 255), (0, 214, 255), (255, 0, 112), (92, 255, 0), (0, 224, 255), (112, 224, 255),
    (70, 184, 160), (163, 0, 255), (153, 0, 255), (71, 255, 0), (255, 0, 163), (255, 204, 0), (255, 0, 143),
    (0, 255, 235), (133, 255, 0), (255, 0, 235), (245, 0, 255), (255, 0, 122), (255, 245, 0), (10, 190, 212),
    (214, 255, 0), (0, 204, 255), (20, 0, 255), (255, 255, 0), (0, 153, 255), (0, 41, 255), (0, 255, 204),
    (41, 0, 255), (41, 255, 0), (173, 0, 255), (0, 245, 255), (71, 0, 255), (122, 0, 255), (0, 255, 184),
    (0, 92, 255), (184, 255, 0), (0, 133, 255), (255, 214, 0), (25, 194, 194), (102, 255, 0), (92, 0, 255),
)
# Indices of the classes that can't be counted.
_STUFF = (
    0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60, 61, 63, 68, 77,
    79, 84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145,
)
# fmt: on
CLASS_INFO = ClassInfo(
    names=_NAMES,
    palette=_PALETTE,
    things=tuple(sorted(set(range(150)).difference(_STUFF))),
    ids=tuple(range(1, 151)),
)

VALUE_MAP = {0: CLASS_INFO.ignore_index} | {label: index for index, label in enumerate(CLASS_INFO.ids)}  # 0: other

_REMEDY = (
    "Unpack http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip (and release_test.zip beside it for "
    "the test split) there, or set the folder with data.root=... . Expected in it: "
    "ADEChallengeData2016/images/{training,validation}/*.jpg, "
    "ADEChallengeData2016/annotations/{training,validation}/*.png and release_test/testing/*.jpg. ADE20K is for "
    "non-commercial research and education."
)


class ADE20K(FilePairs):
    """One split of ADE20K: images of many sizes, masks of 0 to 149 and 255.

    Args:
        root: The folder that holds ADEChallengeData2016/ and, for the test split, release_test/.
        split: "train", "val" or "test"; the test split's labels are not published.

    Raises:
        ConfigError: If there is no such split in ADE20K.
        DataError: If the folder, the split's folders, its images or a mask are missing.
    """

    def __init__(self, *, root: str | Path, split: str) -> None:
        check_split(split, FOLDERS, "ADE20K")
        images, masks = FOLDERS[split]
        check_folders(Path(root), [folder for folder in FOLDERS[split] if folder], dataset="ADE20K", remedy=_REMEDY)
        names = [file.removesuffix(".jpg") for file in list_images(f"{root}/{images}", suffixes={".jpg"})]
        super().__init__(
            title=f"ADE20K's split {split!r} at {root}",
            remedy=_REMEDY,
            names=names,
            images=[f"{root}/{images}/{name}.jpg" for name in names],
            masks=masks and [f"{root}/{masks}/{name}.png" for name in names],
            reader=MaskReader(class_info=CLASS_INFO, value_map=VALUE_MAP),
        )
