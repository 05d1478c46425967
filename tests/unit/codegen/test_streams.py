"""Branches on streams of their own: whatever runs beside what, each step finds what it reads."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.project import project_files
from cnngen.codegen.generate import generate
from cnngen.codegen.graph import Graph, Node, is_view
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.locking import ChosenLock, lock_problems
from cnngen.codegen.passes.assign_buffers import Arena, assign_buffers
from cnngen.codegen.passes.plan_streams import branches, plan_streams
from cnngen.codegen.plan import make_plan
from cnngen.codegen.streams import Streams
from cnngen.codegen.tuning import tune as tuning
from cnngen.codegen.tuning.module import PassStep

from .fake_machine import FakeMachine, FakeTuner, written
from .networks import Network, network, networks, random_network
from .test_memory import planned
from .test_networks import SETTINGS

INCEPTION = network(
    {"name": "stem", "op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1, "activation": "relu"},
    {"name": "a", "op": "conv2d", "out_channels": 8, "kernel": 1, "input": "stem"},
    {"name": "b1", "op": "conv2d", "out_channels": 8, "kernel": 1, "input": "stem"},
    {"name": "b2", "op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1},
    {"name": "b3", "op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1},
    {"name": "c1", "op": "max_pool2d", "kernel": 3, "stride": 1, "padding": 1, "input": "stem"},
    {"name": "c2", "op": "conv2d", "out_channels": 8, "kernel": 1},
    {"name": "all", "op": "concat", "inputs": ["a", "b3", "c2"]},
    {"name": "last", "op": "conv2d", "out_channels": 8, "kernel": 1},
    precision="float16",
    shape=(1, 8, 8, 8),
    batch_sizes=[1, 4],
)  # fmt: skip


def ended(graph: Graph, streams: Streams) -> dict[str, set[str]]:
    """By step: what has ended when it begins, as streams and what waits for them say; "": at the end of the pass."""
    found: dict[str, set[str]] = {}
    put: dict[int, set[str]] = {}  # by stream: what has ended when all that was put there has

    def wait(stream: int, others: tuple[int, ...]) -> None:
        for other in others:
            put[stream] = put.get(stream, set()) | put.get(other, set())

    for node in streams.nodes(graph):
        if is_view(node):
            continue
        stream = streams.of.get(node.name, 0)
        assert not stream or stream in put or streams.waits[node.name], "a stream that nothing has led to"
        wait(stream, streams.waits.get(node.name, ()))
        found[node.name] = put.get(stream, set()).copy()
        put.setdefault(stream, set()).add(node.name)
    wait(0, streams.end)
    return found | {"": put.get(0, set())}


def made_of(graph: Graph, name: str) -> set[str]:
    """The steps that write a value, and the inputs that it is."""
    node = graph.producers.get(name)
    if node is None:
        return set() if name in graph.constants else {name}
    return set().union(*(made_of(graph, read) for read in node.inputs)) if is_view(node) else {name}


def place(graph: Graph, arena: Arena, name: str) -> tuple[range, range]:
    """Bytes of the arena, and which of those of a pixel."""
    value = graph.values[name]
    item = value.bytes // value.elements
    start = arena.offsets[name] - value.first * item
    pixel = range(value.first, value.first + value.shape[1]) if value.pixel else range(1 << 30)
    return range(start, start + (value.span if value.pixel else value.bytes)), pixel


def meet(one: tuple[range, range], other: tuple[range, range]) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def check_streams(graph: Graph, streams: Streams, arena: Arena) -> None:
    """Every step comes after what it reads has been made; what else is written there, before that or after itself."""
    before = ended(graph, streams)
    steps: dict[str, Node] = {node.name: node for node in graph.nodes if not is_view(node)}
    assert before[""] == set(steps)
    places = {name: place(graph, arena, name) for name in graph.values if name not in graph.constants}
    reads = {name: [read for read in node.inputs if read in places] for name, node in steps.items()}
    for reader, names in {**reads, "": list(graph.outputs)}.items():
        for name in names:
            made = made_of(graph, name)
            assert made & set(steps) <= before[reader], f"{reader} reads {name} before it is there"
            for writer in steps.keys() - made - {reader}:
                if not meet(places[writer], places[name]):
                    continue
                is_earlier = all(writer in before[of] for of in made & set(steps)) and made <= set(steps)
                is_later = bool(reader) and reader in before[writer]
                assert is_earlier or is_later, f"{writer} may overwrite {name}, which {reader} reads"


@given(networks(largest=16), st.randoms(use_true_random=False))
@SETTINGS
def test_whatever_runs_beside_what(drawn: Network, rng: random.Random) -> None:
    graph = planned(drawn)
    names = [branch.name for branch in branches(graph)]
    every = plan_streams(graph, names)
    arena = assign_buffers(graph, every)
    check_streams(graph, every, arena)
    some = rng.sample(names, rng.randint(0, len(names)))
    check_streams(graph, plan_streams(graph, some, within=every), arena)
    few = plan_streams(graph, some)
    check_streams(graph, few, assign_buffers(graph, few))


@given(networks(largest=12), st.randoms(use_true_random=False))
@SETTINGS
def test_the_order_in_time_changes_no_output(drawn: Network, rng: random.Random) -> None:
    names = {branch.name for batch in drawn.spec.batch_sizes for branch in branches(planned(drawn, batch))}
    choices = Choices(beside=frozenset(names))
    plan = make_plan(drawn.spec, drawn.weights, choices=lambda _profile, _batch: choices)
    for index, batch in enumerate(plan.batches):
        inputs = drawn.inputs(batch.graph)
        want = interpret_plan(plan, index, inputs)
        for pick in (rng.choice, lambda nodes: nodes[-1]):
            got = interpret_plan(plan, index, inputs, pick)
            for name, array in want.items():
                np.testing.assert_array_equal(got[name], array)


def test_random_networks_have_branches() -> None:
    rng = random.Random(0)  # noqa: S311
    graphs = [planned(random_network(rng, largest=16)) for _ in range(40)]
    counts = [plan_streams(graph, [branch.name for branch in branches(graph)]).count for graph in graphs]
    assert sum(count > 1 for count in counts) > 10
    assert max(counts) > 2


def forward(text: str, name: str = "forward") -> list[str]:
    (body,) = re.findall(rf"^void {name}\(Pass& pass\) {{\n(.*?)^}}", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in body.splitlines()]


def test_branches_of_a_block_are_put_beside_the_longest() -> None:
    graph = planned(INCEPTION)
    assert [branch.name for branch in branches(graph)] == ["a", "c2"]
    choices = Choices(beside=frozenset({"a", "c2"}))
    plan = make_plan(INCEPTION.spec, INCEPTION.weights, choices=lambda _profile, _batch: choices)
    text = project_files(plan, "0" * 12, "0" * 12)["src/network.cu"]
    assert forward(text) == [
        "x(pass);",
        "stem(pass);",
        "pass.on(2, {0});",
        "c1(pass);",
        "c2(pass);",
        "pass.on(1, {0});",
        "a(pass);",
        "pass.on(0);",
        "b1(pass);",
        "b2(pass);",
        "b3(pass);",
        "pass.on(0, {1, 2});",
        "all(pass);",
        "last(pass);",
        "last_output(pass);",
    ]


@pytest.mark.parametrize(("wait", "beside"), [(0.5, True), (50.0, False)])
def test_what_runs_beside_what_is_measured_and_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: float, beside: bool
) -> None:
    """And stays where an earlier lock has it, as long as nothing is clearly faster."""
    FakeMachine(monkeypatch, lambda _node, _engine: 3.0)
    monkeypatch.setattr(FakeTuner, "wait", wait)
    path = written(INCEPTION, tmp_path)
    first = tuning.tune(path, INCEPTION.spec, INCEPTION.weights)
    for name, plan in first.lock.plans.items():
        assert ("c2" in plan.beside) == beside
        assert plan.us < plan.first_us or not beside, name
    assert tuning.tune(path, INCEPTION.spec, INCEPTION.weights).lock.plans == first.lock.plans
    made = generate(path, lock=first.lock)
    assert ("pass.on(1, {0});" in made.files["src/network.cu"]) == beside
    assert not lock_problems(ChosenLock(first.lock, first.path), made.plan, [], {})


def test_a_branch_that_does_not_run_beside_others_is_rejected_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = FakeTuner.measure_pass

    def measure_pass(
        self: FakeTuner, plan: int, steps: Sequence[PassStep], replays: int
    ) -> tuple[float, float]:
        if any(stream for _, _, stream, _ in steps):
            raise RuntimeError("CUDA: a capture was invalidated")
        return measure(self, plan, steps, replays)

    FakeMachine(monkeypatch, lambda _node, _engine: 3.0)
    monkeypatch.setattr(FakeTuner, "measure_pass", measure_pass)
    found = tuning.tune(written(INCEPTION, tmp_path), INCEPTION.spec, INCEPTION.weights)
    assert not any(plan.beside for plan in found.lock.plans.values())
    assert "c2 beside others in batch4: CUDA: a capture was invalidated" in found.rejected
