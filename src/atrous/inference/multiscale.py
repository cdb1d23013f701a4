"""Multi-scale and flip: an image at several sizes and mirrored, the probabilities averaged.

Chen et al. (2018) "DeepLab", IEEE TPAMI, section 4.1, https://arxiv.org/abs/1606.00915, with the scales of mmsegmentation
(`img_ratios` of its `tta_pipeline`). What is averaged are probabilities, as in mmsegmentation's `SegTTAModel`
(https://github.com/open-mmlab/mmsegmentation/blob/main/mmseg/models/segmentors/seg_tta.py) and in
`predict_labels_multi_scale` of https://github.com/tensorflow/models/blob/master/research/deeplab/model.py: the logits of
each pass are resized to the image, then a softmax, then the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from atrous.errors import ConfigError
from atrous.inference.ensemble import averaged
from atrous.inference.image import Flipped, Image, Scaled
from atrous.inference.mode import InferenceMode, Network
from atrous.inference.whole import WholeImage
from atrous.layers.strips import resized_strips


@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """The mean of the probabilities that `base` gives at each scale, and at each scale mirrored.

    The passes go down the image side by side, so that no pass's scores are held whole unless `base` holds them.

    Args:
        scales: Of the image. Its sides become `int(side * scale + 0.5)` pixels, bilinear (`align_corners=False`) and without
            smoothing, as in mmsegmentation.
        flip: Also left and right exchanged, at every scale.
        base: How each of these images goes through the network. A window is a window at every scale.

    Raises:
        ConfigError: If there are no scales, or one is not above 0.
    """

    scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    flip: bool = True
    base: InferenceMode = field(default_factory=WholeImage)

    def __post_init__(self) -> None:
        numbers = all(isinstance(scale, int | float) and not isinstance(scale, bool) for scale in self.scales)
        if not self.scales or not numbers or min(self.scales) <= 0:
            raise ConfigError(
                f"inference.scales={list(self.scales)} is impossible; give numbers above 0, such as 'inference.scales=[0.75,1,1.25]'."
            )

    def __call__(self, net: Network, image: Image) -> Iterator[Tensor]:
        height, width = image.size
        passes = []
        for scale in self.scales:
            size = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
            scaled = image if size == image.size else Scaled(image, size)
            passes.append(resized_strips(self.base(net, scaled), size, image.size))
            if self.flip:
                flipped = resized_strips(self.base(net, Flipped(scaled)), size, image.size)
                passes.append(strip.flip(-1) for strip in flipped)
        yield from averaged(passes)

    def __str__(self) -> str:
        flips = " and mirrored" if self.flip else ""
        scales = ", ".join(f"{scale:g}" for scale in self.scales)
        return f"multi-scale {scales}{flips}, probabilities averaged, each pass {self.base}"
