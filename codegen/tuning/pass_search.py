"""Which engines make a whole pass fastest: those that their steps' times prefer, then neighbours, one at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnngen.codegen.engines import OF_LIBRARIES, split_engine
from cnngen.codegen.graph import Array, Graph, Value
from cnngen.codegen.graph_text import step_digest, step_text
from cnngen.codegen.lock import LockError, PlanEntry, StepEntry
from cnngen.codegen.passes.assign_buffers import assign_buffers
from cnngen.codegen.passes.plan_weights import plan_weights
from cnngen.codegen.passes.select_engines import with_engine
from cnngen.codegen.plan import BatchPlan
from cnngen.codegen.storage import NUMPY_TYPES
from cnngen.codegen.titles import titles_of
from cnngen.codegen.tuning.journal import Timing
from cnngen.codegen.tuning.measure import Deadline, Told, kind_of, relative
from cnngen.codegen.tuning.module import Candidates
from cnngen.codegen.tuning.search import LEAST_GAIN, LEAST_GAIN_US, Timings

CLOSE = 1.15  # times the best: an engine that is tried in the whole pass
ALTERNATIVES = 2  # of them, a step
REPLAYS = 40  # of a whole pass
# Of a pass: what it may take longer to need no library, which a network that is started opens for a tenth of a second.
LIBRARY_FREE = 0.01
# What a whole pass must gain: its median is steadier than a step's, but for short ones.
PASS_GAIN, PASS_GAIN_US = 0.002, 0.15
Options = Mapping[
    str, Sequence[Timing]
]  # by the name of what a step writes: its engines, first the one to take


@dataclass(frozen=True)
class Found:
    """A pass, and what it takes."""

    us: float
    first_us: float  # by every first choice
    engines: Mapping[str, Timing]  # by the name of what a step writes


@dataclass(frozen=True)
class PassSearch:
    """The search among candidates for one plan. They begin with that of every first choice; `pass_graphs` follow."""

    name: str
    graph: Graph
    options: Options
    first: int

    @property
    def tuned(self) -> int:
        """The number of the candidate with each step's best engine."""
        return self.first + 1

    def fastest(self, candidates: Candidates, deadline: Deadline, told: Told) -> Found:
        """From the steps' best engines on, each step's others are tried, and kept where the pass gains."""
        tuner = candidates.tuner
        nodes = candidates.plan.batches[self.tuned].steps
        chosen = {node.name: 0 for node in nodes}

        def measured(chosen: Mapping[str, int]) -> float:
            steps = [(self.tuned + chosen[node.name], "") for node in nodes]
            return tuner.measure_pass(self.tuned, steps, REPLAYS)[0]

        measured(chosen)  # a GPU that has rested runs faster for a while
        untuned, _ = tuner.measure_pass(self.first, [], REPLAYS)
        best = measured(chosen)
        order = sorted(nodes, key=lambda node: -self.options[node.name][0].us)
        for done, node in enumerate(order):
            told(done, len(order), "")
            for k in range(1, len(self.options[node.name])):
                if deadline.is_past:
                    break
                other = {**chosen, node.name: k}
                enough = best - max(PASS_GAIN_US, PASS_GAIN * best)
                us = measured(other)
                if us < enough and (us := max(us, measured(other))) < enough:
                    best, chosen = us, other
        best = min(best, measured(chosen))
        if own := self._own(chosen):
            us = measured(own)
            if us <= best * (1 + LIBRARY_FREE):
                best, chosen = us, own
        engines = {name: self.options[name][number] for name, number in chosen.items()}
        return Found(best, untuned, engines)

    def _own(self, chosen: Mapping[str, int]) -> dict[str, int] | None:
        """The choices with our own fastest kernel in place of each library's.

        None where there is none to replace, or one that nothing replaces.
        """
        found = dict(chosen)
        for name, number in chosen.items():
            few = self.options[name]
            if not is_of_library(few[number]):
                continue
            own = [k for k, timing in enumerate(few) if not is_of_library(timing)]
            if not own:
                return None
            found[name] = min(own, key=lambda k: few[k].us)
        return found if found != dict(chosen) else None

    def difference(self, candidates: Candidates) -> float:
        """How far the outputs of a pass by each step's best engine are from those of all first choices, one by one.

        On random inputs. So a step that does not wait for what it reads shows, too. NaN where not even the first
        choices give numbers.
        """
        rng = np.random.default_rng()
        batches = candidates.plan.batches
        inputs = [_random(value, rng).view(np.uint8) for value in batches[self.first].graph.inputs]
        results = []
        for plan in (self.first, self.tuned):
            values = [batches[plan].graph.values[name] for name in batches[plan].graph.outputs]
            outputs = [np.empty(value.elements, NUMPY_TYPES[value.dtype]) for value in values]
            one_by_one = plan == self.first
            candidates.tuner.run_pass(plan, inputs, [array.view(np.uint8) for array in outputs], one_by_one)
            results.append([array.astype(np.float64) for array in outputs])
        if not all(np.isfinite(array).all() for array in results[0]):
            return math.nan  # the network is not made for such inputs
        return max(relative(got, reference) for reference, got in zip(*results, strict=True))

    def save_plans(self, candidates: Candidates, entry: PlanEntry, folder: Path) -> None:
        """Keeps the libraries' plans in `folder` as text."""
        batch = candidates.plan.batches[self.tuned]
        titles = titles_of(batch.graph)
        engines = []
        for node in batch.steps:
            engine = entry.steps[titles[node.name]].engine if titles[node.name] in entry.steps else ""
            engines.append(engine if split_engine(engine)[0] in OF_LIBRARIES else "")
        candidates.tuner.save_plans(self.tuned, engines, str(folder))


