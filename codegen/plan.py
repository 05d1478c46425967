"""The plan: everything that is decided, for every profile and batch size. Emission decides nothing more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.graph import Array, Graph, Node, is_view
from cnngen.codegen.lower import lower
from cnngen.codegen.passes.assign_buffers import ATTEMPTS, Arena, assign_buffers
from cnngen.codegen.passes.plan_streams import plan_streams
from cnngen.codegen.passes.plan_weights import PackedWeight, WeightTable, plan_weights
from cnngen.codegen.streams import Streams
from cnngen.codegen.targets import CUDA, Target
from cnngen.spec.network import NetworkSpec


@dataclass(frozen=True)
class BatchPlan:
    """One batch size in one profile: the steps, and where their values lie."""

    graph: Graph
    arena: Arena
    weights: Mapping[str, PackedWeight]  # constant's name -> its place in the slab
    profile: int
    streams: Streams

    @property
    def batch(self) -> int:
        return self.graph.batch

    @property
    def steps(self) -> tuple[Node, ...]:
        """The nodes that run, in the order in which they are put on their streams."""
        return tuple(node for node in self.streams.nodes(self.graph) if not is_view(node))


def plan_batch(
    graph: Graph,
    weights: Mapping[str, PackedWeight] | None = None,
    profile: int = 0,
    beside: Collection[str] = (),
    *,
    in_place: bool = True,
    attempts: int = ATTEMPTS,
) -> BatchPlan:
    """A plan of a graph whose weights have been placed, with some of its branches on streams of their own.

    `in_place`, `attempts`: see assign_buffers.
    """
    streams = plan_streams(graph, beside)
    arena = assign_buffers(graph, streams, in_place=in_place, attempts=attempts)
    return BatchPlan(graph, arena, weights or {}, profile, streams)


def plan_name(spec: NetworkSpec, profile: int, batch: int) -> str:
    """What a plan is called in locks and in generated names: batch8, profile1_batch2."""
    if not spec.profiles:
        return f"batch{batch}"
    return f"profile{profile}" if len(spec.batch_sizes) == 1 else f"profile{profile}_batch{batch}"


@dataclass(frozen=True)
class Plan:
    """Everything that is decided."""

    spec: NetworkSpec  # as the user wrote it
    target: Target
    computed: NetworkSpec  # as the target computes it: with its types
    weights: WeightTable
    batches: tuple[BatchPlan, ...]  # all batch sizes of profile 0, then of profile 1, ...
    tuned_for: str = ""  # the GPU of the lock whose choices it follows

    def profile(self, number: int) -> BatchPlan:
        """A profile at the smallest batch size."""
        return next(batch for batch in self.batches if batch.profile == number)


def make_plan(
    spec: NetworkSpec,
    weights: Mapping[str, Array],
    target: Target = CUDA,
    choices: Callable[[int, int], Choices] = lambda _profile, _batch: Choices(),
    after: Callable[[str, Graph], None] = lambda _name, _graph: None,
    tuned_for: str = "",
) -> Plan:
    """Lowers, rewrites and plans the network for a target, in each of its profiles at each of its batch sizes.

    `choices(profile, batch)`: what is chosen where there are several forms, as the lock of the GPU `tuned_for` has it.
    """
    computed = target.adapt(spec)
    wanted = [(profile, batch) for profile in range(spec.profile_count) for batch in spec.batch_sizes]
    graphs = [
        passes.run(lower(computed, weights, batch, profile), choices(profile, batch), target, after)
        for profile, batch in wanted
    ]
    table = plan_weights(graphs)
    batches = [
        plan_batch(graph, places, profile, choices(profile, batch).beside)
        for graph, places, (profile, batch) in zip(graphs, table.places, wanted, strict=True)
    ]
    return Plan(spec, target, computed, table, tuple(batches), tuned_for)
