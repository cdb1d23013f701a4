"""How the pixels that a tensor depends on follow from those of an operation's arguments, one rule for a kind of operation.

A rule sees one axis of the images at a time and integer tensors as `atrous.analysis.reach` describes them, in which a
tensor's dimension `d` is dimension `d + 1` and a union is a minimum.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NOTHING = 2**40  # first pixel, and minus the last one, of an element that depends on none
_MOST_ELEMENTS = 10**7  # of a noted tensor that is written out

Reaches = list[Tensor | None]


class Call:
    """One operation with its arguments.

    Args:
        func: Of `torch.ops.aten`.
        args: Its arguments.
        kwargs: Further ones.
        shapes: Of the tensors among both, in order.
        positions: Their values where only positions went into them.
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
        declared = func._schema.arguments
        self._arguments = {a.name: a.default_value for a in declared if a.has_default_value()}
        self._arguments |= dict(zip([a.name for a in declared], args, strict=False)) | kwargs

    def __getitem__(self, name: str) -> Any:
        return self._arguments[name]

    def get(self, name: str) -> Any:
        """An argument, None where the operation has none of the name."""
        return self._arguments.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._arguments

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


Rule = Callable[[Call, Reaches], Reaches | None]
_RULES: dict[str, Rule] = {}


def propagate(call: Call, reaches: Reaches) -> Reaches | None:
    """What the results depend on, one tensor each, None for a result that depends on nothing.

    Returns None where the operation is not known.
    """
    rule = _RULES.get(call.name)
    if rule is None and call.pointwise:
        rule = _union
    return None if rule is None else rule(call, reaches)


def everything(reaches: Reaches, dims: int) -> Tensor:
    """All that the tensors depend on, for each element of a tensor with so many dimensions."""
    first = torch.stack([reach.flatten(1).amin(1) for reach in reaches if reach is not None]).amin(0)
    return first.view(2, *[1] * dims)


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return add


def _of_first(names: str) -> Callable[[Callable[[Call, Tensor], Tensor | None]], Any]:
    """A rule for operations of one tensor: all results depend on the same."""

    def add(rule: Callable[[Call, Tensor], Tensor | None]) -> Any:
        def first(call: Call, reaches: Reaches) -> Reaches | None:
            if reaches[0] is None:
                return None
            found = rule(call, reaches[0])
            return None if found is None else [found] * len(call.outputs)

        _RULES.update(dict.fromkeys(names.split(), first))
        return rule

    return add


# Element by element


def _broadcast(reach: Tensor, dims: int) -> Tensor:
    """Puts dimensions of one before the tensor's own, as broadcasting does."""
    return reach.view(2, *[1] * (dims + 1 - reach.dim()), *reach.shape[1:])


@_rule(
    "clone", "copy", "detach", "alias", "contiguous", "lift_fresh", "_to_copy", "expand", "native_dropout", "where",
    "masked_fill", "dropout", "_conj", "expand_as", "gelu", "hardswish", "hardsigmoid", "hardtanh", "silu", "mish",
    "leaky_relu", "elu", "threshold", "prelu", "_prelu_kernel", "native_batch_norm", "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm", "_batch_norm_no_update", "lerp", "addcmul", "addcdiv", "clamp", "clamp_min", "clamp_max",
)  # fmt: skip
def _union(call: Call, reaches: Reaches) -> Reaches:
    dims = len(call.out)
    joined = _joined([_broadcast(reach, dims) for reach in reaches if reach is not None])
    return [joined if len(shape) == dims else None for shape in call.outputs]


def _joined(terms: Sequence[Tensor]) -> Tensor:
    """The union; of all elements where it would be too large, as the product of all tokens with all is before attention."""
    shape = torch.broadcast_shapes(*(term.shape for term in terms))  # type: ignore[no-untyped-call, unused-ignore]
    if math.prod(shape) > _MOST_ELEMENTS:
        return everything(list(terms), terms[0].dim() - 1)
    joined = functools.reduce(torch.minimum, terms)
    for dim in range(1, joined.dim()):  # tokens after attention are alike, which spares much
        if joined.shape[dim] > 1 and (joined == joined.narrow(dim, 0, 1)).all():
            joined = joined.narrow(dim, 0, 1)
    return joined


@_rule("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros", "new_ones",
       "new_empty", "new_full", "new_tensor", "bernoulli", "zero", "fill")  # fmt: skip
def _nothing(call: Call, reaches: Reaches) -> Reaches:
    return [None] * len(call.outputs)


# Other shapes of the same elements


