"""What the layers that move data share: their element type, and indices along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Coord, Expr, Int
from cnngen.codegen.graph import Shape
from cnngen.codegen.node_ops import Pointwise
from cnngen.spec.types import ElementType

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering


def common_type(low: Lowering, names: list[str]) -> ElementType:
    """The type of what holds elements of all these values: theirs where they agree, whole numbers and bools too."""
    types = {low.values[name].dtype for name in names}
    return types.pop() if len(types) == 1 else low.precision.storage


def type_with(low: Lowering, name: str, number: float) -> ElementType:
    """The type of what holds elements of a value, and a number besides."""
    dtype = low.values[name].dtype
    whole = number.is_integer() and abs(number) < 2**24
    fits = {"bool": number in (0.0, 1.0), "uint8": whole and 0 <= number < 256, "int32": whole}
    return dtype if fits.get(dtype, True) else low.precision.storage


def move(
    low: Lowering, inputs: list[str], shape: Shape, value: Expr, dtype: ElementType | None = None
) -> str:
    """A pointwise step that moves elements of its first input: it has that one's type, and its layout where it can."""
    first = low.values[inputs[0]]
    layout = first.layout if len(first.shape) == len(shape) else None
    return low.emit(Pointwise(), inputs, shape, value, dtype=dtype or first.dtype, layout=layout)


def affine(axis: int, start: int, step: int) -> Expr:
    """`start + step * coordinate`."""
    if step < 0:
        return ex.call("isub", Int(start), ex.call("imul", Coord(axis), Int(-step)))
    return ex.call("iadd", ex.call("imul", Coord(axis), Int(step)), Int(start))


def rotated(axis: int, shift: int, extent: int) -> Expr:
    """`(coordinate + shift) mod extent`; a coordinate of one element needs no arithmetic."""
    shift %= extent
    return Coord(axis) if shift == 0 else ex.call("imod", affine(axis, shift, 1), Int(extent))
