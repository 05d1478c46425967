"""Tuning a spec on the GPU at hand: rewrites' forms, then engines and tiles, then whole passes; then the lock.

Everything that is to be timed is compiled into one module a round. What has been measured stands in a journal beside
the spec until the lock is written, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cnngen import __version__
from cnngen.codegen import passes
from cnngen.codegen.architectures import gpus
from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.plan_names import PlanNames
from cnngen.codegen.engines import split_engine
from cnngen.codegen.graph import Array, Graph, Node, Value, step_digest, step_text
from cnngen.codegen.lock import (
    PLANS_SUFFIX,
    SUFFIX,
    FormEntry,
    Lock,
    LockError,
    PlanEntry,
    StepEntry,
    load_lock,
    lock_path,
    lock_text,
)
from cnngen.codegen.lower import lower
from cnngen.codegen.passes.assign_buffers import assign_buffers
from cnngen.codegen.passes.plan_weights import plan_weights
from cnngen.codegen.passes.select_engines import with_engine
from cnngen.codegen.plan import BatchPlan, Plan
from cnngen.codegen.storage import NUMPY_TYPES
from cnngen.codegen.targets import CUDA
from cnngen.codegen.titles import titles_of
from cnngen.codegen.tuning.bench import Bench, make_bench
from cnngen.codegen.tuning.journal import Journal, Timing
from cnngen.codegen.tuning.measure import Deadline, kind_of, measure_cases, relative
from cnngen.codegen.tuning.module import Candidates, build_candidates, footprint, numbered
from cnngen.codegen.tuning.search import LEAST_GAIN, LEAST_GAIN_US, ROUNDS, alternatives, improved
from cnngen.spec.network import NetworkSpec

# Told of what is going on: the stage, steps done, steps in all.
Told = Callable[[str, int, int], None]

CLOSE = 1.15  # times the best: an engine that is tried in the whole pass
ALTERNATIVES = 2  # of them, a step
REPLAYS = 40  # of a whole pass
PASS_GAIN = 0.002  # what a whole pass must gain: its median is steadier than a step's


@dataclass
class PlanSearch:
    """The search for one batch size in one profile."""

    name: str
    rewrite: Callable[[Choices], Graph]
    choices: Choices
    compared: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)

    @property
    def base(self) -> Graph:
        return self.rewrite(self.choices)


@dataclass(frozen=True)
class Tuned:
    """What came of it."""

    lock: Lock
    path: Path
    rejected: tuple[str, ...]  # engines that computed something else
    differences: Mapping[str, float]  # by plan: of the outputs, against those by every first choice


def tune(
    path: Path,
    spec: NetworkSpec,
    weights: Mapping[str, Array],
    *,
    budget: float = math.inf,
    fresh: bool = False,
    device: int = 0,
    told: Told = lambda _stage, _done, _total: None,
) -> Tuned:
    """Tunes the spec that was loaded from `path`, and writes its lock beside it.

    budget: seconds after which no more alternatives are looked for
    fresh:  leaves an earlier lock and an interrupted run's journal out of account

    Raises LockError where there is no GPU, CnngenError as a build does.
    """
    if not gpus():
        raise LockError("tuning needs the GPU that the network is to run on; none was found here")
    deadline = Deadline(time.monotonic() + budget)
    session = _Session(path, spec, weights, device, deadline, told, fresh)
    for _ in range(ROUNDS):
        if not session.round():
            break
    return session.finish()


class _Session:
    def __init__(
        self,
        path: Path,
        spec: NetworkSpec,
        weights: Mapping[str, Array],
        device: int,
        deadline: Deadline,
        told: Told,
        fresh: bool,
    ) -> None:
        self.path, self.spec, self.device = path, spec, device
        self.deadline, self.told, self.fresh = deadline, told, fresh
        self.computed = CUDA.adapt(spec)
        self.work = _work_folder(path)
        names = PlanNames(spec)
        self.searches: list[PlanSearch] = []
        self.journal: Journal | None = None
        self.machine: dict[str, str] = {}
        for profile in range(spec.profile_count):
            for batch in spec.batch_sizes:
                lowered = lower(self.computed, weights, batch, profile)
                begun = passes.run(lowered, end=passes.FIRST_CHOICE)
                name = names.suffix(_named(begun, profile))
                self.searches.append(PlanSearch(name, _rewriter(begun), Choices()))

    # --- rewrites ------------------------------------------------------------------------------------------------

    def round(self) -> bool:
        """Measures what the choices leave open; whether something changed."""
        others = [alternatives(search.base, search.choices, search.rewrite) for search in self.searches]
        known = self.journal.steps if self.journal else {}
        benches = [
            make_bench(search.base, [graph for _, graph in graphs], known)
            for search, graphs in zip(self.searches, others, strict=True)
        ]
        if any(bench.cases for bench in benches):
            self._measure(benches)
        changed = False
        for search, graphs in zip(self.searches, others, strict=True):
            before = {site.key: site.chosen for site in search.base.sites}
            choices, compared = improved(search.base, search.choices, graphs, self._journal.steps)
            search.compared = {**search.compared, **compared}
            changed |= dict(choices.forms) != before
            search.choices = choices
        return changed and not self.deadline.is_past

    def _measure(self, benches: Sequence[Bench]) -> None:
        batches = numbered([_bench_plan(bench) for bench in benches])
        footprints = [footprint(_plan_of(search.base)) for search in self.searches]
        candidates = self._build("candidates", batches, footprints)
        for number, (bench, search) in enumerate(zip(benches, self.searches, strict=True)):
            told = self._teller(f"time the steps of {search.name}")
            measure_cases(candidates, number, bench.cases, self._journal, self.deadline, told)

    def _teller(self, stage: str) -> Callable[[int, int, str], None]:
        return lambda done, total, step: self.told(f"{stage}: {step}" if step else stage, done, total)

    def _build(self, stage: str, batches: Sequence[BatchPlan], footprints: Sequence[int]) -> Candidates:
        table = plan_weights([batch.graph for batch in batches])
        placed = [
            dataclasses.replace(batch, weights=places)
            for batch, places in zip(batches, table.places, strict=True)
        ]
        plan = Plan(_single(self.spec), CUDA, _single(self.computed), table, tuple(placed))
        candidates = build_candidates(
            plan,
            self.work / stage,
            footprints,
            self.device,
            lambda step, done, total: self.told(f"{stage}: {step}", done, total),
        )
        if self.journal is None:
            self._begin(candidates)
        return candidates

    def _begin(self, candidates: Candidates) -> None:
        """Now that the machine is known: the journal, and what an earlier lock for it says."""
        self.machine = {**candidates.tuner.versions(), **_driver()}
        self.lock_path = lock_path(self.path, self.machine["gpu"])
        journal = self.lock_path.with_name(self.lock_path.name.removesuffix(SUFFIX) + ".tuning.jsonl")
        if self.fresh:
            journal.unlink(missing_ok=True)
        self.journal = Journal(journal, {**self.machine, "cnngen": __version__})
        self.earlier = None
        if self.lock_path.is_file() and not self.fresh:
            self.earlier = load_lock(self.lock_path)

    @property
    def _journal(self) -> Journal:
        if self.journal is None:  # nothing was compiled yet, so that the machine is not known
            self._measure([Bench(search.base, ()) for search in self.searches])
        if self.journal is None:
            raise LockError("the GPU does not tell what it is")
        return self.journal

    # --- engines, and whole passes -----------------------------------------------------------------------------------

    def finish(self) -> Tuned:
        """Engines by their steps' times, then by those of whole passes; the lock."""
        journal = self._journal
        groups = [self._options(search) for search in self.searches]
        batches, footprints = [], []
        for search, options in zip(self.searches, groups, strict=True):
            graph = search.base
            graphs = [search.rewrite(Choices())] + [
                _with_engines(
                    graph, {name: few[min(k, len(few) - 1)].engine for name, few in options.items()}
                )
                for k in range(ALTERNATIVES + 1)
            ]
            batches += [_plan_of(each) for each in graphs]
            footprints += [footprint(batch) for batch in batches[-len(graphs) :]]
        candidates = self._build("passes", numbered(batches), footprints)
        plans, differences = {}, {}
        for number, (search, options) in enumerate(zip(self.searches, groups, strict=True)):
            first = number * (ALTERNATIVES + 2)
            plans[search.name] = self._pass(search, options, candidates, first)
            differences[search.name] = _difference(candidates, first, first + 1)
        lock = Lock(cnngen=__version__, machine=self.machine, plans=plans)
        folder = self.lock_path.with_name(self.lock_path.name.removesuffix(SUFFIX) + PLANS_SUFFIX)
        for number, search in enumerate(self.searches):
            self._save_plans(candidates, number * (ALTERNATIVES + 2) + 1, plans[search.name], folder)
        text = lock_text(lock, self.path.name, folder.name)
        part = self.lock_path.with_name(self.lock_path.name + ".part")
        part.write_text(text, encoding="utf-8")
        part.replace(self.lock_path)
        journal.path.unlink(missing_ok=True)
        return Tuned(lock, self.lock_path, tuple(journal.rejected), differences)

    def _options(self, search: PlanSearch) -> dict[str, list[Timing]]:
        """For each step, by the name of what it writes, the engines that come into question, the best first."""
        graph, found = search.base, {}
        titles = titles_of(graph)
        earlier = self.earlier.plans.get(search.name) if self.earlier else None
        for node in _plan_of(graph).steps:
            timings = self._journal.steps[step_text(node, graph)]
            kept = earlier.steps.get(titles[node.name]) if earlier else None
            found[node.name] = _ordered(timings, kept.engine if kept else "")
        return found

    def _pass(
        self, search: PlanSearch, options: Mapping[str, Sequence[Timing]], candidates: Candidates, first: int
    ) -> PlanEntry:
        """The step's engines that make the whole pass fastest, from the fastest ones on."""
        tuner = candidates.tuner
        nodes = candidates.plan.batches[first + 1].steps
        chosen = {node.name: 0 for node in nodes}

        def measured() -> float:
            steps = [(first + 1 + chosen[node.name], "") for node in nodes]
            return tuner.measure_pass(first + 1, steps, REPLAYS)[0]

        untuned, _ = tuner.measure_pass(first, [], REPLAYS)
        best = measured()
        order = sorted(nodes, key=lambda node: -options[node.name][0].us)
        for done, node in enumerate(order):
            self.told(f"try neighbours of {search.name}", done, len(order))
            for k in range(1, min(len(options[node.name]), ALTERNATIVES + 1)):
                if self.deadline.is_past:
                    break
                before, chosen[node.name] = chosen[node.name], k
                us = measured()
                if us < best * (1 - PASS_GAIN) and (us := max(us, measured())) < best * (1 - PASS_GAIN):
                    best = us
                else:
                    chosen[node.name] = before
        return PlanEntry(
            us=min(best, measured()),
            first_us=untuned,
            forms=_forms(search),
            steps=_steps(search.base, nodes, options, chosen, self._journal.steps),
        )

    def _save_plans(self, candidates: Candidates, plan: int, entry: PlanEntry, folder: Path) -> None:
        batch = candidates.plan.batches[plan]
        titles = titles_of(batch.graph)
        engines = []
        for node in batch.steps:
            engine = entry.steps[titles[node.name]].engine if titles[node.name] in entry.steps else ""
            engines.append(engine if split_engine(engine)[0] not in ("implicit_gemm", "tile") else "")
        candidates.tuner.save_plans(plan, engines, str(folder))