@_of_first("view _unsafe_view reshape _reshape_alias squeeze unsqueeze flatten unflatten")
def _regroup(call: Call, reach: Tensor) -> Tensor | None:
    """Pairs the smallest groups of dimensions with as many elements; writes out only groups in which elements differ."""
    before, after = call.shape, call.out
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
        alike = all(size == 1 for size in reach.shape[1 + start_i : 1 + i])
        expand += [1] * (i - start_i) if alike else before[start_i:i]
        sizes += [1] * (j - start_j) if alike else after[start_j:j]
    if 2 * math.prod(expand) > _MOST_ELEMENTS:
        return None
    return reach.expand(2, *expand).reshape(2, *sizes)


@_of_first("permute transpose t numpy_T")
def _permute(call: Call, reach: Tensor) -> Tensor:
    dims = list(range(len(call.shape)))
    if call.name == "permute":
        dims = [dim % len(dims) for dim in call["dims"]]
    else:
        a, b = (call.dim("dim0"), call.dim("dim1")) if call.name == "transpose" else (0, len(dims) - 1)
        dims[a], dims[b] = dims[b], dims[a]
    return reach.permute(0, *(dim + 1 for dim in dims))


@_of_first("slice select narrow")
def _slice(call: Call, reach: Tensor) -> Tensor:
    dim = call.dim()
    alike = reach.shape[dim + 1] == 1
    if call.name == "select":
        return reach.select(dim + 1, 0 if alike else call["index"])
    if alike:
        return reach
    if call.name == "narrow":
        return reach.narrow(dim + 1, call["start"], call["length"])
    places = slice(call["start"], call["end"], call["step"])
    return reach.index_select(dim + 1, torch.arange(call.shape[dim])[places])


@_rule("split", "split_with_sizes", "chunk", "unbind", "unsafe_split", "unsafe_split_with_sizes")
def _split(call: Call, reaches: Reaches) -> Reaches | None:
    (reach,) = reaches[:1]
    if reach is None:
        return None
    dim, parts, start = call.dim(), [], 0
    for shape in call.outputs:
        length = 1 if call.name == "unbind" else shape[dim]
        part = reach if reach.shape[dim + 1] == 1 else reach.narrow(dim + 1, start, length)
        parts.append(part.squeeze(dim + 1) if call.name == "unbind" else part)
        start += length
    return list(parts)


@_rule("cat", "stack")
def _cat(call: Call, reaches: Reaches) -> Reaches:
    dims = len(call.out)
    dim = int(call["dim"]) % dims
    if call.name == "stack":
        reaches = [None if reach is None else reach.unsqueeze(dim + 1) for reach in reaches]
    present = [reach for reach in reaches if reach is not None]
    if call.name == "stack" or (all(reach.shape[dim + 1] == 1 for reach in present) and dim == 1):
        return [functools.reduce(torch.minimum, present)]  # channels are taken as alike
    sides = ((*reach.shape[: dim + 1], 1, *reach.shape[dim + 2 :]) for reach in present)
    others = torch.broadcast_shapes(*sides)  # type: ignore[no-untyped-call, unused-ignore]
    parts = []
    for reach, shape in zip(reaches, call.shapes, strict=True):
        whole = (*others[: dim + 1], shape[dim], *others[dim + 2 :])
        parts.append(torch.full(whole, NOTHING) if reach is None else reach.expand(whole))
    return [torch.cat(parts, dim + 1)]


@_of_first("roll flip")
def _moved(call: Call, reach: Tensor) -> Tensor:
    dims = [dim % len(call.shape) for dim in call["dims"]]
    if call.name == "flip":
        return reach.flip([dim + 1 for dim in dims])
    return reach.roll(list(call["shifts"]), [dim + 1 for dim in dims])


@_of_first("repeat")
def _repeat(call: Call, reach: Tensor) -> Tensor:
    reach = _broadcast(reach, len(call.out))
    return reach.repeat(1, *(n if size > 1 else 1 for n, size in zip(call["repeats"], reach.shape[1:], strict=True)))


@_of_first("unfold")
def _unfold(call: Call, reach: Tensor) -> Tensor:
    dim = int(call["dimension"]) % len(call.shape)
    return reach.unsqueeze(-1) if reach.shape[dim + 1] == 1 else reach.unfold(dim + 1, call["size"], call["step"])


# Sums over dimensions


def _reduced(reach: Tensor, dims: Sequence[int]) -> Tensor:
    return reach.amin([dim + 1 for dim in dims], keepdim=True) if dims else reach


