"""The theoretical receptive field of every part of a network: how far apart the pixels lie that an output depends on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from atrous.analysis.tracer import ReceptiveFieldTracer
from atrous.errors import ConfigError
from atrous.layers.aspp import ASPP
from atrous.layers.meta_copy import to_meta_copy

# Pixels of the image's side, each tried where the one before is too small to tell: a field is told up to half of it, and
# the whole image from the second on.
_SIZES = (1024, 4096, 16384)
_LONGEST_PERIOD = 64  # places of a map


@dataclass(frozen=True)
class Part:
    """What one map of a network sees.

    Args:
        name: Of the module that returns it, with the number of the map behind it where there are several.
        channels: Of the map.
        stride: Pixels from one place of the map to the next, vertically and horizontally.
        field: Height and width in pixels from the first to the last that a place depends on, the largest of all places away
            from the border. None is the whole image, as after a global pooling or attention, or more than 8192 pixels.
    """

    name: str
    channels: int
    stride: tuple[float, float]
    field: tuple[int | None, int | None]


@dataclass(frozen=True)
class Fields:
    """The parts in the order in which they are computed, the logits last.

    Args:
        parts: The fields.
        unknown: Operations that are not known, whose results were taken to depend on all that goes in.
    """

    parts: list[Part]
    unknown: list[str]

    def __getitem__(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)


def receptive_fields(model: nn.Module) -> Fields:
    """Follows an image through a network in evaluation.

    Args:
        model: Takes images (N, 3, H, W) and returns a SegOutput or any nesting of tensors.

    Returns:
        A field for each map that a child of the model returns, each branch of an ASPP, the logits and the auxiliary logits.

    Raises:
        ConfigError: If the network can't run without data.
    """
    copy = to_meta_copy(model)
    named = dict(_named(copy))
    for size in _SIZES:
        images = torch.empty(1, 3, size, size, device="meta")
        tracer = ReceptiveFieldTracer(images)
        found: dict[str, _Seen] = {}
        hooks = [module.register_forward_hook(_recorder(name, tracer, found)) for name, module in named.items()]
        try:
            with torch.no_grad(), nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH), tracer:
                output = copy(images)
        except (NotImplementedError, RuntimeError) as error:
            raise ConfigError(
                f"the receptive field of {type(model).__name__} can't be followed: it doesn't run without data "
                f"({str(error).splitlines()[0]}). Analyse a network whose operations don't ask for pixels' values."
            ) from None
        finally:
            for hook in hooks:
                hook.remove()
        logits = getattr(output, "logits", output)
        for name, tensor in (("logits", logits), *((f"aux[{i}]", x) for i, x in enumerate(getattr(output, "aux", ())))):
            _record(name, tensor, tracer, found)
        if all(seen.decided for seen in found.values()):
            break
    order = [name for name in found if name != "logits"] + ["logits"] * ("logits" in found)
    return Fields([found[name].part(name) for name in order], sorted(tracer.unknown))


@dataclass(frozen=True)
class _Seen:
    """What is known of a map: the extents along its rows and along its columns, (2, h) and (2, w)."""

    channels: int
    size: int
    extents: tuple[Tensor, Tensor]

    @property
    def decided(self) -> bool:
        """Whether a larger image would tell no more."""
        return all(field or (whole and self.size > _SIZES[0]) for field, whole in map(self._field, self.extents))

    def _field(self, extent: Tensor) -> tuple[int | None, bool]:
        """The largest field away from the border, None where it takes up half the image; whether the first place sees all."""
        first, last = extent[0], -extent[1]
        whole = bool(first[0] <= 0 and last[0] >= self.size - 1)
        inside = (first > 0) & (last < self.size - 1) & (first <= last)
        if not inside.any():
            return None, whole
        field = int((last - first + 1)[inside].max())
        return (field if field <= self.size // 2 else None), whole

    def part(self, name: str) -> Part:
        height, width = (self._field(extent)[0] for extent in self.extents)
        return Part(
            name, self.channels, (self._stride(self.extents[0]), self._stride(self.extents[1])), (height, width)
        )

    def _stride(self, extent: Tensor) -> float:
        """How far the fields' centres move from place to place; a map without padding is smaller than its stride says."""
        first, last = extent[0], -extent[1]
        centres = (first + last)[(first > 0) & (last < self.size - 1)] / 2
        # Some maps' fields move unevenly, such as those after a transposed convolution, but repeat after a few places.
        for period in range(1, min(_LONGEST_PERIOD, len(centres) - 1) + 1):
            moved = centres[period:] - centres[:-period]
            if (moved == moved[0]).all():
                return round(float(moved[0]) / period, 1)
        return self.size / extent.shape[1]


def _recorder(name: str, tracer: ReceptiveFieldTracer, found: dict[str, _Seen]) -> Any:
    def record(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            _record(name, output, tracer, found)
        elif isinstance(output, list | tuple):
            for index, item in enumerate(output):
                _record(f"{name}[{index}]", item, tracer, found)

    return record


def _record(name: str, tensor: Any, tracer: ReceptiveFieldTracer, found: dict[str, _Seen]) -> None:
    """Keeps the first call of each module: DeepLabv2 runs its encoder at several scales, the image's own first."""
    if not isinstance(tensor, Tensor) or tensor.dim() != 4 or name in found:
        return
    extents = tracer.of(tensor)
    if extents is None:
        return
    rows, columns = extents
    height, width = tensor.shape[-2:]
    found[name] = _Seen(
        channels=tensor.shape[1],
        size=tracer.size,
        extents=(
            _line(rows, 3, height),
            _line(columns, 4, width),
        ),
    )


def _line(extent: Tensor, dim: int, length: int) -> Tensor:
    """An extent along one dimension, in the middle of the others."""
    for other in range(1, 5):
        if other != dim:
            extent = extent.narrow(other, extent.shape[other] // 2, 1)
    return extent.flatten(1).expand(2, length)


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children of a network, lists of modules taken apart, and the branches of an ASPP."""

    def below(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        for name, child in module.named_children():
            path = f"{prefix}{name}"
            if isinstance(child, nn.ModuleList | nn.ModuleDict):
                yield from below(child, f"{path}.")
                continue
            if isinstance(child, ASPP):
                yield from below(child, f"{path}.")
            yield path, child

    yield from below(model, "")
