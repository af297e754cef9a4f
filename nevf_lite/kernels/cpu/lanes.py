"""Sixteen floats that the processor handles as one, as a type that compiled code can compute with.

LLVM turns simple loops into such instructions by itself, but gives up where several arrays are
written at moving offsets. With this type a loop says it: `load` sixteen neighbours, multiply, add,
`store`. It becomes one register with AVX-512, two with AVX2, four on ARM.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model
from numba.np.arrayobj import make_array

COUNT = 16
_VECTOR = ir.VectorType(ir.FloatType(), COUNT)
_FLAGS = ("contract", "nsz", "reassoc")


class Lanes(types.Type):
    """Numba's type of sixteen floats; exists in compiled code alone."""

    def __init__(self) -> None:
        super().__init__(name="Lanes16")


LANES = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, type_) -> None:
        super().__init__(manager, type_, _VECTOR)


def _pointer(context, builder, signature, arguments):
    """Where element `index` of a flat array is, as the address of sixteen floats."""
    array = make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _VECTOR.as_pointer())


@intrinsic
def load(_, array, index):
    """Lanes from array[index : index + 16], a contiguous flat float32 array; bounds unchecked."""

    def code(context, builder, signature, arguments):
        return builder.load(_pointer(context, builder, signature, arguments), align=4)

    return LANES(array, types.intp), code


@intrinsic
def store(_, array, index, value):
    """Writes lanes to array[index : index + 16]."""

    def code(context, builder, signature, arguments):
        builder.store(arguments[2], _pointer(context, builder, signature, arguments), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), code


@intrinsic
def splat(_, number):
    """The same number in all lanes."""

    def code(context, builder, signature, arguments):
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), arguments[0], _index(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), COUNT), [0] * COUNT)
        return builder.shuffle_vector(one, one, zeros)

    return LANES(types.float32), code


@intrinsic
def extract(_, value, lane):
    """The number in one lane."""

    def code(context, builder, signature, arguments):
        lane = builder.trunc(arguments[1], ir.IntType(32))
        return builder.extract_element(arguments[0], lane)

    return types.float32(value, types.intp), code


@intrinsic
def equals(_, a, b):
    """1 in the lanes where a == b, 0 elsewhere."""

    def code(context, builder, signature, arguments):
        same = builder.fcmp_ordered("==", *arguments)
        return builder.select(same, _constant(1), _constant(0))

    return LANES(a, b), code


def _unary(name):
    """An intrinsic of LLVM's that maps lanes to lanes."""

    @intrinsic
    def function(_, a):
        def code(context, builder, signature, arguments):
            kind = ir.FunctionType(_VECTOR, [_VECTOR])
            callee = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v16f32")
            return builder.call(callee, arguments)

        return LANES(a), code

    return function


floor, absolute = _unary("floor"), _unary("fabs")


def _reduction(name):
    """An intrinsic of LLVM's that maps lanes, none of them NaN, to one number."""

    @intrinsic
    def function(_, a):
        def code(context, builder, signature, arguments):
            kind = ir.FunctionType(ir.FloatType(), [_VECTOR])
            full_name = f"llvm.vector.reduce.{name}.v16f32"
            callee = cgutils.get_or_insert_function(builder.module, kind, full_name)
            # without the flag LLVM looks at one lane after the other
            return builder.call(callee, arguments, fastmath=("nnan", "nsz"))

        return types.float32(a), code

    return function


smallest, largest = _reduction("fmin"), _reduction("fmax")


@intrinsic
def fused(_, a, b, c):
    """a * b + c, rounded once: what the product would lose to rounding is kept."""

    def code(context, builder, signature, arguments):
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        callee = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32")
        return builder.call(callee, arguments)

    return LANES(a, b, c), code


def _binary(emit):
    @intrinsic
    def function(_, a, b):
        def code(context, builder, signature, arguments):
            return emit(builder, *arguments)

        return LANES(a, b), code

    return function


_add = _binary(lambda builder, a, b: builder.fadd(a, b, flags=_FLAGS))
_subtract = _binary(lambda builder, a, b: builder.fsub(a, b, flags=_FLAGS))
_multiply = _binary(lambda builder, a, b: builder.fmul(a, b, flags=_FLAGS))
#: The larger of each pair; the second where the first is not a number.
larger = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
smaller = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))


def _operator(symbol, function) -> None:
    @overload(symbol)
    def implementation(a, b):
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: function(a, b)


for _symbol, _function in (
    (operator.add, _add),
    (operator.sub, _subtract),
    (operator.mul, _multiply),
):
    _operator(_symbol, _function)


def _constant(number: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [float(number)] * COUNT)


def _index(n: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), n)