@_of_first(
    "sum mean amax amin max min var std prod logsumexp argmax argmin any all norm linalg_vector_norm var_mean median"
)
def _reduce(call: Call, reach: Tensor) -> Tensor:
    dims = len(call.shape)
    given = call.get("dim")
    over = range(dims) if given is None or given == [] else [given] if isinstance(given, int) else given
    over = [dim % max(1, dims) for dim in over]
    found = _reduced(reach, over)
    kept = [1 + dim for dim in range(dims) if dim not in over or len(call.out) == dims]
    return found.reshape(2, *(found.shape[dim] for dim in kept))


@_of_first("_softmax _safe_softmax _log_softmax softmax cumsum")
def _along(call: Call, reach: Tensor) -> Tensor:
    return _reduced(reach, [call.dim()])


@_of_first("native_layer_norm native_group_norm _fused_rms_norm rms_norm")
def _normalised(call: Call, reach: Tensor) -> Tensor | None:
    dims = len(call.shape)
    first = 1 if call.name == "native_group_norm" else dims - len(call["normalized_shape"])
    return _reduced(reach, range(first, dims))


@_rule("mm", "bmm", "addmm", "baddbmm", "linear")
def _product(call: Call, reaches: Reaches) -> Reaches:
    """Rows of the first matrix, columns of the second one."""
    dims = len(call.out)
    added = call.name in ("addmm", "baddbmm")
    terms = [_broadcast(reaches[0], dims)] if added and reaches[0] is not None else []
    left, right = reaches[added : added + 2]
    if left is not None:
        terms.append(_reduced(left, [left.dim() - 2]))
    if right is not None:
        terms.append(_reduced(right, [right.dim() - 3]))
    return [_joined(terms)]


@_rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_efficient_attention",
       "_scaled_dot_product_flash_attention", "_scaled_dot_product_fused_attention_overrideable")  # fmt: skip
def _attention(call: Call, reaches: Reaches) -> Reaches:
    query, *others = reaches[:3]
    terms = [] if query is None else [_reduced(query, [3])]
    terms += [_reduced(reach, [2, 3]) for reach in others if reach is not None]
    joined = _joined(terms)
    return [joined, *[None] * (len(call.outputs) - 1)]


# Windows: which places of the input each place of the output reads


def _take(reach: Tensor, dim: int, places: Tensor) -> Tensor:
    """Joins what the places read, int64 (length of the output, places), below 0 or beyond the end for none."""
    size = reach.shape[dim + 1]
    if size == 1:
        return reach
    outside = (places < 0) | (places >= size)
    padded = torch.cat([reach, torch.full_like(reach.narrow(dim + 1, 0, 1), NOTHING)], dim + 1)
    read = padded.index_select(dim + 1, places.masked_fill(outside, size).flatten())
    shape = (*reach.shape[: dim + 1], *places.shape, *reach.shape[dim + 2 :])
    return read.view(shape).amin(dim + 2)


def _take_both(call: Call, reach: Tensor, places: Callable[[int, int, int], Tensor]) -> Tensor:
    """`_take` along height and width, of which `places` has (axis, length before, length after)."""
    dims = len(call.shape)
    for axis in (0, 1):
        dim = dims - 2 + axis
        if reach.shape[dim + 1] > 1:
            reach = _take(reach, dim, places(axis, call.shape[dim], call.out[dim]))
    return reach


