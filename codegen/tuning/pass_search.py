"""Which engines make a whole pass fastest: those that their steps' times prefer, then neighbours, one at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
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
Choice = tuple[float, dict[str, int]]  # what a pass takes, and each step's option in it
Earlier = Mapping[str, str]  # by the name of what a step writes: the engine of an earlier lock
# Of a pass: what it must gain for an earlier lock's choices to go. Many are equally good, and a lock is read as text.
WORTH_A_CHANGE = 0.01
Options = Mapping[
    str, Sequence[Timing]
]  # by the name of what a step writes: its engines, first the one to take


@dataclass(frozen=True)
class Found:
    """A pass, and what it takes."""

    us: float
    first_us: float  # by every first choice
    engines: Mapping[str, Timing]  # by the name of what a step writes

    @property
    def needs_libraries(self) -> bool:
        return any(map(is_of_library, self.engines.values()))


@dataclass(frozen=True)
class Differences:
    """Of a pass's outputs, relative: by its engines, and by running together instead of one by one."""

    engines: float
    order: float


@dataclass(frozen=True)
class PassSearch:
    """The search among candidates for one plan. They begin with that of every first choice; `pass_graphs` follow."""

    name: str
    graph: Graph
    options: Options
    earlier: Earlier
    first: int

    @property
    def tuned(self) -> int:
        """The number of the candidate with each step's best engine."""
        return self.first + 1

    @property
    def kept(self) -> dict[str, int]:
        """Those of the options that an earlier lock has."""
        return {
            name: k
            for name, few in self.options.items()
            for k, timing in enumerate(few)
            if timing.engine == self.earlier.get(name)
        }

    def fastest(self, candidates: Candidates, deadline: Deadline, told: Told) -> tuple[Found, Found | None]:
        """From the steps' best engines on, each step's others are tried, and kept where the pass gains.

        What an earlier lock has stays where that gains too little. Also what takes hardly longer and needs no library;
        None where nothing does.
        """
        tuner = candidates.tuner
        nodes = candidates.plan.batches[self.tuned].steps
        first = {node.name: 0 for node in nodes}

        def measured(chosen: Mapping[str, int]) -> float:
            steps = [(self.tuned + chosen[node.name], "") for node in nodes]
            return tuner.measure_pass(self.tuned, steps, REPLAYS)[0]

        def descended(chosen: dict[str, int], stage: str, is_allowed: Callable[[Timing], bool]) -> Choice:
            """From there, each step's allowed others one by one, kept where the pass gains."""
            best = measured(chosen)
            for done, node in enumerate(order):
                told(done, len(order), stage)
                for k, timing in enumerate(self.options[node.name]):
                    if deadline.is_past or k == chosen[node.name] or not is_allowed(timing):
                        continue
                    other = {**chosen, node.name: k}
                    enough = best - max(PASS_GAIN_US, PASS_GAIN * best)
                    us = measured(other)
                    if us < enough and (us := max(us, measured(other))) < enough:
                        best, chosen = us, other
            return min(best, measured(chosen)), chosen

        measured(first)  # a GPU that has rested runs faster for a while
        untuned, _ = tuner.measure_pass(self.first, [], REPLAYS)
        order = sorted(nodes, key=lambda node: -self.options[node.name][0].us)

        def found(us: float, chosen: Mapping[str, int]) -> Found:
            return Found(us, untuned, {name: self.options[name][k] for name, k in chosen.items()})

        us, chosen = descended(first, "", lambda _: True)
        best = found(us, chosen)
        if self.kept:
            as_before = {**chosen, **self.kept}
            before = found(measured(as_before), as_before)
            if best.us > before.us * (1 - WORTH_A_CHANGE):
                return before, None if before.needs_libraries else before
        if not best.needs_libraries:
            return best, best
        own = self._own()
        if own is None:
            return best, None
        without = found(*descended(own, "without libraries", lambda timing: not is_of_library(timing)))
        return best, without if without.us <= best.us * (1 + LIBRARY_FREE) else None

    def _own(self) -> dict[str, int] | None:
        """The first of our own kernels for each step; None where there is none for one of them."""
        found = {}
        for name, few in self.options.items():
            own = [k for k, timing in enumerate(few) if not is_of_library(timing)]
            if not own:
                return None
            found[name] = own[0]
        return found

    def differences(self, candidates: Candidates, found: Found) -> Differences:
        """What a pass gives on random inputs, against the same steps one by one, and those of all first choices.

        NaN where not even the first choices give numbers.
        """
        rng = np.random.default_rng()
        tuner, batches = candidates.tuner, candidates.plan.batches
        inputs = [_random(value, rng).view(np.uint8) for value in batches[self.first].graph.inputs]

        def outputs(plan: int, steps: Sequence[tuple[int, str]], one_by_one: bool) -> list[Array]:
            values = [batches[plan].graph.values[name] for name in batches[plan].graph.outputs]
            arrays = [np.empty(value.elements, NUMPY_TYPES[value.dtype]) for value in values]
            tuner.run_pass(plan, steps, inputs, [array.view(np.uint8) for array in arrays], one_by_one)
            return [array.astype(np.float64) for array in arrays]

        first = outputs(self.first, [], one_by_one=True)
        if not all(np.isfinite(array).all() for array in first):
            return Differences(math.nan, math.nan)
        steps = self._steps(candidates, found.engines)
        apart, together = (outputs(self.tuned, steps, one_by_one) for one_by_one in (True, False))
        return Differences(_largest(apart, first), _largest(together, apart))

    def _steps(self, candidates: Candidates, engines: Mapping[str, Timing]) -> list[tuple[int, str]]:
        """Where among the candidates the steps with these engines are."""
        return [
            (self.tuned + self.options[node.name].index(engines[node.name]), "")
            for node in candidates.plan.batches[self.tuned].steps
        ]

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


