"""SIMD vectors of four, eight or sixteen floats, as types for code that Numba compiles.

LLVM vectorises simple loops by itself, but not loops that write arrays at variable offsets. With
these types such a loop is explicit: `load` neighbours, multiply, add, `store`. A vector is one
register where the processor has registers that wide (sixteen floats with AVX-512, eight with AVX2,
four on ARM), and several registers elsewhere.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model
from numba.np.arrayobj import make_array

_FLAGS = ("contract", "nsz", "reassoc")
_INT = ir.IntType(32)


class Lanes(types.Type):
    """Numba's type of `count` floats, for compiled code only."""

    def __init__(self, count: int) -> None:
        super().__init__(name=f"Lanes{count}")
        self.count, self.vector = count, ir.VectorType(ir.FloatType(), count)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, type_) -> None:
        super().__init__(manager, type_, type_.vector)


_LANES = {count: Lanes(count) for count in (4, 8, 16)}


def _pointer(context, builder, array_type, array, index, lanes: Lanes):
    """The address of element `index` of a flat array, as a pointer to lanes."""
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), lanes.vector.as_pointer())


def _load(lanes: Lanes):
    @intrinsic
    def load(_, array, index):
        """Lanes from array[index] on. array: float32, flat, contiguous; bounds are not checked."""

        def codegen(context, builder, signature, arguments):
            pointer = _pointer(context, builder, signature.args[0], *arguments, lanes)
            return builder.load(pointer, align=4)

        return lanes(array, types.intp), codegen

    return load


@intrinsic
def store(_, array, index, value):
    """Writes lanes to array[index] on; bounds are not checked."""

    def codegen(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2], value)
        builder.store(arguments[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def prefetch(_, array, index):
    """Asks for array[index] to be brought into the cache; it may lie outside the array."""

    def codegen(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], *arguments, _LANES[4])
        number_types = [_INT] * 3  # for reading, as close as possible, data
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, *number_types])
        callee = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        builder.call(callee, [pointer, _INT(0), _INT(3), _INT(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _splat(lanes: Lanes):
    @intrinsic
    def splat(_, number):
        """The same number in all lanes."""

        def codegen(context, builder, signature, arguments):
            undefined = ir.Constant(lanes.vector, ir.Undefined)
            first = builder.insert_element(undefined, arguments[0], _INT(0))
            return _shuffle(builder, first, first, [0] * lanes.count)

        return lanes(types.float32), codegen

    return splat


load4, load8, load16 = map(_load, _LANES.values())
splat4, splat8, splat16 = map(_splat, _LANES.values())


def _shuffle(builder, a, b, order):
    """Lanes of a and b, counted through, in another order."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT, len(order)), list(order)))


@intrinsic
def pack(_, a, b, c, d):
    """Four lanes from four numbers."""

    def codegen(context, builder, signature, arguments):
        value = ir.Constant(_LANES[4].vector, ir.Undefined)
        for lane, number in enumerate(arguments):
            value = builder.insert_element(value, number, _INT(lane))
        return value

    return _LANES[4](*[types.float32] * 4), codegen


@intrinsic
def extract(_, value, lane):
    """The number in one lane."""

    def codegen(context, builder, signature, arguments):
        return builder.extract_element(arguments[0], builder.trunc(arguments[1], _INT))

    return types.float32(value, types.intp), codegen


def _half(first: int):
    @intrinsic
    def half(_, value):
        """Four of eight lanes."""

        def codegen(context, builder, signature, arguments):
            return _shuffle(builder, arguments[0], arguments[0], range(first, first + 4))

        return _LANES[4](value), codegen

    return half


lower_half, upper_half = _half(0), _half(4)


@intrinsic
def join(_, a, b):
    """Eight lanes from two times four."""

    def codegen(context, builder, signature, arguments):
        return _shuffle(builder, *arguments, range(8))

    return _LANES[8](a, b), codegen


@intrinsic
def sums(_, a, b, c):
    """The sum of the four lanes of a, of b and of c, and zero: four lanes."""

    def codegen(context, builder, signature, arguments):
        a, b, c = arguments
        zero = ir.Constant(a.type, [0.0] * 4)

        def add(x, y, first, second):
            parts = (_shuffle(builder, x, y, order) for order in (first, second))
            return builder.fadd(*parts, flags=_FLAGS)

        ab = add(a, b, (0, 4, 1, 5), (2, 6, 3, 7))
        c0 = add(c, zero, (0, 4, 1, 5), (2, 6, 3, 7))
        return add(ab, c0, (0, 1, 4, 5), (2, 3, 6, 7))

    return a(a, b, c), codegen


def _llvm(builder, name: str, *arguments):
    """Calls LLVM's own function `name` of lanes."""
    vector = arguments[0].type
    function_type = ir.FunctionType(vector, [vector] * len(arguments))
    full_name = f"llvm.{name}.v{vector.count}f32"
    callee = cgutils.get_or_insert_function(builder.module, function_type, full_name)
    return builder.call(callee, arguments)


def _binary(emit):
    """An intrinsic of two lanes; emit(builder, a, b) writes its instructions."""

    @intrinsic
    def function(_, a, b):
        return a(a, b), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return function


@intrinsic
def floor(_, a):
    """Each lane rounded down."""
    return a(a), lambda context, builder, signature, arguments: _llvm(builder, "floor", *arguments)


@intrinsic
def fma(_, a, b, c):
    """a * b + c, fused: rounded once, after the addition."""
    return a(a, b, c), lambda context, builder, signature, abc: _llvm(builder, "fma", *abc)


def _choose(symbol):
    """The instructions for a where `a symbol b`, for b elsewhere and where either is NaN."""
    return lambda builder, a, b: builder.select(builder.fcmp_ordered(symbol, a, b), a, b)


larger, smaller = _binary(_choose(">")), _binary(_choose("<"))


@_binary
def less(builder, a, b):
    """1 in the lanes where a < b, 0 elsewhere."""
    ones, zeros = (ir.Constant(a.type, [n] * a.type.count) for n in (1.0, 0.0))
    return builder.select(builder.fcmp_ordered("<", a, b), ones, zeros)


_add = _binary(lambda builder, a, b: builder.fadd(a, b, flags=_FLAGS))
_subtract = _binary(lambda builder, a, b: builder.fsub(a, b, flags=_FLAGS))
_multiply = _binary(lambda builder, a, b: builder.fmul(a, b, flags=_FLAGS))


def _overload_operator(symbol, function) -> None:
    """Makes an operator of Python's, such as operator.add, work on lanes."""

    @overload(symbol)
    def implementation(a, b):
        if isinstance(a, Lanes) and a == b:
            return lambda a, b: function(a, b)


for _symbol, _function in (
    (operator.add, _add),
    (operator.sub, _subtract),
    (operator.mul, _multiply),
):
    _overload_operator(_symbol, _function)