def _windows(length: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    return torch.arange(length)[:, None] * stride - padding + torch.arange(kernel) * dilation


@_rule("convolution", "_convolution", "conv2d", "cudnn_convolution", "mkldnn_convolution")
def _convolution(call: Call, reaches: Reaches) -> Reaches | None:
    reach, kernel = reaches[0], call.shapes[1][2:]
    if reach is None or any(other is not None for other in reaches[1:]) or len(kernel) != 2:
        return None
    stride, padding, dilation = (call.pair(name) for name in ("stride", "padding", "dilation"))
    transposed = "transposed" in call and call["transposed"]

    def places(axis: int, before: int, after: int) -> Tensor:
        if not transposed:
            return _windows(after, kernel[axis], stride[axis], padding[axis], dilation[axis])
        reached = torch.arange(after)[:, None] + padding[axis] - torch.arange(kernel[axis]) * dilation[axis]
        return torch.where(reached % stride[axis] == 0, reached.div(stride[axis], rounding_mode="floor"), -1)

    return [_take_both(call, reach, places)]


@_of_first("max_pool2d_with_indices max_pool2d avg_pool2d")
def _pool(call: Call, reach: Tensor) -> Tensor:
    kernel, padding = call.pair("kernel_size"), call.pair("padding")
    stride = call.pair("stride") if call["stride"] else kernel
    dilation = call.pair("dilation") if "dilation" in call else [1, 1]
    return _take_both(
        call, reach, lambda axis, _, after: _windows(after, kernel[axis], stride[axis], padding[axis], dilation[axis])
    )


@_of_first("_adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d")
def _adaptive_pool(call: Call, reach: Tensor) -> Tensor:
    def places(_: int, before: int, after: int) -> Tensor:
        cells = torch.arange(after)[:, None]
        first, end = cells * before // after, ((cells + 1) * before + after - 1) // after
        read = first + torch.arange(int((end - first).max()))
        return torch.where(read < end, read, -1)

    return _take_both(call, reach, places)


@_of_first("upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d")
def _interpolate(call: Call, reach: Tensor) -> Tensor:
    scales = [call["scales_h"], call["scales_w"]] if "scales_h" in call else call["scale_factors"] or [None, None]

    def places(axis: int, before: int, after: int) -> Tensor:
        aligned = "align_corners" in call and call["align_corners"]
        step = before / after if not scales[axis] else 1 / scales[axis]
        pixels = torch.arange(after, dtype=torch.float64)
        if "nearest" in call.name:
            return ((pixels + 0.5 * ("exact" in call.name)) * step).floor().long().clamp(max=before - 1)[:, None]
        step = (before - 1) / max(1, after - 1) if aligned else step
        source = pixels * step if aligned else (pixels + 0.5) * step - 0.5
        cubic = "bicubic" in call.name
        source = source if cubic else source.clamp(min=0)
        # A place between two pixels reads both, or four of a cubic; one on a pixel reads that alone.
        floor = source.floor().long()[:, None]
        read = floor + (torch.arange(-1, 3) if cubic else torch.arange(2))
        read = torch.where((source == source.floor())[:, None], floor, read)
        return read.clamp(0, before - 1)

    return _take_both(call, reach, places)


@_of_first("constant_pad_nd pad")
def _pad(call: Call, reach: Tensor) -> Tensor:
    dims = len(call.shape)
    for i, before in enumerate(call["pad"][::2]):
        dim = dims - 1 - i
        reach = _take(reach, dim, torch.arange(call.out[dim])[:, None] - before)
    return reach


@_of_first("reflection_pad2d replication_pad2d")
def _continued(call: Call, reach: Tensor) -> Tensor:
    left, right, top, bottom = call["padding"]
    mode = "reflect" if call.name == "reflection_pad2d" else "replicate"
    sides = ((top, bottom), (left, right))
    return _take_both(
        call,
        reach,
        lambda axis, before, _: F.pad(torch.arange(before)[None, None].double(), sides[axis], mode).long()[0, 0][
            :, None
        ],
    )


@_rule("max_unpool2d")
def _unpool(call: Call, reaches: Reaches) -> Reaches:
    """A value goes somewhere into the window that it was taken from, where its index says."""
    joined = functools.reduce(torch.minimum, [reach for reach in reaches if reach is not None])
    return [_take_both(call, joined, lambda _, before, after: (torch.arange(after) * before // after)[:, None])]


@_of_first("pixel_shuffle")
def _shuffle(call: Call, reach: Tensor) -> Tensor:
    factor = call["upscale_factor"]
    return _take_both(call, reach, lambda _, before, after: torch.arange(after)[:, None] // factor)


@_of_first("pixel_unshuffle")
def _unshuffle(call: Call, reach: Tensor) -> Tensor:
    factor = call["downscale_factor"]
    return _take_both(call, reach, lambda _, before, after: _windows(after, factor, factor, 0, 1))


# Chosen by index


@_rule("index_select")
def _index_select(call: Call, reaches: Reaches) -> Reaches:
    reach, dim = reaches[0], call.dim()
    if reach is None or reaches[1] is not None:
        return [everything(reaches, len(call.out))]
    if reach.shape[dim + 1] == 1:
        return [reach]
    if call.positions[1] is None:
        return [_reduced(reach, [dim])]
    return [reach.index_select(dim + 1, call.positions[1])]


@_rule("index")
def _index(call: Call, reaches: Reaches) -> Reaches | None:
    """Indexing by tensors of positions; written out, since the indexed dimensions may come to stand elsewhere."""
    reach, given = reaches[0], iter(call.positions[1:])
    indices = [None if index is None else next(given) for index in call["indices"]]
    absent = sum(index is None for index in call["indices"]) != sum(index is None for index in indices)
    if reach is None or any(other is not None for other in reaches[1:]) or absent:
        return None
    if 2 * math.prod(call.out) > _MOST_ELEMENTS:
        return None
    places = tuple(slice(None) if index is None else index for index in indices)
    written = [part.expand(call.shape)[places] for part in reach]
    return [torch.stack(written)]