# --- pieces of it ---------------------------------------------------------------------------------------------------


def _rewriter(begun: Graph) -> Callable[[Choices], Graph]:
    return lambda choices: passes.run(begun, choices, begin=passes.FIRST_CHOICE)


def _ordered(timings: Sequence[Timing], kept: str) -> list[Timing]:
    """The engines close to the best, first the one to take.

    Of those that cannot be told apart it is the one that was kept, or else the first that was offered.
    """
    best = min(timing.us for timing in timings)
    same = [timing for timing in timings if timing.us <= best + max(LEAST_GAIN_US, LEAST_GAIN * best)]
    first = min(same, key=lambda timing: (timing.engine != kept, timing.rank))
    close = sorted((t for t in timings if t is not first and t.us <= best * CLOSE), key=lambda t: t.us)
    return [first, *close[:ALTERNATIVES]]


def _with_engines(graph: Graph, engines: Mapping[str, str]) -> Graph:
    nodes = [with_engine(node, graph, engines.get(node.name, "")) for node in graph.nodes]
    return dataclasses.replace(graph, nodes=tuple(nodes))


def _forms(search: PlanSearch) -> dict[str, FormEntry]:
    chosen = {site.key: site.chosen for site in search.base.sites}
    return {
        " ".join(key): FormEntry(chosen=chosen[key], us=table)
        for key, table in search.compared.items()
        if key in chosen
    }


