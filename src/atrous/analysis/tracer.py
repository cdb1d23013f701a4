"""Which pixels each element of each tensor depends on, followed through every operation of a forward pass.

Araujo, Norris, Sim (2019) "Computing Receptive Fields of Convolutional Neural Networks", Distill,
https://distill.pub/2019/computing-receptive-fields/, derive the field of one path and take the union over several. Here the
first and the last pixel are carried along for each element, so that strides, holes, paddings, crops, odd sizes, uneven
scales and tokens need no case of their own. Nothing is computed: the network runs on the meta device, where size costs
nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from atrous.analysis.operation import Extents, Operation, everything
from atrous.analysis.rules import propagate
from atrous.system.private import TorchDispatchMode, schema, tree_flatten, tree_map, viewed

_MOST_POSITIONS = 10**7  # elements of an index tensor that is computed


class ReceptiveFieldTracer(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """While it is entered, follows which rows and columns of the images each tensor's elements depend on.

    It keeps two extents of a tensor, of the rows and of the columns (see `atrous.analysis.operation`). Channels are taken as
    alike. Of an operation that is not known, each result is taken to depend on all that the arguments depend on, and its name
    is added to `unknown`.

    Args:
        images: (N, C, H, W), on the meta device.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.unknown: set[str] = set()
        self._extents = WeakTensorKeyDictionary()
        # Of tensors that no pixel went into, which the meta device doesn't compute.
        self._positions = WeakTensorKeyDictionary()
        height, width = images.shape[-2:]
        self.size = height
        rows, columns = torch.arange(height), torch.arange(width)
        self._extents[images] = (
            torch.stack([rows, -rows]).view(2, 1, 1, -1, 1),
            torch.stack([columns, -columns]).view(2, 1, 1, 1, -1),
        )

    def of(self, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
        """The extents of its rows and columns; None of a tensor that depends on no pixel."""
        found: tuple[Tensor, Tensor] | None = self._extents.get(tensor)  # type: ignore[no-untyped-call, unused-ignore]
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        inputs = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        # Asked before the call, since an operation in place changes its argument.
        shapes = [tuple(x.shape) for x in inputs]
        extents = [self.of(x) for x in inputs]
        positions = [self._positions.get(x) for x in inputs]  # type: ignore[no-untyped-call, unused-ignore]
        results = func(*args, **kwargs)
        outputs = [x for x in tree_flatten(results)[0] if isinstance(x, Tensor)]
        if all(extent is None for extent in extents):
            self._compute(func, args, kwargs, positions, outputs)
            return results
        op = Operation(
            func, args, kwargs, shapes=shapes, positions=positions, outputs=[tuple(x.shape) for x in outputs]
        )
        of_rows = self._propagate(op, [None if extent is None else extent[0] for extent in extents])
        of_columns = self._propagate(op, [None if extent is None else extent[1] for extent in extents])
        for output, rows, columns in zip(outputs, of_rows, of_columns, strict=True):
            if rows is None or columns is None:
                continue
            self._extents[output] = (rows, columns)
            base = viewed(output)
            if schema(func).is_mutable and base is not None:
                self._written(base, rows, columns)
        return results

    def _propagate(self, op: Operation, extents: Extents) -> Extents:
        found = propagate(op, extents)
        if found is None:
            self.unknown.add(op.name)
            return [everything(extents, len(shape)) for shape in op.outputs]
        return found

    def _written(self, base: Tensor, rows: Tensor, columns: Tensor) -> None:
        """What was written into a view of a tensor is taken to lie anywhere in the tensor."""
        before = self.of(base) or (None, None)
        dims = base.dim()
        self._extents[base] = (everything([rows, before[0]], dims), everything([columns, before[1]], dims))

    def _compute(self, func: Any, args: Any, kwargs: Any, positions: list[Any], outputs: list[Tensor]) -> None:
        """Computes positions on the CPU, which later index the images."""
        known = all(position is not None for position in positions)
        if not known or len(outputs) != 1 or outputs[0].numel() > _MOST_POSITIONS or schema(func).is_mutable:
            return
        if not positions and func.overloadpacket.__name__ != "arange":
            return
        on_cpu = tree_map(lambda x: self._positions[x] if isinstance(x, Tensor) else x, args)
        options = {key: torch.device("cpu") if key == "device" else value for key, value in kwargs.items()}
        self._positions[outputs[0]] = func(*on_cpu, **options)
