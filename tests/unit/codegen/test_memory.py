"""Where activations lie: nothing that is still needed is overwritten, and the arena is as small as it can be."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnngen.codegen import expr as ex
from cnngen.codegen import passes
from cnngen.codegen.graph import ACC, Graph, Node, Value
from cnngen.codegen.lower import lower
from cnngen.codegen.node_ops import Pointwise, Reshape
from cnngen.codegen.passes.assign_buffers import Arena, assign_buffers
from cnngen.spec import load_spec, resolve

from . import patterns
from .builder import Builder
from .networks import Network, network, networks, random_network
from .test_networks import SETTINGS

ALIGNMENT = 256


def planned(drawn: Network, batch: int | None = None) -> Graph:
    return passes.run(lower(drawn.spec, drawn.weights, batch or drawn.spec.batch_sizes[0]))


def runs(node: Node) -> bool:
    return not (isinstance(node.op, Reshape) and node.epilogue == ACC)


def check_arena(graph: Graph, arena: Arena) -> None:
    """Goes through the steps and looks at every value that a step reads, or that is read after it."""
    places = {}
    for value in graph.values.values():
        if value.name not in graph.constants:
            offset = arena.offsets[value.name]
            assert offset % ALIGNMENT == 0
            assert 0 <= offset <= offset + value.bytes <= arena.bytes
            places[value.name] = range(offset, offset + value.bytes)
    last_read = dict.fromkeys(places, -1)
    for step, node in enumerate(graph.nodes):
        if not runs(node):
            assert places[node.name] == places[node.inputs[0]]
        else:
            last_read.update({name: step for name in node.inputs if name in places})
    last_read.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    written = {value.name for value in graph.inputs}
    for step, node in enumerate(graph.nodes):
        target = places[node.name]
        for name in written if runs(node) else ():
            overlap = places[name].start < target.stop and target.start < places[name].stop
            if overlap and last_read[name] >= step:
                assert last_read[name] == step, f"{node.name} overwrites {name}, which is needed later"
                assert is_in_place(graph, node, graph.values[name]), (
                    f"{node.name} overwrites {name} as it reads"
                )
                assert places[name] == target
        written.add(node.name)


def is_in_place(graph: Graph, node: Node, read: Value) -> bool:
    """Whether each thread reads of a value only what it overwrites itself."""
    here = ex.broadcast_load(0, node.value.shape, len(node.value.shape)).index
    loads = [load for load in ex.loads(node.epilogue) if node.inputs[load.source] == read.name]
    return (
        isinstance(node.op, Pointwise)
        and all(load.index == here for load in loads)
        and read.lies_like(node.value)
        and read.dtype == node.value.dtype
    )


def live_bytes(graph: Graph) -> int:
    """The largest sum of what one step reads, what it writes and what later steps still read, in whole places."""
    home, first, last = {}, {}, {}
    for value in graph.inputs:
        home[value.name], first[value.name], last[value.name] = value.name, 0, 0
    for step, node in enumerate(graph.nodes):
        home[node.name] = node.name if runs(node) else home[node.inputs[0]]
        first.setdefault(home[node.name], step)
        last.update({home[name]: step for name in (*node.inputs, node.name) if name in home})
    last.update({home[name]: len(graph.nodes) for name in graph.outputs})
    sizes = {name: -(-graph.values[name].bytes // ALIGNMENT) * ALIGNMENT for name in first}
    steps = range(len(graph.nodes) + 1)
    return max(sum(sizes[name] for name in first if first[name] <= step <= last[name]) for step in steps)


def assert_small(graph: Graph, arena: Arena) -> None:
    assert arena.live_bytes <= live_bytes(graph)  # less where a step overwrites what it reads
    assert arena.bytes <= 1.05 * arena.live_bytes


@given(networks())
@settings(SETTINGS, max_examples=150)
def test_no_value_is_overwritten_while_it_is_needed(drawn: Network) -> None:
    for batch in drawn.spec.batch_sizes:
        graph = planned(drawn, batch)
        check_arena(graph, assign_buffers(graph))


@given(networks(largest=20))
@settings(SETTINGS, max_examples=50)
def test_the_arena_is_within_5_percent_of_the_live_bytes(drawn: Network) -> None:
    """True of every network drawn here and of the examples; there are graphs that no packing can bring there."""
    graph = planned(drawn)
    arena = assign_buffers(graph)
    check_arena(graph, arena)
    assert_small(graph, arena)


class Chain(Builder):
    """Each layer reads the one before it."""

    def add_inputs(self) -> None:
        super().add_inputs()
        for name in [*self.inputs][1:]:
            del self.inputs[name], self.shapes[name]

    def pick(self, rank: int | None = None) -> str:
        return [*self.shapes][-1]

    def outputs(self) -> list[dict[str, object]]:
        return [{"layer": self.layers[-1].name}]


CHAIN = (patterns.conv, patterns.pool, patterns.linear, patterns.batch_norm, patterns.activation, patterns.prelu,
         patterns.upsample, patterns.pad, patterns.transpose, patterns.reshape, patterns.softmax,
         patterns.with_number, patterns.with_parameter, patterns.global_pool)  # fmt: skip


@given(st.randoms(use_true_random=False))
@settings(SETTINGS, max_examples=150)
def test_a_chain_has_two_slots(rng: random.Random) -> None:
    graph = planned(random_network(rng, largest=12, builder=Chain, patterns=CHAIN))
    arena = assign_buffers(graph)
    check_arena(graph, arena)
    assert arena.bytes == arena.live_bytes <= live_bytes(graph)
    for buffer in arena.buffers:
        (start,) = {arena.offsets[name] for name in buffer.values}
        assert start == 0 or start + buffer.bytes == arena.bytes


EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/spec.yaml")), ids=lambda path: path.parent.name)
def test_examples(path: Path) -> None:
    spec = load_spec(path)
    weights = {
        name: np.broadcast_to(np.float32(0.5), ref.shape) for name, ref in resolve(spec).weights.items()
    }
    for batch in spec.batch_sizes:
        graph = planned(Network(spec, weights), batch)
        arena = assign_buffers(graph)
        check_arena(graph, arena)
        assert_small(graph, arena)


def test_a_view_read_at_another_place_keeps_its_buffer() -> None:
    """x + transpose(reshape(x)): in place, one thread would overwrite what another still has to read."""
    layers = ({"name": "a", "op": "linear", "out_features": 4}, {"name": "b", "op": "reshape", "shape": [0, 4, 3]},
              {"name": "c", "op": "transpose", "axes": [0, 2, 1]}, {"name": "d", "op": "add", "inputs": ["a", "c"]},
              {"name": "e", "op": "linear", "out_features": 4})  # fmt: skip
    graph = planned(network(*layers, shape=(1, 3, 4)))
    arena = assign_buffers(graph)
    assert {"a", "b", "d"} <= graph.values.keys()
    assert arena.offsets["a"] == arena.offsets["b"] != arena.offsets["d"]


def test_a_pointwise_step_overwrites_what_it_reads_for_the_last_time() -> None:
    conv = {"op": "conv2d", "out_channels": 3, "kernel": 3, "padding": 1}
    layers = ({"name": "a", **conv}, {"name": "b", "op": "mish"}, {"name": "c", **conv})
    graph = planned(
        network(*layers, {"name": "d", "op": "mish"}, {"name": "e", "op": "add", "inputs": ["b", "d"]})
    )
    arena = assign_buffers(graph)
    assert [buffer.values for buffer in arena.buffers] == [
        ("x@input",),
        ("x",),
        ("a", "b"),
        ("c",),
        ("e@output",),
    ]