def _steps(
    graph: Graph,
    nodes: Sequence[Node],
    options: Mapping[str, Sequence[Timing]],
    chosen: Mapping[str, int],
    timings: Mapping[str, Sequence[Timing]],
) -> dict[str, StepEntry]:
    """An entry for each step that had a choice."""
    titles, found = titles_of(graph), {}
    for node in nodes:
        own = graph.producers[node.name]
        every = timings[step_text(own, graph)]
        timing = options[node.name][chosen[node.name]]
        if len(every) < 2:
            continue
        others: dict[str, float] = {}
        for other in every:
            kind = kind_of(other.engine)
            if other.engine != timing.engine and kind not in others:
                others[kind] = other.us
        found[titles[node.name]] = StepEntry(
            engine=timing.engine,
            of=step_digest(own, graph),
            us=timing.us,
            workspace=timing.workspace,
            others=others,
        )
    return found


def _difference(candidates: Candidates, first: int, tuned: int) -> float:
    """How far the outputs of two plans are apart on the same random inputs, relative."""
    rng = np.random.default_rng()
    batches = candidates.plan.batches
    graph = batches[first].graph
    inputs = [_random(value, rng) for value in graph.inputs]
    results = []
    for plan in (first, tuned):
        values = [batches[plan].graph.values[name] for name in batches[plan].graph.outputs]
        outputs = [np.empty(value.elements, NUMPY_TYPES[value.dtype]) for value in values]
        candidates.tuner.run_pass(
            plan, [array.view(np.uint8) for array in inputs], [array.view(np.uint8) for array in outputs]
        )
        results.append([array.astype(np.float64) for array in outputs])
    return max(relative(got, reference) for reference, got in zip(*results, strict=True))


