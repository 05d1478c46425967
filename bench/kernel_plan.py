"""The cases of bench/kernels.py as one plan: each kernel with every tile, each case's values in places of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from kernel_cases import KernelCase, forms_of, spec_of, timed_steps

from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.cuda_kernels import kernel_of
from cnngen.codegen.emit.plan_names import NumberedPlans
from cnngen.codegen.emit.steps import network_view
from cnngen.codegen.engines import own_forms, split_engine
from cnngen.codegen.graph import LIBRARIES, Array, Graph, Node, is_view
from cnngen.codegen.graph_text import step_text
from cnngen.codegen.lower import lower
from cnngen.codegen.passes.assign_buffers import ALIGNMENT, Arena
from cnngen.codegen.passes.plan_weights import plan_weights
from cnngen.codegen.plan import BatchPlan, Plan
from cnngen.codegen.storage import from_memory, to_memory
from cnngen.codegen.streams import in_one_stream
from cnngen.codegen.targets import CUDA
from cnngen.codegen.tuning.bench import make_bench
from cnngen.spec import NetworkSpec, resolve


@dataclass(frozen=True)
class Candidate:
    """A kernel with a tile. `tile`: "" where it can have none."""

    node: Node
    number: int  # of the step in the plan
    tile: str
    kernel: str  # its name in the generated text


@dataclass(frozen=True)
class Step:
    """A step of a case, and what could run it: first what runs it by default."""

    case: KernelCase
    node: Node
    candidates: tuple[Candidate, ...]

    @property
    def title(self) -> str:
        """What it computes, where a case has several steps."""
        return type(self.node.op).__name__.lower() + (
            f" {kind}" if (kind := getattr(self.node.op, "kind", "")) else ""
        )


@dataclass(frozen=True)
class KernelBench:
    plan: Plan
    steps: tuple[Step, ...]

    @property
    def batch(self) -> BatchPlan:
        return self.plan.batches[0]


def make_kernel_bench(cases: Sequence[KernelCase], *, small: bool = False) -> KernelBench:
    """`small`: values of all candidates lie apart, so that they may run as one network."""
    spec = spec_of(cases, small=small)
    computed = CUDA.adapt(spec)
    lowered = lower(computed, weights_of(spec), spec.batch_sizes[0])
    base = without_libraries(passes.run(lowered, Choices(forms=forms_of(passes.run(lowered), cases))))
    timed = timed_steps(base, cases)
    others = {node.name for node in base.nodes} - {node.name for _, node in timed}
    bench = make_bench(base, [], {step_text(base.producers[name], base) for name in others})
    table = plan_weights([bench.graph])
    batch = BatchPlan(
        bench.graph, places(bench.graph, apart=small), table.places[0], 0, in_one_stream(bench.graph)
    )
    plan = Plan(spec, CUDA, computed, table, (batch,))
    names = {view.kernel: view.name for view in network_view(plan, NumberedPlans()).kernels}
    numbers = {node.name: number for number, node in enumerate(batch.steps)}

    def candidate(name: str, engine: str) -> Candidate:
        node = bench.graph.producers[name]
        launch = kernel_of(node, bench.graph, base.batch, base.batch)
        assert launch is not None
        return Candidate(node, numbers[name], split_engine(engine)[1], names[launch.kernel])

    by_text: dict[str, list[Candidate]] = {}
    for case in bench.cases:
        by_text.setdefault(case.step, []).append(candidate(case.name, case.engine))
    steps = [Step(case, node, tuple(by_text[step_text(node, base)])) for case, node in timed]
    return KernelBench(plan, tuple(steps))


def without_libraries(graph: Graph) -> Graph:
    """What a library runs by a kernel of our own, where there is one."""
    nodes = [
        replace(node, form=own[0]) if node.form in LIBRARIES and (own := own_forms(node, graph)) else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


def weights_of(spec: NetworkSpec) -> dict[str, Array]:
    """Numbers such that values stay near 1."""
    rng = np.random.default_rng(0)
    found = {}
    for name, ref in resolve(spec).weights.items():
        fan_in = max(1, int(np.prod(ref.shape[1:])))
        found[name] = (rng.uniform(0.5, 1.5, ref.shape) / np.sqrt(fan_in)).astype(np.float32)
    return found


def places(graph: Graph, *, apart: bool) -> Arena:
    """Cases over each other, since one is timed at a time, and likewise a step's candidates; or all of them `apart`."""
    offsets: dict[str, int] = {}
    ends: dict[str, int] = {}
    owners = {value.name: value.name for value in graph.inputs} | {
        node.name: node.layers[0] for node in graph.nodes
    }
    for name, layer in owners.items():
        node = graph.producers.get(name)
        same = node.inputs[0] if node is not None and is_view(node) else name.partition("~")[0]
        if same in offsets and (not apart or (node is not None and is_view(node))):
            offsets[name] = offsets[same]
            continue
        case = "" if apart else layer.partition("/")[0]
        offsets[name] = ends.get(case, 0)
        ends[case] = offsets[name] + -(-graph.values[name].bytes // ALIGNMENT) * ALIGNMENT
    total = max(ends.values())
    return Arena(offsets, total, total, ())


def inputs_of(graph: Graph) -> dict[str, Array]:
    """Seeded numbers for the graph's inputs, in logical order, as their types hold them."""
    rng = np.random.default_rng(1)
    drawn = {value.name: np.abs(rng.standard_normal(value.shape)) * 3 for value in graph.inputs}
    held = {value.name: from_memory(to_memory(drawn[value.name], value), value) for value in graph.inputs}
    return {name: array.astype(np.float64) for name, array in held.items()}
