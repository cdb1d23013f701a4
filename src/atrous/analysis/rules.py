"""What the results of element-wise operations, rearrangements, sums and products depend on; see `atrous.analysis.operation`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from atrous.analysis.operation import (
    MOST_ELEMENTS,
    NOTHING,
    Extents,
    Operation,
    broadcast,
    by_name,
    everything,
    joined,
    of_first,
    over,
)
from atrous.analysis.window_rules import WINDOW_RULES


def propagate(op: Operation, extents: Extents) -> Extents | None:
    """What the results depend on, one extent each; None where the operation is not known.

    Args:
        op: The operation.
        extents: Of its tensors, in order.
    """
    rule = RULES.get(op.name)
    if rule is None and op.pointwise:
        rule = _element_by_element
    return None if rule is None else rule(op, extents)


def _element_by_element(op: Operation, extents: Extents) -> Extents:
    dims = len(op.out)
    union = joined([broadcast(extent, dims) for extent in extents if extent is not None])
    return [union if len(shape) == dims else None for shape in op.outputs]


def _nothing(op: Operation, extents: Extents) -> Extents:
    return [None] * len(op.outputs)


def _view(op: Operation, extents: Extents) -> Extents | None:
    """Runs the operation on the extent itself, expanded without a copy; dimensions of stride 0 are alike afterwards."""
    if extents[0] is None:
        return None
    first, last = (op.on(part.expand(op.shape)) for part in extents[0])
    return [torch.stack([_compressed(part) for part in pair]) for pair in zip(first, last, strict=True)]


def _compressed(part: Tensor) -> Tensor:
    for dim, (size, stride) in enumerate(zip(part.shape, part.stride(), strict=True)):
        if size > 1 and stride == 0:
            part = part.narrow(dim, 0, 1)
    return part


def _moved(op: Operation, extent: Tensor) -> Tensor:
    """Runs the operation on the extent as it is, since a dimension along which all are alike stays so."""
    return torch.stack([op.on(part)[0] for part in extent])


def _regrouped(op: Operation, extent: Tensor) -> Tensor | None:
    """Pairs the smallest groups of dimensions with as many elements; writes out only groups in which elements differ."""
    before, after = op.shape, op.out
    sizes: list[int] = []
    expand: list[int] = []
    i = j = 0
    while i < len(before) or j < len(after):
        start_i, start_j = i, j
        old = new = 1
        if i < len(before):
            old, i = old * before[i], i + 1
        if j < len(after):
            new, j = new * after[j], j + 1
        while old != new:
            if old < new:
                old, i = old * before[i], i + 1
            else:
                new, j = new * after[j], j + 1
        alike = all(size == 1 for size in extent.shape[1 + start_i : 1 + i])
        expand += [1] * (i - start_i) if alike else before[start_i:i]
        sizes += [1] * (j - start_j) if alike else after[start_j:j]
    if 2 * math.prod(expand) > MOST_ELEMENTS:
        return None
    return extent.expand(2, *expand).reshape(2, *sizes)


def _concatenated(op: Operation, extents: Extents) -> Extents:
    dims = len(op.out)
    dim = int(op["dim"]) % dims
    if op.name == "stack":
        extents = [None if extent is None else extent.unsqueeze(dim + 1) for extent in extents]
    present = [extent for extent in extents if extent is not None]
    if op.name == "stack" or (all(extent.shape[dim + 1] == 1 for extent in present) and dim == 1):
        return [functools.reduce(torch.minimum, present)]  # channels are taken as alike
    sides = ((*extent.shape[: dim + 1], 1, *extent.shape[dim + 2 :]) for extent in present)
    others = torch.broadcast_shapes(*sides)  # type: ignore[no-untyped-call, unused-ignore]
    parts = []
    for extent, shape in zip(extents, op.shapes, strict=True):
        whole = (*others[: dim + 1], shape[dim], *others[dim + 2 :])
        parts.append(torch.full(whole, NOTHING) if extent is None else extent.expand(whole))
    return [torch.cat(parts, dim + 1)]


def _repeated(op: Operation, extent: Tensor) -> Tensor:
    extent = broadcast(extent, len(op.out))
    return extent.repeat(1, *(n if size > 1 else 1 for n, size in zip(op["repeats"], extent.shape[1:], strict=True)))


def _selected(op: Operation, extents: Extents) -> Extents:
    extent, dim = extents[0], op.dim()
    if extent is None or extents[1] is not None:
        return [everything(extents, len(op.out))]
    if extent.shape[dim + 1] == 1:
        return [extent]
    if op.positions[1] is None:
        return [over(extent, [dim])]
    return [extent.index_select(dim + 1, op.positions[1])]


def _indexed(op: Operation, extents: Extents) -> Extents | None:
    """Indexing by tensors of positions; written out, since the indexed dimensions may come to stand elsewhere."""
    extent, given = extents[0], iter(op.positions[1:])
    indices = [None if index is None else next(given) for index in op["indices"]]
    absent = sum(index is None for index in op["indices"]) != sum(index is None for index in indices)
    if extent is None or any(other is not None for other in extents[1:]) or absent:
        return None
    if 2 * math.prod(op.out) > MOST_ELEMENTS:
        return None
    places = tuple(slice(None) if index is None else index for index in indices)
    return [torch.stack([part.expand(op.shape)[places] for part in extent])]


def _summed(op: Operation, extent: Tensor) -> Tensor:
    dims, given = len(op.shape), op.get("dim")
    summed = range(dims) if given is None or given == [] else [given] if isinstance(given, int) else given
    summed = [dim % max(1, dims) for dim in summed]
    kept = [1 + dim for dim in range(dims) if dim not in summed or len(op.out) == dims]
    found = over(extent, summed)
    return found.reshape(2, *(found.shape[dim] for dim in kept))


def _normalised(first: Callable[[Operation], int]) -> Callable[[Operation, Tensor], Tensor]:
    return lambda op, extent: over(extent, range(first(op), len(op.shape)))


def _product(op: Operation, extents: Extents) -> Extents:
    """Rows of the first matrix, columns of the second one."""
    dims = len(op.out)
    added = op.name in ("addmm", "baddbmm")
    terms = [broadcast(extents[0], dims)] if added and extents[0] is not None else []
    left, right = extents[added : added + 2]
    if left is not None:
        terms.append(over(left, [left.dim() - 2]))
    if right is not None:
        terms.append(over(right, [right.dim() - 3]))
    return [joined(terms)]


def _attention(op: Operation, extents: Extents) -> Extents:
    query, *others = extents[:3]
    terms = [] if query is None else [over(query, [3])]
    terms += [over(extent, [2, 3]) for extent in others if extent is not None]
    return [joined(terms), *[None] * (len(op.outputs) - 1)]


RULES = WINDOW_RULES | by_name(
    {
        "clone copy detach alias contiguous lift_fresh _to_copy native_dropout where masked_fill dropout _conj expand_as gelu "
        "hardswish hardsigmoid hardtanh silu mish leaky_relu elu threshold prelu _prelu_kernel native_batch_norm "
        "_native_batch_norm_legit_no_training cudnn_batch_norm _batch_norm_no_update lerp addcmul addcdiv clamp clamp_min "
        "clamp_max": _element_by_element,
        "zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty new_full new_tensor "
        "bernoulli zero fill": _nothing,
        "permute transpose t numpy_T slice select narrow split split_with_sizes chunk unbind unsafe_split "
        "unsafe_split_with_sizes unfold squeeze unsqueeze expand": _view,
        "view _unsafe_view reshape _reshape_alias flatten unflatten": of_first(_regrouped),
        "roll flip": of_first(_moved),
        "repeat": of_first(_repeated),
        "cat stack": _concatenated,
        "index_select": _selected,
        "index": _indexed,
        "sum mean amax amin max min var std prod logsumexp argmax argmin any all norm linalg_vector_norm var_mean "
        "median": of_first(_summed),
        "_softmax _safe_softmax _log_softmax softmax cumsum": of_first(lambda op, extent: over(extent, [op.dim()])),
        "native_group_norm": of_first(_normalised(lambda op: 1)),
        "native_layer_norm _fused_rms_norm rms_norm": of_first(
            _normalised(lambda op: len(op.shape) - len(op["normalized_shape"]))
        ),
        "mm bmm addmm baddbmm linear": _product,
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention "
        "_scaled_dot_product_flash_attention _scaled_dot_product_fused_attention_overrideable": _attention,
    }
)
