"""One operation that a tracer meets, and what its rules have in common.

A rule sees one axis of the images at a time. What it knows of a tensor is its extent: an integer tensor [first, -last] of the
pixels that each element depends on, and then the tensor's own dimensions, each as long as the tensor's or 1 where all elements
along it are alike. So the tensor's dimension `d` is the extent's `d + 1`, and a union is a minimum.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from atrous.system.private import schema, tree_flatten

NOTHING = 2**40  # first pixel, and minus the last one, of an element that depends on none
MOST_ELEMENTS = 10**7  # of an extent that is written out

Extents = list[Tensor | None]  # None: depends on no pixel
Rule = Callable[["Operation", Extents], Extents | None]  # None: the operation can't be followed
RuleOfOne = Callable[["Operation", Tensor], Tensor | None]


class Operation:
    """One operation with its arguments.

    Args:
        func: Of `torch.ops.aten`.
        args: Its arguments.
        kwargs: Further ones.
        shapes: Of the tensors among both, in order.
        positions: Their values where no pixel went into them.
        outputs: Shapes of the results.
    """

    def __init__(
        self,
        func: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        shapes: list[tuple[int, ...]],
        positions: list[Tensor | None],
        outputs: list[tuple[int, ...]],
    ) -> None:
        self.name = str(func.overloadpacket.__name__).rstrip("_")
        self.pointwise = torch.Tag.pointwise in func.tags
        self.shapes, self.positions, self.outputs = shapes, positions, outputs
        self._func, self._args, self._kwargs = func, args, kwargs
        declared = schema(func).arguments
        self._arguments = {a.name: a.default_value for a in declared if a.has_default_value()}
        self._arguments |= dict(zip([a.name for a in declared], args, strict=False)) | kwargs

    def __getitem__(self, name: str) -> Any:
        return self._arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or the default where the operation has none of the name."""
        return self._arguments.get(name, default)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first tensor."""
        return self.shapes[0]

    @property
    def out(self) -> tuple[int, ...]:
        """Of the first result."""
        return self.outputs[0]

    def dim(self, name: str = "dim") -> int:
        """A dimension, counted from the front."""
        return int(self[name]) % max(1, len(self.shape))

    def pair(self, name: str) -> list[int]:
        """A vertical and a horizontal value, of which torch may be given one for both."""
        value = self[name]
        values = [value] if isinstance(value, int) else list(value)
        return values * 2 if len(values) == 1 else values

    def on(self, tensor: Tensor) -> list[Tensor]:
        """The results with another tensor as the first argument."""
        return list(tree_flatten(self._func(tensor, *self._args[1:], **self._kwargs))[0])


def by_name(table: dict[str, Rule]) -> dict[str, Rule]:
    """A table of rules whose keys are several names each, as one whose keys are single."""
    return {name: rule for names, rule in table.items() for name in names.split()}


def of_first(rule: RuleOfOne) -> Rule:
    """A rule for operations all of whose results depend on their first tensor, and alike."""

    def apply(op: Operation, extents: Extents) -> Extents | None:
        found = None if extents[0] is None else rule(op, extents[0])
        return None if found is None else [found] * len(op.outputs)

    return apply


def everything(extents: Extents, dims: int) -> Tensor:
    """All that the tensors depend on, for each element of a tensor with so many dimensions."""
    first = torch.stack([extent.flatten(1).amin(1) for extent in extents if extent is not None]).amin(0)
    return first.view(2, *[1] * dims)


def broadcast(extent: Tensor, dims: int) -> Tensor:
    """Puts dimensions of one before the tensor's own, as broadcasting does."""
    return extent.view(2, *[1] * (dims + 1 - extent.dim()), *extent.shape[1:])


def joined(terms: Sequence[Tensor]) -> Tensor:
    """The union; of all elements where it would be too large, as the product of all tokens with all is before attention."""
    shape = torch.broadcast_shapes(*(term.shape for term in terms))  # type: ignore[no-untyped-call, unused-ignore]
    if math.prod(shape) > MOST_ELEMENTS:
        return everything(list(terms), terms[0].dim() - 1)
    union = functools.reduce(torch.minimum, terms)
    for dim in range(1, union.dim()):  # tokens after attention are alike, which spares much
        if union.shape[dim] > 1 and (union == union.narrow(dim, 0, 1)).all():
            union = union.narrow(dim, 0, 1)
    return union


def over(extent: Tensor, dims: Sequence[int]) -> Tensor:
    """The union over dimensions of the tensor, which are kept as 1."""
    return extent.amin([dim + 1 for dim in dims], keepdim=True) if dims else extent
