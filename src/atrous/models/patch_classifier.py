"""The naive baseline: a small CNN classifies the patch around each pixel.

Ciresan, Giusti, Gambardella, Schmidhuber (2012) "Deep Neural Networks Segment Neuronal Membranes in Electron Microscopy
Images", NIPS, https://papers.nips.cc/paper/4741, network N4. Nonlinearity and initialisation follow the ZNN authors'
specification of N4, https://github.com/seung-lab/znn-release/blob/e7b86e1/networks/N4.spec.

The convolutional form computes the same from shared maps: Giusti, Ciresan, Masci, Gambardella, Schmidhuber (2013) "Fast
Image Scanning with Deep Max-Pooling Convolutional Neural Networks", https://arxiv.org/abs/1302.1700, there by fragments
of maps ("shift-and-stitch"), here by filters with holes ("filter rarefaction", Long et al. 2015, section 3.2,
https://arxiv.org/abs/1411.4038), which gives the same numbers.

Deviations:
- Images have three channels, and any number of classes.
- No foveation or non-uniform sampling of the patch, and one network instead of an average of four.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from atrous.errors import ConfigError
from atrous.layers.mirror import mirrored
from atrous.types import SegOutput


class PatchClassifier(nn.Module):
    """Convolutions that are each pooled 2 x 2, then two fully connected layers; for every pixel of the image.

    Patches that reach over the image's border see it mirrored.

    Args:
        num_classes: Channels of the logits.
        mode: "patches" runs the network on each pixel's patch, as in the paper; "convolutional" runs it on the image, with
            equal logits and hundreds of times less work.
        patch_size: Height and width of the patch; 95 in N4.
        kernel_sizes: Of the convolutions.
        channels: Of the convolutions.
        hidden_channels: Of the first fully connected layer.
        chunk: Patches that are classified at a time in mode "patches", which bounds the memory, also in training.

    Raises:
        ConfigError: If there is no such mode, or the patch doesn't come out even at each pooling.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mode: str = "convolutional",
        patch_size: int = 95,
        kernel_sizes: Sequence[int] = (4, 5, 4, 4),
        channels: int = 48,
        hidden_channels: int = 200,
        chunk: int = 256,
    ) -> None:
        super().__init__()
        if mode not in ("patches", "convolutional"):
            raise ConfigError(f"mode {mode!r} is neither patches nor convolutional; choose one of them")
        if chunk < 1:
            raise ConfigError(f"chunk {chunk} is no number of patches; use 1 or more, such as 256")
        self.mode, self.patch_size, self.chunk = mode, patch_size, chunk
        inputs = [3, *[channels] * len(kernel_sizes)]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, channels, size) for i, size in zip(inputs[:-1], kernel_sizes, strict=True)
        )
        self.hidden = nn.Conv2d(inputs[-1], hidden_channels, last_size(patch_size, kernel_sizes))
        self.classifier = nn.Conv2d(hidden_channels, num_classes, 1)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.05, 0.05)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W)."""
        larger = mirror(images, self.patch_size)  # (N, 3, H + 94, W + 94)
        if self.mode == "convolutional":
            return SegOutput(self.scores(larger, dense=True))
        count, _, height, width = images.shape
        pixels = torch.arange(count * height * width, device=images.device)
        logits = []
        for first in range(0, len(pixels), self.chunk):
            chunk = pixels[first : first + self.chunk]
            if torch.is_grad_enabled():  # keep the logits only, and cut and classify again in the backward pass
                logits.append(checkpoint(self.scores_at, larger, chunk, use_reentrant=False))
            else:
                logits.append(self.scores_at(larger, chunk))
        return SegOutput(torch.cat(logits).view(count, height, width, -1).permute(0, 3, 1, 2))

    def scores_at(self, larger: Tensor, pixels: Tensor) -> Tensor:
        """Classifies the patches around some pixels.

        Args:
            larger: (N, 3, H + patch_size - 1, W + patch_size - 1).
            pixels: int64 (M,), places in the flattened (N, H, W).

        Returns:
            (M, num_classes, 1, 1).
        """
        patches = larger.unfold(2, self.patch_size, 1).unfold(3, self.patch_size, 1)  # a view (N, 3, H, W, 95, 95)
        height, width = patches.shape[2:4]
        image, row, column = pixels // (height * width), pixels // width % height, pixels % width
        return self.scores(patches[image, :, row, column])  # of (M, 3, 95, 95)

    def scores(self, x: Tensor, *, dense: bool = False) -> Tensor:
        """Classifies patches, or all patches of an image.

        Args:
            x: (M, 3, h, w).
            dense: Whether poolings keep every place, and later layers read with holes.

        Returns:
            (M, num_classes, 1, 1) for patches; (M, num_classes, h - patch_size + 1, w - patch_size + 1) if dense.
        """
        rate = 1
        for conv in self.convs:
            x = scaled_tanh(F.conv2d(x, conv.weight, conv.bias, dilation=rate))  # type: ignore[arg-type]
            x = F.max_pool2d(x, 2, stride=1 if dense else 2, dilation=rate)
            rate *= 2 if dense else 1
        x = scaled_tanh(F.conv2d(x, self.hidden.weight, self.hidden.bias, dilation=rate))
        logits: Tensor = self.classifier(x)
        return logits


def last_size(patch_size: int, kernel_sizes: Sequence[int]) -> int:
    """The height and width of a patch's map after all convolutions and poolings.

    Raises:
        ConfigError: If a map is odd where it is pooled, or nothing is left.
    """
    size = patch_size
    for kernel in kernel_sizes:
        size -= kernel - 1
        if size < 2 or size % 2:
            smallest = 1
            for later in reversed(kernel_sizes):
                smallest = 2 * smallest + later - 1
            step = 2 ** len(kernel_sizes)
            near = smallest + max(0, round((patch_size - smallest) / step)) * step
            raise ConfigError(
                f"patch_size {patch_size} doesn't come out even at every pooling after kernel_sizes {list(kernel_sizes)}; "
                f"use {near} (or {smallest} and a multiple of {step})"
            )
        size //= 2
    return size


def mirror(images: Tensor, patch_size: int) -> Tensor:
    """Continues images (N, C, H, W) by their mirror images to (N, C, H + patch_size - 1, W + patch_size - 1)."""
    for axis in (2, 3):
        side = images.shape[axis]
        index = mirrored(-(patch_size // 2), side + patch_size - 1, side, images.device)
        images = images.index_select(axis, index)
    return images


def scaled_tanh(x: Tensor) -> Tensor:
    """LeCun's 1.7159 tanh(2 x / 3)."""
    return 1.7159 * torch.tanh(x * (2 / 3))