def step_options(graph: Graph, timings: Timings, earlier: Earlier) -> Options:
    """For each step the engines that come into question, first the one to take."""
    return {
        node.name: _ordered(timings[step_text(node, graph)], earlier.get(node.name, ""))
        for node in planned(graph).steps
    }


def library_free(graph: Graph, options: Options, timings: Timings) -> Options | None:
    """The options and, where the best is a library's, the best of our own kernels.

    None where a step has none, or where a pass of them would take much longer.
    """
    found: dict[str, Sequence[Timing]] = {}
    longer = 0.0
    for name, few in options.items():
        found[name] = few
        if is_of_library(few[0]):
            own = [t for t in timings[step_text(graph.producers[name], graph)] if not is_of_library(t)]
            if not own:
                return None
            best = _ordered(own, "")
            found[name] = [*few, *(timing for timing in best if timing not in few)]
            longer += max(best[0].us - few[0].us, 0)
    whole = sum(few[0].us for few in options.values())
    return found if longer <= 2 * LIBRARY_FREE * whole else None


def earlier_engines(graph: Graph, entry: PlanEntry | None) -> Earlier:
    """What an earlier lock's plan says of the graph's steps."""
    titles = titles_of(graph)
    steps = entry.steps if entry else {}
    return {name: steps[title].engine for name, title in titles.items() if title in steps}


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
    """The engines close to the best, first the one to take, and the one that was kept.

    Of those that cannot be told apart it is the one that was kept, or else the first that was offered.
    """
    if not timings:
        raise LockError("no engine runs a step of the network within the workspace limit")
    best = min(timing.us for timing in timings)
    same = [timing for timing in timings if timing.us <= best + max(LEAST_GAIN_US, LEAST_GAIN * best)]
    first = min(same, key=lambda timing: (timing.engine != kept, timing.rank))
    others = sorted((timing for timing in timings if timing is not first), key=lambda timing: timing.us)
    close = [timing for timing in others if timing.us <= best * CLOSE][:ALTERNATIVES]
    return [first, *close, *(timing for timing in others if timing.engine == kept and timing not in close)]


def _largest(got: Sequence[Array], reference: Sequence[Array]) -> float:
    return max(relative(*pair) for pair in zip(got, reference, strict=True))


def _with_engines(graph: Graph, engines: Mapping[str, str]) -> Graph:
    nodes = [with_engine(node, graph, engines.get(node.name, "")) for node in graph.nodes]
    return dataclasses.replace(graph, nodes=tuple(nodes))


def _random(value: Value, rng: np.random.Generator) -> Array:
    if value.dtype in ("float32", "float16", "bfloat16"):
        return rng.standard_normal(value.elements, np.float32).astype(NUMPY_TYPES[value.dtype])
    return rng.integers(0, 2, value.elements).astype(NUMPY_TYPES[value.dtype])
