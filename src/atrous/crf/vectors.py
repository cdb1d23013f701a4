"""Eight float32 as one value in code that numba compiles: it then takes one or two of the processor's instructions.

Left to itself LLVM finds no vectors in such code, since it can't know that the arrays do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba import types  # type: ignore[import-untyped, unused-ignore]
from numba.core import cgutils  # type: ignore[import-untyped, unused-ignore]
from numba.extending import intrinsic, models, register_model  # type: ignore[import-untyped, unused-ignore]
from numba.np.arrayobj import make_array  # type: ignore[import-untyped, unused-ignore]

LANES = 8
_FUSED = ("contract", "nsz")  # a product and a sum may become one instruction
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)


class VectorType(types.Type):  # type: ignore[misc, unused-ignore]
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")  # type: ignore[no-untyped-call, unused-ignore]


VECTOR = VectorType()


@register_model(VectorType)
class _Model(models.PrimitiveModel):  # type: ignore[misc, unused-ignore]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _FLOATS)  # type: ignore[no-untyped-call, unused-ignore]


def _instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function for compiled code, from one of numba's types that gives a signature and a generator of LLVM's code."""
    numba_intrinsic: Any = intrinsic
    made: Callable[..., Any] = numba_intrinsic(function)
    return made


def _code(result: Any, generate: Callable[..., Any]) -> Callable[..., Any]:
    """A signature of any arguments, and code from (context, builder, types, values)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return generate(context, builder, signature.args, arguments)

    return lambda *arguments: (result(*arguments), codegen)


@_instruction
def load(typing_context: Any, array: Any, row: Any, block: Any) -> Any:
    """array[row, block] of a contiguous float32 (rows, blocks, 8)."""

    def generate(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        return builder.load(_pointer(context, builder, kinds, values), align=4)

    return _code(VECTOR, generate)(array, row, block)


@_instruction
def store(typing_context: Any, array: Any, row: Any, block: Any, value: Any) -> Any:
    """array[row, block] = value."""

    def generate(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        builder.store(values[3], _pointer(context, builder, kinds, values), align=4)
        return context.get_dummy_value()

    return _code(types.void, generate)(array, row, block, value)


@_instruction
def add(typing_context: Any, x: Any, factor: Any, y: Any) -> Any:
    """x + factor * y, the factor a number."""

    def generate(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        product = builder.fmul(_everywhere(builder, values[1]), values[2], flags=_FUSED)
        return builder.fadd(values[0], product, flags=_FUSED)

    return _code(VECTOR, generate)(x, types.float32, y)


@_instruction
def times(typing_context: Any, factor: Any, x: Any) -> Any:
    """factor * x, the factor a number."""

    def generate(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        return builder.fmul(_everywhere(builder, values[0]), values[1])

    return _code(VECTOR, generate)(types.float32, x)


@_instruction
def larger(typing_context: Any, x: Any, y: Any) -> Any:
    """The larger of each pair."""

    def generate(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        return _larger(builder, *values)

    return _code(VECTOR, generate)(x, y)


@_instruction
def largest(typing_context: Any, x: Any) -> Any:
    """The largest of the eight."""

    def generate(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        return _folded(builder, values[0], _larger)

    return _code(types.float32, generate)(x)


@_instruction
def total(typing_context: Any, x: Any) -> Any:
    """The sum of the eight."""

    def generate(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        return _folded(builder, values[0], lambda builder, a, b: builder.fadd(a, b))

    return _code(types.float32, generate)(x)


@_instruction
def exp_below(typing_context: Any, x: Any, highest: Any) -> Any:
    """exp(x - highest) for x <= highest to 2e-7 of itself; e^-87 where it is smaller.

    The polynomial of Cephes' expf, Moshier, https://www.netlib.org/cephes/.
    """

    def generate(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        def constant(value: float) -> Any:
            return ir.Constant(_FLOATS, [value] * LANES)

        def integers(value: int) -> Any:
            return ir.Constant(_INTS, [value] * LANES)

        def fused(a: Any, b: Any, c: Any) -> Any:
            return builder.fadd(builder.fmul(a, b, flags=_FUSED), c, flags=_FUSED)

        x = builder.fsub(values[0], _everywhere(builder, values[1]))
        x = _larger(builder, x, constant(-87.0))
        power = builder.fptosi(fused(x, constant(1.44269504088896341), constant(-0.5)), _INTS)  # towards 0: the nearest
        whole = builder.sitofp(power, _FLOATS)
        x = fused(whole, constant(-0.693359375), x)  # ln 2 in two parts
        x = fused(whole, constant(2.12194440e-4), x)
        y = constant(1.9875691500e-4)
        for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1, 1):
            y = fused(y, x, constant(coefficient))
        bits = builder.shl(builder.add(power, integers(127)), integers(23))
        return builder.fmul(y, builder.bitcast(bits, _FLOATS))

    return _code(VECTOR, generate)(x, types.float32)


def _pointer(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
    """Of the vector at [row, block]; indices are not negative."""
    array = make_array(kinds[0])(context, builder, values[0])  # type: ignore[no-untyped-call, unused-ignore]
    wide = ir.IntType(64)
    row, block = (
        context.cast(builder, value, kind, types.intp) for value, kind in zip(values[1:3], kinds[1:3], strict=True)
    )
    blocks = cgutils.unpack_tuple(builder, array.shape, 3)[1]  # type: ignore[no-untyped-call, unused-ignore]
    index = builder.mul(builder.add(builder.mul(row, blocks), block), ir.Constant(wide, LANES))
    return builder.bitcast(builder.gep(array.data, [index]), _FLOATS.as_pointer())


def _everywhere(builder: Any, value: Any) -> Any:
    lanes = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(lanes, lanes, ir.Constant(_INTS, [0] * LANES))


def _larger(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


def _folded(builder: Any, x: Any, combine: Callable[..., Any]) -> Any:
    """Combines halves until one number is left."""
    size = LANES
    while size > 1:
        size //= 2
        index = ir.Constant(_INTS, [(lane + size) % LANES for lane in range(LANES)])
        x = combine(builder, x, builder.shuffle_vector(x, x, index))
    return builder.extract_element(x, ir.Constant(ir.IntType(32), 0))