def _random(value: Value, rng: np.random.Generator) -> Array:
    if value.dtype in ("float32", "float16", "bfloat16"):
        return rng.standard_normal(value.elements, np.float32).astype(NUMPY_TYPES[value.dtype])
    return rng.integers(0, 2, value.elements).astype(NUMPY_TYPES[value.dtype])


def _bench_plan(bench: Bench) -> BatchPlan:
    arena = assign_buffers(bench.graph, in_place=False, attempts=0)
    return BatchPlan(bench.graph, arena, {}, 0)


def _plan_of(graph: Graph) -> BatchPlan:
    (places,) = plan_weights([graph]).places
    return BatchPlan(graph, assign_buffers(graph), places, 0)


def _named(graph: Graph, profile: int) -> BatchPlan:
    return BatchPlan(graph, assign_buffers(graph, attempts=0), {}, profile)


def _single(spec: NetworkSpec) -> NetworkSpec:
    """The spec as that of candidates: their number is told otherwise."""
    return spec.model_copy(update={"profiles": ()})


def _work_folder(path: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = "".join(c if c.isalnum() else "_" for c in str(path.resolve()))[-80:]
    return cache / "cnngen" / "tuning" / name


def _driver() -> dict[str, str]:
    """The driver's own version, where the system tells it."""
    try:
        line = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return {}
    numbers = [word for word in line.split() if word[0].isdigit() and word.count(".") >= 1]
    return {"driver": numbers[0]} if numbers else {}
