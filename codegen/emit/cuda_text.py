"""What the texts of all CUDA kernels share: types, parameters, the epilogue as a lambda."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cnngen.codegen import expr as ex
from cnngen.codegen.emit.cpp import Source, coordinate_names
from cnngen.codegen.emit.cuda_pointwise import Body, pointwise_body
from cnngen.codegen.emit.kernels import Parameter, needs_64_bits, parameters_of
from cnngen.codegen.expr import ACC, Acc, Call, Coord, Expr, Load
from cnngen.codegen.graph import Graph, Node, Value
from cnngen.codegen.targets import CUDA

POINTWISE_THREADS = 256
ELEMENTS = CUDA.elements


def cuda_parameters(sources: Sequence[Source], value: Value) -> tuple[Parameter, ...]:
    """Only constants are __restrict__: the compiler may then read them before the inputs of a kernel are there."""
    return parameters_of(sources, value, ELEMENTS, " __restrict__")


def integer_type(value: Value, sources: Sequence[Source], graph: Graph, largest_batch: int) -> str:
    """A type for the places of all of a step's elements."""
    return "std::int64_t" if needs_64_bits(value, sources, graph, largest_batch) else "int"


def coordinate_lines(value: Value, uses: Iterable[int], integer: str, place: str) -> list[str]:
    """From an element's place in a value to the coordinates in use."""
    names = coordinate_names(len(value.shape))
    lines = []
    for axis in sorted(uses):
        text = place if value.strides[axis] == 1 else f"{place} / {value.strides[axis]}"
        extent = f" % {value.shape[axis]}" if axis else ""
        lines.append(f"const {integer} {names[axis]} = {text}{extent};")
    return lines


def epilogue_lambda(
    arguments: Sequence[str], body: Body, lanes: int, places: Sequence[str] = ()
) -> list[str]:
    """A lambda that finishes `lanes` results in registers; `places`: what it works out of its arguments first."""
    lines = [f"const auto epilogue = [&]({', '.join(arguments)}) {{", *places, *body.before]
    if lanes == 1:
        lines += [*body.inside, f"acc[0] = {body.result};"]
    else:
        lines += [
            "#pragma unroll",
            f"for (int lane = 0; lane < {lanes}; ++lane) {{",
            *body.inside,
            f"acc[lane] = {body.result};",
            "}",
        ]
    return [*lines, "};"]


def pixel_epilogue(node: Node, sources: Sequence[Source], lanes: int) -> list[str]:
    """A lambda that finishes `lanes` channels of a pixel in registers; none where there is nothing to do."""
    if node.epilogue == ACC:
        return []
    # An output that is declared NCHW lies like one of NHWC here (it is one pixel, or one channel).
    body = pointwise_body(node.epilogue, replace(node.value, layout="NHWC"), sources, lanes, acc="acc")
    arguments = [
        f"float (&acc)[{lanes}]",
        *(f"int {name}" if axis in body.uses else "int" for axis, name in enumerate(coordinate_names(4))),
    ]
    return epilogue_lambda(arguments, body, lanes)


def bias_and_rest(epilogue: Expr) -> tuple[int | None, Expr]:
    """The operand, a number for each channel, that is added to the sum wherever it is read, and what is left then.

    None where there is no such operand.
    """
    for expr in ex.walk(epilogue):
        match expr:
            case Call("add", (Acc(), Load(source, (Coord(1),)))):
                sum_and_bias = Load(-1, ())  # no operand's
                rest = _swapped(epilogue, expr, sum_and_bias)
                if ACC in ex.walk(rest):
                    return None, epilogue
                return source, _swapped(rest, sum_and_bias, ACC)
    return None, epilogue


def _swapped(expr: Expr, old: Expr, new: Expr) -> Expr:
    match expr:
        case _ if expr == old:
            return new
        case Call(function, args):
            return ex.call(function, *(_swapped(argument, old, new) for argument in args))
    return expr


def kernel_call(function: str, arguments: Sequence[str], epilogue: Expr) -> str:
    """The call of the runtime's kernel, with the epilogue where there is one."""
    more = [] if epilogue == ACC else ["epilogue"]
    return f"cnngen::{function}({', '.join([*arguments, *more])});"
