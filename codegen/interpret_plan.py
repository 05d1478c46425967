"""The plan's interpreter: the steps in numpy, in one byte arena, every value at its planned offset and layout.

The arena starts poisoned (NaN in every type), so that a read of what nobody wrote, an overlap of two live buffers
or a value in a wrong layout shows in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from cnngen.codegen.graph import ITEM_BYTES, Array, Node, Value
from cnngen.codegen.interpret import run_node
from cnngen.codegen.plan import BatchPlan, Plan
from cnngen.codegen.storage import NUMPY_TYPES, from_memory, to_memory

POISON = 0xFF  # a NaN in float32, float16 and bfloat16


def interpret_plan(
    plan: Plan,
    index: int,
    inputs: Mapping[str, Array],
    pick: Callable[[Sequence[Node]], Node] = lambda nodes: nodes[0],
) -> dict[str, Array]:
    """The outputs in logical order, of batch plan `index`, for inputs in logical order.

    `pick`: the next of the steps that may run, which are the first ones left on their streams, in the plan's order.
    """
    batch = plan.batches[index]
    graph = batch.graph
    slab = np.full(plan.weights.bytes, POISON, np.uint8)
    for tensor in plan.weights.tensors:
        slab[tensor.offset : tensor.offset + tensor.bytes] = np.frombuffer(tensor.data.tobytes(), np.uint8)
    arena = np.full(batch.arena.bytes, POISON, np.uint8)

    def place(value: Value) -> Array:
        memory, offset = arena, 0
        if value.name in graph.constants:
            memory, offset = slab, batch.weights[value.name].offset
        else:
            offset = batch.arena.offsets[value.name]
        item = ITEM_BYTES[value.dtype]
        strides = [value.strides[axis] * item for axis in value.axes]
        shape = [value.shape[axis] for axis in value.axes]
        found: Array = np.ndarray(shape, NUMPY_TYPES[value.dtype], memory, offset, strides)
        return found

    def read(value: Value) -> Array:
        return from_memory(np.ascontiguousarray(place(value)), value).astype(np.float64)

    for value in graph.inputs:
        place(value)[...] = to_memory(np.asarray(inputs[value.name]), value)
    for node in _in_turn(batch, pick):
        result = run_node(node, [read(graph.values[name]) for name in node.inputs])
        place(node.value)[...] = to_memory(result, node.value)
    return {name: read(graph.values[name]) for name in graph.outputs}


def _in_turn(batch: BatchPlan, pick: Callable[[Sequence[Node]], Node]) -> Iterator[Node]:
    """The steps, each after those before it on its stream and on the streams that it waits for."""
    streams, left, after = batch.streams, list(batch.steps), dict[str, set[str]]()
    put: dict[int, list[str]] = {}
    for node in left:
        stream = streams.of.get(node.name, 0)
        after[node.name] = {
            name for other in (stream, *streams.waits.get(node.name, ())) for name in put.get(other, ())
        }
        put.setdefault(stream, []).append(node.name)
    while left:
        names = {node.name for node in left}
        node = pick([node for node in left if not after[node.name] & names])
        left.remove(node)
        yield node
