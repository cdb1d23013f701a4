"""Turns raw samples into a network's input: augmentation in training, normalisation always."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Protocol

import albumentations as A
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.data.elastic import random_elastic_crop
from atrous.data.io.files import REDUCTIONS, Mask
from atrous.data.scale_crop import draw_factor, random_scale_crop
from atrous.errors import ConfigError
from atrous.types import IGNORE_INDEX

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Transform(Protocol):
    """Turns uint8 RGB (H, W, 3) and mask (H, W) into float32 (3, h, w) and int64 (h, w); a function of `seed`."""

    def __call__(self, image: NDArray[np.uint8], mask: Mask, *, seed: int) -> tuple[Tensor, Tensor]: ...

    def reduction(self, seed: int) -> int:
        """By how much, 1, 2, 4 or 8, the image may be reduced before it is given to `__call__` with this seed."""


class TrainTransform:
    """Random scale, crop, deformation, horizontal flip, colour jitter and blur, then normalisation.

    Args:
        crop_size: (height, width) of the result. A smaller image is padded: `mean` in the image, `ignore_index` in the
            mask.
        scale: Smallest and largest factor of the scaling before the crop; both sides scale alike.
        cat_max_ratio: Up to ten crop positions are drawn until no class has more than this share of the labelled
            pixels, above 0. 1: off.
        elastic: Standard deviation in pixels of the smooth deformation of U-Net's paper, whose value is 10, see
            `random_elastic_crop`. 0: off. With this or `rotation` a smaller image is mirrored instead of padded.
        rotation: The crop is turned by up to ± so many degrees, 0 to 180.
        flip: Probability of a left-right flip.
        brightness: The image is multiplied by up to 1 ± this, 0 to 1. 0: off, as for the next three.
        contrast: Contrast factor, up to 1 ± this, 0 to 1.
        saturation: Saturation factor, up to 1 ± this, 0 to 1.
        hue: Shift of the hue in turns, up to ± this, 0 to 0.5.
        blur: Probability of a Gaussian blur with a sigma of 0.3 to 1.5 pixels.
        mean: Mean per RGB channel, in 0 to 1.
        std: Standard deviation per RGB channel, in 0 to 1.
        ignore_index: The mask's padding; the dataset's.

    Raises:
        ConfigError: If a value is outside its range.
    """

    def __init__(
        self,
        *,
        crop_size: Sequence[int],
        scale: Sequence[float] = (0.5, 2.0),
        cat_max_ratio: float = 1.0,
        elastic: float = 0.0,
        rotation: float = 0.0,
        flip: float = 0.5,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.05,
        blur: float = 0.1,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        sides = len(crop_size) == 2 and all(isinstance(side, int) and side > 0 for side in crop_size)
        _require(sides, "crop_size", list(crop_size), "[height, width] in pixels, such as [360, 480]")
        factors = len(scale) == 2 and 0 < scale[0] <= scale[1]
        _require(factors, "scale", list(scale), "[smallest, largest] factor, such as [0.5, 2.0]")
        expected = "a share above 0, such as 0.75, or 1 for off"
        _require(0 < cat_max_ratio <= 1, "cat_max_ratio", cat_max_ratio, expected)
        _require(0 <= elastic < math.inf, "elastic", elastic, "pixels from 0 on, such as 10")
        if (elastic or rotation) and cat_max_ratio < 1:
            raise ConfigError(
                f"data.train_transform.cat_max_ratio={cat_max_ratio} chooses among crops that are neither deformed nor "
                f"turned, but elastic={elastic} and rotation={rotation}; set cat_max_ratio=1, or both others to 0."
            )
        jitter = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        for name, value in {"rotation": rotation, "flip": flip, **jitter, "hue": hue, "blur": blur}.items():
            high = {"rotation": 180.0, "hue": 0.5}.get(name, 1.0)
            _require(0 <= value <= high, name, value, f"a number from 0 to {high:g}")
        self.crop_size = (crop_size[0], crop_size[1])
        self.scale = (scale[0], scale[1])
        self.cat_max_ratio = cat_max_ratio
        self.elastic, self.rotation = elastic, rotation
        self.mean, self.std = _check_statistics(mean, std)
        self.ignore_index = ignore_index
        steps = [A.HorizontalFlip(p=flip)]
        if brightness or contrast or saturation or hue:
            ranges = {name: (1 - value, 1 + value) for name, value in jitter.items()}
            steps.append(A.ColorJitter(**ranges, hue=(-hue, hue), p=1.0))
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.5), p=blur))
        self._augment = A.Compose(steps, strict=True)

    def __call__(self, image: NDArray[np.uint8], mask: Mask, *, seed: int) -> tuple[Tensor, Tensor]:
        """The sample's augmentation number `seed`: float32 (3, *crop_size) and int64 (*crop_size).

        The image may be reduced by `reduction(seed)`.
        """
        rng = np.random.default_rng(seed)
        crop: dict[str, Any] = {"size": self.crop_size, "scale": self.scale, "rng": rng}
        if self.elastic or self.rotation:
            image, mask = random_elastic_crop(image, mask, elastic=self.elastic, rotation=self.rotation, **crop)
        else:
            crop |= {"fill": [255 * value for value in self.mean], "fill_mask": self.ignore_index}
            image, mask = random_scale_crop(image, mask, max_ratio=self.cat_max_ratio, **crop)
        # One state for all steps; set_random_seed would give each step the same draws, so that flips come with blurs.
        self._augment.set_random_state(rng, random.Random(seed))
        augmented = self._augment(image=image, mask=mask)
        return normalise(augmented["image"], self.mean, self.std), _to_tensor(augmented["mask"])

    def reduction(self, seed: int) -> int:
        """The largest of 1, 2, 4 and 8 that leaves the image no smaller than augmentation `seed` scales it to.

        1 with a deformation or rotation, which reads the whole image.
        """
        if self.elastic or self.rotation:
            return 1
        factor = draw_factor(self.scale, np.random.default_rng(seed))
        return max(reduction for reduction in REDUCTIONS if reduction == 1 or factor * reduction <= 1)


class EvalTransform:
    """Normalisation at the image's own size.

    Args:
        mean: Mean per RGB channel, in 0 to 1.
        std: Standard deviation per RGB channel, in 0 to 1.

    Raises:
        ConfigError: If `mean` or `std` are not three numbers, or a `std` is not above 0.
    """

    def __init__(self, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        self.mean, self.std = _check_statistics(mean, std)

    def __call__(self, image: NDArray[np.uint8], mask: Mask, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """float32 (3, H, W) and int64 (H, W); the seed changes nothing."""
        return self.normalise(image), _to_tensor(mask)

    def reduction(self, seed: int) -> int:
        """1: evaluation sees every pixel."""
        return 1

    def normalise(self, image: NDArray[np.uint8]) -> Tensor:
        """An image without a mask: uint8 RGB (H, W, 3) to float32 (3, H, W)."""
        return normalise(image, self.mean, self.std)


def normalise(image: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(image / 255 - mean) / std: uint8 RGB (H, W, 3) to float32 (3, H, W)."""
    out = np.empty((3, *image.shape[:2]), np.float32)
    for channel, plane in enumerate(cv2.split(image)):
        np.multiply(plane, np.float32(1 / (255 * std[channel])), out=out[channel], dtype=np.float32)
        out[channel] -= np.float32(mean[channel] / std[channel])
    return torch.from_numpy(out)


def _to_tensor(mask: Mask) -> Tensor:
    return torch.from_numpy(mask.astype(np.int64))


def _check_statistics(mean: Sequence[float], std: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ConfigError(
            f"mean={list(mean)} and std={list(std)}: expected three numbers each, in 0 to 1, std above 0."
        )
    return tuple(mean), tuple(std)


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"data.train_transform.{name}={value} is impossible; expected {expected}.")
