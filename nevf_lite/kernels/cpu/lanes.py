"""A SIMD vector of sixteen floats, as a type for code that Numba compiles.

LLVM vectorises simple loops by itself, but not loops that write several arrays at variable offsets.
With this type such a loop is explicit: `load` sixteen neighbours, multiply, add, `store`. The type
is one register with AVX-512, two with AVX2, four on ARM.
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
    """Numba's type of sixteen floats, for compiled code only."""

    def __init__(self) -> None:
        super().__init__(name="Lanes16")


LANES = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, type_) -> None:
        super().__init__(manager, type_, _VECTOR)


def _pointer(context, builder, signature, arguments):
    """The address of element `index` of a flat array, as a pointer to sixteen floats."""
    array = make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _VECTOR.as_pointer())


@intrinsic
def load(_, array, index):
    """Lanes from array[index : index + 16].

    array: float32, flat, contiguous; bounds are not checked.
    """

    def codegen(context, builder, signature, arguments):
        return builder.load(_pointer(context, builder, signature, arguments), align=4)

    return LANES(array, types.intp), codegen


@intrinsic
def store(_, array, index, value):
    """Writes lanes to array[index : index + 16]; bounds are not checked."""

    def codegen(context, builder, signature, arguments):
        builder.store(arguments[2], _pointer(context, builder, signature, arguments), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def splat(_, number):
    """The same number in all lanes."""

    def codegen(context, builder, signature, arguments):
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], _index(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), COUNT), [0] * COUNT)
        return builder.shuffle_vector(first, first, zeros)

    return LANES(types.float32), codegen


@intrinsic
def extract(_, value, lane):
    """The number in one lane."""

    def codegen(context, builder, signature, arguments):
        lane = builder.trunc(arguments[1], ir.IntType(32))
        return builder.extract_element(arguments[0], lane)

    return types.float32(value, types.intp), codegen


@intrinsic
def equals(_, a, b):
    """1 in the lanes where a == b, 0 elsewhere."""

    def codegen(context, builder, signature, arguments):
        equal = builder.fcmp_ordered("==", *arguments)
        return builder.select(equal, _constant(1), _constant(0))

    return LANES(a, b), codegen


def _unary(name):
    """The LLVM intrinsic `name`, which maps lanes to lanes."""

    @intrinsic
    def function(_, a):
        def codegen(context, builder, signature, arguments):
            function_type = ir.FunctionType(_VECTOR, [_VECTOR])
            callee = cgutils.get_or_insert_function(
                builder.module, function_type, f"llvm.{name}.v16f32"
            )
            return builder.call(callee, arguments)

        return LANES(a), codegen

    return function


floor, absolute = _unary("floor"), _unary("fabs")


def _reduction(name):
    """The LLVM reduction `name`, which maps lanes without NaN to one number."""

    @intrinsic
    def function(_, a):
        def codegen(context, builder, signature, arguments):
            function_type = ir.FunctionType(ir.FloatType(), [_VECTOR])
            full_name = f"llvm.vector.reduce.{name}.v16f32"
            callee = cgutils.get_or_insert_function(builder.module, function_type, full_name)
            # without "nnan" LLVM reduces one lane after the other
            return builder.call(callee, arguments, fastmath=("nnan", "nsz"))

        return types.float32(a), codegen

    return function


smallest, largest = _reduction("fmin"), _reduction("fmax")


@intrinsic
def fma(_, a, b, c):
    """a * b + c, fused: rounded once, after the addition."""

    def codegen(context, builder, signature, arguments):
        function_type = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        callee = cgutils.get_or_insert_function(builder.module, function_type, "llvm.fma.v16f32")
        return builder.call(callee, arguments)

    return LANES(a, b, c), codegen


def _binary(emit):
    """An intrinsic of two lanes; emit(builder, a, b) writes its instructions."""

    @intrinsic
    def function(_, a, b):
        def codegen(context, builder, signature, arguments):
            return emit(builder, *arguments)

        return LANES(a, b), codegen

    return function


_add = _binary(lambda builder, a, b: builder.fadd(a, b, flags=_FLAGS))
_subtract = _binary(lambda builder, a, b: builder.fsub(a, b, flags=_FLAGS))
_multiply = _binary(lambda builder, a, b: builder.fmul(a, b, flags=_FLAGS))
#: The larger of each pair, b where either is NaN.
larger = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


def _overload_operator(symbol, function) -> None:
    """Makes an operator of Python's, such as operator.add, work on lanes."""

    @overload(symbol)
    def implementation(a, b):
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: function(a, b)


for _symbol, _function in (
    (operator.add, _add),
    (operator.sub, _subtract),
    (operator.mul, _multiply),
):
    _overload_operator(_symbol, _function)


def _constant(number: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [float(number)] * COUNT)


def _index(n: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), n)
