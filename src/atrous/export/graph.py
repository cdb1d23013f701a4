"""The whole of a prediction as one graph: pixels in, labels out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F

from atrous.errors import ConfigError

DIMENSIONS = ("batch", "height", "width")
Range = tuple[int, int | None]  # smallest and largest, None for no end


class PixelsToLabels(nn.Module):
    """Normalises, runs the network, resizes its logits to the image and takes the likeliest class.

    Args:
        model: (N, 3, H, W) -> SegOutput, at float32.
        mean: Mean per RGB channel, in 0 to 1.
        std: Standard deviation per RGB channel, in 0 to 1.
        probabilities: Whether the softmax at the image's size comes as a third result.
    """

    scale: Tensor  # (3, 1, 1)
    shift: Tensor

    def __init__(
        self, *, model: nn.Module, mean: Sequence[float], std: Sequence[float], probabilities: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.probabilities = probabilities
        # As `atrous.data.transforms.normalise` has it: one product and one difference, in float32.
        scale = [1 / (255 * s) for s in std]
        shift = [m / s for m, s in zip(mean, std, strict=True)]
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32).view(3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Labels images.

        Args:
            image: uint8 RGB (N, H, W, 3).

        Returns:
            Labels (N, H, W), uint8 up to 256 classes and int32 above; logits float32 (N, C, h, w) at the network's own
            size; if asked for, probabilities float32 (N, C, H, W).
        """
        pixels = image.permute(0, 3, 1, 2).to(torch.float32)  # (N, 3, H, W)
        logits = self.model(pixels * self.scale - self.shift).logits.float()  # (N, C, h, w)
        height, width = image.shape[1:3]
        scores = logits
        if not statically_known_true(logits.shape[2] == height) or not statically_known_true(logits.shape[3] == width):
            scores = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)  # (N, C, H, W)
        labels = scores.argmax(1).to(torch.uint8 if logits.shape[1] <= 256 else torch.int32)
        return (labels, logits, scores.softmax(1)) if self.probabilities else (labels, logits)


def output_names(net: PixelsToLabels) -> list[str]:
    return ["labels", "logits", "probabilities"][: 3 if net.probabilities else 2]


def trace(
    net: PixelsToLabels, size: tuple[int, int], *, fixed: bool = False
) -> tuple[ExportedProgram, dict[str, Range]]:
    """Follows the network on images of `size` into a program for as many other sizes as the network lets it.

    Where a network decides by an image's size what to do, the program holds what it did for the example, and takes images
    for which that is right.

    Args:
        net: In eval mode.
        size: (height, width) of the example.
        fixed: Make a program for images of `size` alone, in batches of any number.

    Returns:
        The program, and the sizes that it takes of `DIMENSIONS`; a fixed one's smallest and largest are equal.

    Raises:
        ConfigError: If torch can't make a program of the network.
    """
    example = torch.zeros(2, *size, 3, dtype=torch.uint8)  # torch takes a batch of one for a number, not for a size
    auto = dict.fromkeys(range(1 if fixed else 3), Dim.AUTO)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(net, (example,), dynamic_shapes=(auto,))
    except Exception as error:  # whatever the tracing of somebody's code raises
        reason = (str(error) or repr(error)).strip().splitlines()[0].rstrip(".")
        raise ConfigError(
            f"{type(net.model).__name__} can't be exported from an image of {size[0]} x {size[1]}: {reason}. Its forward "
            "decides by values or keeps Python objects; see https://pytorch.org/docs/stable/export.html, or try another "
            "size=[height,width]."
        ) from error
    return program, _taken(program, example.shape)


def _taken(program: ExportedProgram, example: Sequence[int]) -> dict[str, Range]:
    (node,) = [n for n in program.graph.nodes if n.op == "placeholder" and n.name == "image"]
    taken: dict[str, Range] = {}
    for name, side, traced in zip(DIMENSIONS, node.meta["val"].shape, example, strict=False):
        found = None if isinstance(side, int) else program.range_constraints.get(side.node.expr)
        if found is None:  # a number, or a multiple of one, of which only the example's is sure
            taken[name] = (traced, traced)
            continue
        # torch begins at 2 where it assumes nothing. A batch of one is among those that the export is checked on.
        smallest = 1 if name == "batch" and found.lower == 2 else int(found.lower)
        taken[name] = (smallest, int(found.upper) if found.upper.is_Integer else None)
    return taken
