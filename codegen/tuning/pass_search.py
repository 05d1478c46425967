"""Which engines make a whole pass fastest: those that their steps' times prefer, then neighbours, one at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cnngen.codegen.engines import OF_LIBRARIES, has_engines, split_engine
from cnngen.codegen.graph import Array, Graph, Value, is_view
from cnngen.codegen.graph_text import step_digest, step_text
from cnngen.codegen.lock import LockError, PlanEntry, StepEntry
from cnngen.codegen.passes.plan_streams import branches, plan_streams
from cnngen.codegen.passes.plan_weights import plan_weights
from cnngen.codegen.passes.select_engines import with_engine
from cnngen.codegen.plan import BatchPlan, plan_batch
from cnngen.codegen.storage import NUMPY_TYPES
from cnngen.codegen.titles import titles_of
from cnngen.codegen.tuning.journal import Timing
from cnngen.codegen.tuning.measure import Deadline, Told, kind_of, relative
from cnngen.codegen.tuning.module import Candidates, PassStep
from cnngen.codegen.tuning.search import LEAST_GAIN, LEAST_GAIN_US, Timings

CLOSE = 1.15  # times the best: an engine that is tried in the whole pass
ALTERNATIVES = 2  # of them, a step
REPLAYS = 40  # of a whole pass
# Of a pass: what it may take longer to need no library, which a network that is started opens for a tenth of a second.
LIBRARY_FREE = 0.01
# What a whole pass must gain: its median is steadier than a step's, but for short ones.
PASS_GAIN, PASS_GAIN_US = 0.002, 0.15
Chosen = Mapping[str, int]  # by the name of what a step writes: the number of its option
# Of a pass: what it must gain for an earlier lock's choices to go. Many are equally good, and a lock is read as text.
WORTH_A_CHANGE = 0.01
Options = Mapping[
    str, Sequence[Timing]
]  # by the name of what a step writes: its engines, first the one to take


@dataclass(frozen=True)
class Earlier:
    """An earlier lock's engines, by the names of what steps write, and its branches on streams of their own."""

    engines: Mapping[str, str] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """A pass, and what it takes."""

    us: float
    first_us: float  # by every first choice
    engines: Mapping[str, Timing]  # by the name of what a step writes
    beside: frozenset[str] = frozenset()  # branches on streams of their own
    rejected: tuple[str, ...] = ()  # branches that do not run there, and why

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
            if timing.engine == self.earlier.engines.get(name)
        }

    def fastest(self, candidates: Candidates, deadline: Deadline, told: Told) -> tuple[Found, Found | None]:
        """From the steps' best engines on, each step's others are tried, and kept where the pass gains.

        Then each branch on a stream of its own. What an earlier lock has stays where that gains too little. Also what
        takes hardly longer and needs no library; None where nothing does.
        """
        trials = _Trials(self, candidates, deadline, told)
        first = dict.fromkeys(self.options, 0)
        trials.measured(first)  # a GPU that has rested runs faster for a while
        first_us, _ = candidates.tuner.measure_pass(self.first, [], REPLAYS)

        def found(chosen: Chosen) -> Found:
            return trials.branched(chosen, first_us)

        chosen = trials.descended(first, "", lambda _: True)
        best = found(chosen)
        if self.kept:
            before = trials.found({**chosen, **self.kept}, self.earlier.beside, first_us)
            if best.us > before.us * (1 - WORTH_A_CHANGE):
                return before, None if before.needs_libraries else before
        if not best.needs_libraries:
            return best, best
        own = self._own()
        if own is None:
            return best, None
        without = found(trials.descended(own, "without libraries", lambda timing: not is_of_library(timing)))
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

        def outputs(plan: int, steps: Sequence[PassStep], one_by_one: bool) -> list[Array]:
            values = [batches[plan].graph.values[name] for name in batches[plan].graph.outputs]
            arrays = [np.empty(value.elements, NUMPY_TYPES[value.dtype]) for value in values]
            tuner.run_pass(plan, steps, inputs, [array.view(np.uint8) for array in arrays], one_by_one)
            return [array.astype(np.float64) for array in arrays]

        first = outputs(self.first, [], one_by_one=True)
        if not all(np.isfinite(array).all() for array in first):
            return Differences(math.nan, math.nan)
        chosen = {name: self.options[name].index(timing) for name, timing in found.engines.items()}
        steps = self.steps(candidates, chosen, found.beside)
        apart, together = (outputs(self.tuned, steps, one_by_one) for one_by_one in (True, False))
        return Differences(_largest(apart, first), _largest(together, apart))

    def steps(self, candidates: Candidates, chosen: Chosen, beside: frozenset[str]) -> list[PassStep]:
        """Where among the candidates the steps with these engines are, and on which streams they go."""
        batch = candidates.plan.batches[self.tuned]
        if not beside:  # as most passes that are tried
            return [(self.tuned + chosen[node.name], "", 0, ()) for node in batch.steps]
        streams = plan_streams(batch.graph, beside, within=batch.streams)
        places = [(streams.of.get(node.name, 0), streams.waits.get(node.name, ())) for node in batch.steps]
        return [
            (self.tuned + chosen[node.name], "", stream, waits)
            for node, (stream, waits) in zip(batch.steps, places, strict=True)
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


@dataclass(frozen=True)
class _Trials:
    """Whole passes that are timed."""

    search: PassSearch
    candidates: Candidates
    deadline: Deadline
    told: Told

    def measured(self, chosen: Chosen, beside: frozenset[str] = frozenset()) -> float:
        """Microseconds of a pass with these engines, and those branches on streams of their own."""
        steps = self.search.steps(self.candidates, chosen, beside)
        return self.candidates.tuner.measure_pass(self.search.tuned, steps, REPLAYS)[0]

    def gains(self, best: float, chosen: Chosen, beside: frozenset[str] = frozenset()) -> float | None:
        """What a pass takes that is faster than the best one, each time it is asked; None of any other."""
        enough = best - max(PASS_GAIN_US, PASS_GAIN * best)
        us = self.measured(chosen, beside)
        return us if us < enough and (us := max(us, self.measured(chosen, beside))) < enough else None

    def descended(self, chosen: Chosen, stage: str, is_allowed: Callable[[Timing], bool]) -> Chosen:
        """From there, each step's allowed others one by one, the longest first, kept where the pass gains."""
        options, best = self.search.options, self.measured(chosen)
        order = sorted(options, key=lambda name: -options[name][0].us)
        for done, name in enumerate(order):
            self.told(done, len(order), stage)
            for k, timing in enumerate(options[name]):
                if self.deadline.is_past or k == chosen[name] or not is_allowed(timing):
                    continue
                other = {**chosen, name: k}
                if us := self.gains(best, other):
                    best, chosen = us, other
        return chosen

    def branched(self, chosen: Chosen, first_us: float) -> Found:
        """The pass with these engines and each branch on a stream of its own that makes it faster."""
        best, beside, rejected = self.measured(chosen), frozenset[str](), []
        for branch in branches(self.search.graph):
            other = beside | {branch.name}
            try:
                if not self.deadline.is_past and (us := self.gains(best, chosen, other)):
                    best, beside = us, other
            except RuntimeError as error:
                rejected.append(f"{branch.name} beside others in {self.search.name}: {error}")
        found = self.found(chosen, beside, first_us)
        return replace(found, us=min(found.us, best), rejected=tuple(rejected))

    def found(self, chosen: Chosen, beside: frozenset[str], first_us: float) -> Found:
        """The pass with these engines and those branches on streams of their own."""
        engines = {name: self.search.options[name][k] for name, k in chosen.items()}
        return Found(self.measured(chosen, beside), first_us, engines, beside)


def planned(graph: Graph, beside: Collection[str] = ()) -> BatchPlan:
    """A plan of one graph."""
    (places,) = plan_weights([graph]).places
    return plan_batch(graph, places, beside=beside)


def step_options(graph: Graph, timings: Timings, earlier: Earlier) -> Options:
    """For each step the engines that come into question, first the one to take."""
    return {
        node.name: _ordered(timings[step_text(node, graph)], earlier.engines.get(node.name, ""))
        for node in graph.nodes
        if not is_view(node)
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


def earlier_choices(graph: Graph, entry: PlanEntry | None) -> Earlier:
    """What an earlier lock's plan says of the graph's steps and branches."""
    if entry is None:
        return Earlier()
    titles, known = titles_of(graph), {branch.name for branch in branches(graph)}
    engines = {name: entry.steps[title].engine for name, title in titles.items() if title in entry.steps}
    return Earlier(engines, frozenset(known.intersection(entry.beside)))


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
    """What a lock says of each step that has engines or had another choice, by its title."""
    titles, found = titles_of(graph), {}
    for name, timing in engines.items():
        node = graph.producers[name]
        every = timings[step_text(node, graph)]
        if len(every) < 2 and not has_engines(node, graph):
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