def planned(graph: Graph) -> BatchPlan:
    """A plan of one graph."""
    (places,) = plan_weights([graph]).places
    return BatchPlan(graph, assign_buffers(graph), places, 0)


def step_options(graph: Graph, timings: Timings, earlier: PlanEntry | None) -> Options:
    """For each step the engines that come into question; of equals the one that an earlier lock has."""
    found, titles = {}, titles_of(graph)
    for node in planned(graph).steps:
        kept = earlier.steps.get(titles[node.name]) if earlier else None
        found[node.name] = _ordered(timings[step_text(node, graph)], kept.engine if kept else "")
    return found


def library_free(graph: Graph, options: Options, timings: Timings) -> Options | None:
    """The options and, where the best is a library's, our own fastest kernel.

    None where a step has none, or where a pass of them would take much longer.
    """
    found: dict[str, Sequence[Timing]] = {}
    longer = 0.0
    for name, few in options.items():
        every = timings[step_text(graph.producers[name], graph)] if is_of_library(few[0]) else few
        own = min((t for t in every if not is_of_library(t)), key=lambda t: t.us, default=None)
        if own is None:
            return None
        longer += max(own.us - few[0].us, 0) if is_of_library(few[0]) else 0
        found[name] = few if own in few else [*few, own]
    whole = sum(few[0].us for few in options.values())
    return found if longer <= 2 * LIBRARY_FREE * whole else None


def is_of_library(timing: Timing) -> bool:
    """Whether what was timed is a library's engine."""
    return split_engine(timing.engine)[0] in OF_LIBRARIES


def pass_graphs(graph: Graph, options: Options) -> list[Graph]:
    """The graph with each step's best engine, with each one's second, and so on."""
    return [
        _with_engines(graph, {name: few[min(k, len(few) - 1)].engine for name, few in options.items()})
        for k in range(max(map(len, options.values()), default=1))
    ]


def step_entries(graph: Graph, engines: Mapping[str, Timing], timings: Timings) -> dict[str, StepEntry]:
    """What a lock says of each step that had a choice, by its title."""
    titles, found = titles_of(graph), {}
    for name, timing in engines.items():
        node = graph.producers[name]
        every = timings[step_text(node, graph)]
        if len(every) < 2:
            continue
        others: dict[str, float] = {}
        for other in every:
            kind = kind_of(other.engine)
            if other.engine != timing.engine and kind not in others:
                others[kind] = other.us
        found[titles[name]] = StepEntry(
            engine=timing.engine,
            of=step_digest(node, graph),
            us=timing.us,
            workspace=timing.workspace,
            others=others,
        )
    return found


def _ordered(timings: Sequence[Timing], kept: str) -> list[Timing]:
    """The engines close to the best, first the one to take.

    Of those that cannot be told apart it is the one that was kept, or else the first that was offered.
    """
    if not timings:
        raise LockError("no engine runs a step of the network within the workspace limit")
    best = min(timing.us for timing in timings)
    same = [timing for timing in timings if timing.us <= best + max(LEAST_GAIN_US, LEAST_GAIN * best)]
    first = min(same, key=lambda timing: (timing.engine != kept, timing.rank))
    close = sorted((t for t in timings if t is not first and t.us <= best * CLOSE), key=lambda t: t.us)
    return [first, *close[:ALTERNATIVES]]


def _with_engines(graph: Graph, engines: Mapping[str, str]) -> Graph:
    nodes = [with_engine(node, graph, engines.get(node.name, "")) for node in graph.nodes]
    return dataclasses.replace(graph, nodes=tuple(nodes))


def _random(value: Value, rng: np.random.Generator) -> Array:
    if value.dtype in ("float32", "float16", "bfloat16"):
        return rng.standard_normal(value.elements, np.float32).astype(NUMPY_TYPES[value.dtype])
    return rng.integers(0, 2, value.elements).astype(NUMPY_TYPES[value.dtype])
