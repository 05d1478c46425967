"""Which epilogues a library's fused step can do, and how they are said to it: a chain on the op's result."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import Acc, Call, Coord, Expr, Float, Load
from cnngen.codegen.graph import Graph, Node
from cnngen.codegen.node_ops import BatchMatMul, Conv, MatMul

# Pointwise modes of cuDNN's graph API, or composed of them; the result must be the first operand of each.
CUDNN_ACTIVATIONS = frozenset(
    {
        "relu",
        "clip",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "elu",
        "gelu",
        "gelu_tanh",
        "softplus",
        "silu",
        "hard_sigmoid",
        "hard_swish",
    }
)
# What cuDNN does along with a convolution at no cost that was ever seen.
FREE = frozenset({"relu", "clip", "leaky_relu", "silu", "tanh"})
CUBLASLT_ACTIVATIONS = frozenset({"relu", "gelu_tanh"})
ONEDNN_ACTIVATIONS = CUDNN_ACTIVATIONS  # its post-ops


@dataclass(frozen=True)
class ChainStep:
    """One pointwise operation on the running result, with a tensor or with numbers."""

    function: str
    operand: str | None = None  # a value's name: one number a channel, or a tensor of the result's shape
    numbers: tuple[float, ...] = ()


def functions_of(epilogue: Expr) -> set[str]:
    """The names of all functions in it."""
    return {expr.function for expr in ex.walk(epilogue) if isinstance(expr, Call)}


def library_chain(node: Node, graph: Graph) -> tuple[ChainStep, ...] | None:
    """The node's epilogue as the library of its form takes it; None where it cannot."""
    chain = _chain(node.epilogue, node, graph)
    if chain is None:
        return None
    if node.form == "cublaslt":
        return chain if _fits_cublaslt(chain, graph) else None
    if node.form == "onednn":
        return chain if _activates(chain, ONEDNN_ACTIVATIONS) else None
    exact = isinstance(node.op, Conv) and not node.op.tf32 and node.value.dtype == "float32"
    if exact and not _is_bias_and_relu(chain, graph):
        return None
    return chain if _activates(chain, CUDNN_ACTIVATIONS) else None


def added_in_place(node: Node, graph: Graph) -> str | None:
    """The stored tensor onto which the library can add its result: the first that it adds, needed nowhere else."""
    chain = library_chain(node, graph) if node.form == "onednn" else None
    stored = [step for step in chain or () if step.operand and step.operand not in graph.constants]
    if not stored or stored[0].function != "add" or stored[0].operand in node.operands:
        return None
    once = sum(step.operand == stored[0].operand for step in stored) == 1
    return stored[0].operand if once else None


def _chain(expr: Expr, node: Node, graph: Graph) -> tuple[ChainStep, ...] | None:
    match expr:
        case Acc():
            return ()
        case Call("add" | "mul" as function, (a, b)):
            if isinstance(a, Load):
                a, b = b, a
            before = _chain(a, node, graph)
            if before is None or not isinstance(b, Load) or not _plain(b, node, graph):
                return None
            return (*before, ChainStep(function, node.inputs[b.source]))
        case Call(function, (a, *numbers)):
            before = _chain(a, node, graph)
            values = tuple(number.value for number in numbers if isinstance(number, Float))
            if before is None or len(values) != len(numbers) or not all(map(math.isfinite, values)):
                return None
            return (*before, ChainStep(function, numbers=values))
    return None


def _plain(load: Load, node: Node, graph: Graph) -> bool:
    """Whether a load reads one constant a channel, or a stored tensor at the very place that is written."""
    name = node.inputs[load.source]
    source, value = graph.values[name], node.value
    rank = len(value.shape)
    if any(name == entry.name for entry in graph.inputs):
        return False  # the caller's memory, which a captured library call cannot be pointed at
    if name in graph.constants:
        channel = rank - 1 if isinstance(node.op, MatMul | BatchMatMul) else 1
        return load.index == (Coord(channel),) and source.shape == (value.shape[channel],)
    # cuDNN reads other tensors as it does the image, wherever their pixels lie.
    apart = node.form == "cudnn" and source.shape == value.shape and source.layout == value.layout
    return (
        (source.lies_like(value) or apart)
        and source.dtype == value.dtype
        and load.index == ex.broadcast_load(0, value.shape, rank).index
    )


def _activates(chain: tuple[ChainStep, ...], known: Container[str]) -> bool:
    return all(step.operand or step.function in known for step in chain)


def _is_bias_and_relu(chain: tuple[ChainStep, ...], graph: Graph) -> bool:
    """All that cuDNN fuses with a convolution in exact float32, whatever its version and the GPU.

    Other epilogues need its fusion engines, which round to TF32 but for one, slow, that older releases lack (9.14).
    """
    functions = [step.function for step in chain]
    return functions in ([], ["add"], ["add", "relu"]) and all(
        step.operand in graph.constants for step in chain[:1]
    )


def _fits_cublaslt(chain: tuple[ChainStep, ...], graph: Graph) -> bool:
    rest = list(chain)
    if rest and rest[0].function == "add" and rest[0].operand in graph.constants:
        rest.pop(0)
    if rest and rest[0].operand is None and rest[0].function in CUBLASLT_ACTIVATIONS:
        rest.pop(0)
    return not rest
