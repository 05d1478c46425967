"""How fast a network can be on a GPU at best: the larger of its bytes and its arithmetic, at rates measured there.

Layer by layer, over the steps of a plan: each reads its inputs and weights from memory and writes its result. And for
the network as one: inputs, outputs and weights cross memory once, everything between stays where it is computed.
Channels of activations that the plan has added as zeros count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnngen.codegen import expr as ex
from cnngen.codegen.emit.words import flops
from cnngen.codegen.graph import ITEM_BYTES, Graph, Node, Value
from cnngen.codegen.node_ops import Conv, MatMul, Pool
from cnngen.codegen.plan import BatchPlan


@dataclass(frozen=True)
class Work:
    """What has to be done: bytes read and written, floating-point operations of convolutions and matrix products."""

    bytes: int
    flop: int


@dataclass(frozen=True)
class Rates:
    """What a GPU reaches: bytes a second of a large copy, read and written, and FLOP a second of a large product."""

    bytes: float
    flop: float

    def seconds(self, work: Work) -> float:
        """The least time for the work, moving and computing at once."""
        return max(work.bytes / self.bytes, work.flop / self.flop)


@dataclass(frozen=True)
class Floor:
    """Seconds that no run of the plan beats, and of what."""

    steps: tuple[Work, ...]
    network: Work
    layers_s: float
    network_s: float


def floor_of(plan: BatchPlan, rates: Rates) -> Floor:
    """The floor of a plan: layer by layer as it fuses them, and of the network as one."""
    steps = tuple(step_work(plan.graph, node) for node in plan.steps)
    network = network_work(plan)
    return Floor(steps, network, sum(rates.seconds(step) for step in steps), rates.seconds(network))


def step_work(graph: Graph, node: Node) -> Work:
    """What one step of a plan has to move and to compute."""
    read = sum(_bytes_read(graph, node, name) for name in dict.fromkeys(node.inputs))
    return Work(read + _real_bytes(node.value), _real_flops(graph, node))


def network_work(plan: BatchPlan) -> Work:
    """What the whole network has to move and to compute."""
    graph = plan.graph
    constants = [constant.value for constant in graph.constants.values()]
    outside = [*graph.inputs, *(graph.values[name] for name in graph.outputs)]
    return Work(
        sum(_real_bytes(value) for value in [*outside, *constants]),
        sum(_real_flops(graph, node) for node in plan.steps),
    )


def _real_bytes(value: Value) -> int:
    if not value.padding:
        return value.bytes
    channels = value.shape[1]
    return value.bytes // channels * (channels - value.padding)


def _real_flops(graph: Graph, node: Node) -> int:
    """Without the products of channels that are zeros by construction."""
    total = flops(graph, node)
    padded = [node.value, *([graph.values[node.inputs[0]]] if isinstance(node.op, Conv | MatMul) else [])]
    for value in padded if total else ():
        channels = value.shape[1] if value.padding else 1
        total = total // channels * (channels - value.padding)
    return total


def _bytes_read(graph: Graph, node: Node, name: str) -> int:
    """At least so many bytes of an input cross memory: no more than there are, and than windows and loads touch."""
    value = graph.values[name]
    item = ITEM_BYTES[value.dtype]
    touched = 0
    if name in node.operands:
        touched = _touched_by_op(graph, node, name) * item
    loads = sum(node.inputs[load.source] == name for load in ex.loads(node.epilogue))
    touched += loads * node.value.elements * item
    return min(_real_bytes(value), touched)


def _touched_by_op(graph: Graph, node: Node, name: str) -> int:
    """Elements of an operand that the op itself reads: a window with a stride beyond its size leaves some out."""
    value = graph.values[name]
    if name != node.inputs[0] or not isinstance(node.op, Conv | Pool):
        return value.elements
    kernel = graph.values[node.inputs[1]].shape[2:] if isinstance(node.op, Conv) else node.op.kernel
    n, c, *size = value.shape
    for axis in range(2):
        size[axis] = min(size[axis], node.value.shape[2 + axis] * kernel[axis])
    return n * c * size[0] * size[1]
