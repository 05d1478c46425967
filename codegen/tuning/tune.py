"""Tuning a spec on the GPU at hand: rewrites' forms, then engines and tiles, then whole passes; then the lock.

Everything that is to be timed is compiled into one module a round. What has been measured stands in a journal beside
the spec until the lock is written, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnngen import __version__
from cnngen.codegen import passes
from cnngen.codegen.architectures import gpu_names, gpus
from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.plan_names import PlanNames
from cnngen.codegen.engines import KINDS, is_beginning
from cnngen.codegen.graph import Array, Graph
from cnngen.codegen.lock import (
    PLANS_SUFFIX,
    SUFFIX,
    FormEntry,
    Lock,
    LockError,
    PlanEntry,
    load_lock,
    lock_path,
    lock_text,
)
from cnngen.codegen.lower import lower
from cnngen.codegen.passes.plan_streams import branches
from cnngen.codegen.passes.plan_weights import plan_weights
from cnngen.codegen.plan import BatchPlan, Plan, plan_batch
from cnngen.codegen.targets import CUDA
from cnngen.codegen.tuning.bench import Bench, make_bench
from cnngen.codegen.tuning.clock import Clock
from cnngen.codegen.tuning.journal import Journal
from cnngen.codegen.tuning.measure import Deadline, measure_cases
from cnngen.codegen.tuning.module import Candidates, build_candidates, footprint, numbered
from cnngen.codegen.tuning.pass_search import (
    Differences,
    Earlier,
    Found,
    Options,
    PassSearch,
    earlier_choices,
    library_free,
    pass_graphs,
    planned,
    step_entries,
    step_options,
)
from cnngen.codegen.tuning.search import ROUNDS, Timings, alternatives, improved, opened
from cnngen.codegen.tuning.turns import cache_folder, gpu_to_itself
from cnngen.spec.network import NetworkSpec

MORE_THAN_CHANCE = (
    0.01  # of outputs' relative difference by order alone: most kernels always give the same bits
)
# Told of what is going on: the stage, steps done, steps in all.
Told = Callable[[str, int, int], None]


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
    rejected: tuple[str, ...]  # engines that computed something else or did not run, and branches likewise
    differences: Mapping[str, Differences]  # by plan
    seconds: Mapping[str, float]  # by what they were spent on


def tune(
    path: Path,
    spec: NetworkSpec,
    weights: Mapping[str, Array],
    *,
    budget: float = math.inf,
    fresh: bool = False,
    without: Sequence[str] = (),
    device: int = 0,
    told: Told = lambda _stage, _done, _total: None,
) -> Tuned:
    """Tunes the spec that was loaded from `path`, and writes its lock beside it.

    budget:  seconds after which no more alternatives are looked for
    fresh:   leaves an earlier lock and an interrupted run's journal out of account
    without: engines that are left out wherever something else runs a step, by their first words: "cublaslt", "cudnn 39"

    Raises LockError where there is no GPU or no such engine can be, CnngenError as a build does.
    """
    if unknown := [repr(words) for words in without if not is_beginning(words)]:
        raise LockError(
            f"no engine's name begins with {' or '.join(unknown)}: expected {', '.join(KINDS)}, or such as 'cudnn 39'"
        )
    if not gpus():
        raise LockError("tuning needs the GPU that the network is to run on; none was found here")
    deadline = Deadline(time.monotonic() + budget)
    session = _Session(path, spec, weights, device, deadline, told, fresh, without)
    try:
        for _ in range(ROUNDS):
            if not session.round():
                break
        return session.finish()
    except RuntimeError as error:  # of what is timed
        raise LockError(f"the GPU failed, and what was measured until then is kept: {error}") from error


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
        without: Sequence[str],
    ) -> None:
        self.path, self.spec, self.device = path, spec, device
        self.deadline, self.told, self.fresh, self.without = deadline, told, fresh, tuple(without)
        self.computed = CUDA.adapt(spec)
        self.work = _work_folder(path)
        self.earlier = None if fresh else _earlier_lock(path, device)
        names = PlanNames(spec)
        self.searches: list[PlanSearch] = []
        self.journal: Journal | None = None
        self.machine: dict[str, str] = {}
        self.clock = Clock()
        for profile in range(spec.profile_count):
            for batch in spec.batch_sizes:
                lowered = lower(self.computed, weights, batch, profile)
                begun = passes.run(lowered, end=passes.FIRST_CHOICE)
                name = names.suffix(_named(begun, profile))
                forms = self.earlier.choices(name).forms if self.earlier else {}
                self.searches.append(PlanSearch(name, _rewriter(begun), Choices(forms=forms)))

    # --- rewrites ------------------------------------------------------------------------------------------------

    def round(self) -> bool:
        """Measures what the choices leave open; whether something changed."""
        others = [alternatives(search.base, search.choices, search.rewrite) for search in self.searches]
        known = self.journal.steps if self.journal else {}
        benches = []
        for search, graphs in zip(self.searches, others, strict=True):
            made = [graph for _, graph in graphs]
            benches.append(
                make_bench(search.base, [*made, *opened(search.base, made, search.rewrite)], known)
            )
        if any(bench.cases for bench in benches):
            self._measure(benches)
        changed = False
        for search, graphs in zip(self.searches, others, strict=True):
            before = {**search.choices.forms, **{site.key: site.chosen for site in search.base.sites}}
            choices, compared = improved(search.base, search.choices, graphs, self._journal.steps)
            search.compared = {**search.compared, **compared}
            changed |= dict(choices.forms) != before
            search.choices = choices
        return changed and not self.deadline.is_past

    def _measure(self, benches: Sequence[Bench]) -> None:
        batches = numbered([_bench_plan(bench) for bench in benches])
        footprints = [footprint(planned(search.base)) for search in self.searches]
        candidates = self._build("candidates", batches, footprints)
        earlier = self.earlier.plans.values() if self.earlier else ()
        kept = {entry.of: entry.engine for plan in earlier for entry in plan.steps.values()}
        for number, (bench, search) in enumerate(zip(benches, self.searches, strict=True)):
            told = self._teller(f"time the steps of {search.name}")
            cases, journal = bench.cases, self._journal
            measure_cases(
                candidates, number, cases, journal, self.deadline, self.clock, told, kept, self.without
            )

    def _teller(self, stage: str) -> Callable[[int, int, str], None]:
        return lambda done, total, step: self.told(f"{stage}: {step}" if step else stage, done, total)

    def _build(self, stage: str, batches: Sequence[BatchPlan], footprints: Sequence[int]) -> Candidates:
        table = plan_weights([batch.graph for batch in batches])
        placed = [
            dataclasses.replace(batch, weights=places)
            for batch, places in zip(batches, table.places, strict=True)
        ]
        plan = Plan(_single(self.spec), CUDA, _single(self.computed), table, tuple(placed))
        with self.clock.of("compiling"):
            candidates = build_candidates(
                plan,
                self.work,
                footprints,
                self.device,
                lambda step, done, total: self.told(f"{stage}: {step}", done, total),
            )
        if self.journal is None:
            self._begin(candidates)
        return candidates

    def _begin(self, candidates: Candidates) -> None:
        """Now that the machine is known: the journal."""
        self.machine = {**candidates.tuner.versions(), **_driver()}
        self.lock_path = lock_path(self.path, self.machine["gpu"])
        journal = self.lock_path.with_name(self.lock_path.name.removesuffix(SUFFIX) + ".tuning.jsonl")
        if self.fresh:
            journal.unlink(missing_ok=True)
        conditions = {"cnngen": __version__, "without": ", ".join(sorted(self.without))}
        self.journal = Journal(journal, {**self.machine, **conditions})

    @property
    def _journal(self) -> Journal:
        if self.journal is None:  # nothing was compiled yet, so that the machine is not known
            self._measure([Bench(search.base, ()) for search in self.searches])
        if self.journal is None:
            raise LockError("the GPU does not tell what it is")
        return self.journal

    # --- whole passes, and the lock -----------------------------------------------------------------------------------

    def _options(self, timings: Timings, earlier: Sequence[Earlier]) -> list[Options]:
        """The engines of each plan's steps, with those that need no library where all plans can do without."""
        found = [
            step_options(search.base, timings, before)
            for search, before in zip(self.searches, earlier, strict=True)
        ]
        free = [
            library_free(search.base, options, timings)
            for search, options in zip(self.searches, found, strict=True)
        ]
        return found if None in free else [options for options in free if options is not None]

    def finish(self) -> Tuned:
        """Engines by their steps' times, then by those of whole passes; the lock."""
        journal = self._journal
        searches = []
        batches: list[BatchPlan] = []
        plans = self.earlier.plans if self.earlier else {}
        earlier = [earlier_choices(search.base, plans.get(search.name)) for search in self.searches]
        every = self._options(journal.steps, earlier)
        for search, options, before in zip(self.searches, every, earlier, strict=True):
            searches.append(PassSearch(search.name, search.base, options, before, len(batches)))
            beside = [branch.name for branch in branches(search.base)]
            batches.append(planned(search.rewrite(Choices())))
            batches += [planned(graph, beside) for graph in pass_graphs(search.base, options)]
        candidates = self._build("passes", numbered(batches), [footprint(batch) for batch in batches])
        entries: dict[str, PlanEntry] = {}
        differences: dict[str, Differences] = {}
        rejected = list(journal.rejected)
        stem = self.lock_path.name.removesuffix(SUFFIX)
        folder = self.lock_path.with_name(stem + PLANS_SUFFIX)
        for search, passes_of, found in zip(
            self.searches, searches, self._fastest(candidates, searches), strict=True
        ):
            with gpu_to_itself(candidates.device), self.clock.of("whole passes"):
                differences[search.name] = passes_of.differences(candidates, found)
            plan = PlanEntry(
                us=found.us,
                first_us=found.first_us,
                forms=_forms(search),
                beside=tuple(sorted(found.beside)),
                steps=step_entries(search.base, found.engines, journal.steps),
            )
            rejected += found.rejected
            passes_of.save_plans(candidates, plan, folder)
            entries[search.name] = plan
        lock = Lock(cnngen=__version__, machine=self.machine, plans=entries)
        part = self.lock_path.with_name(self.lock_path.name + ".part")
        part.write_text(lock_text(lock, self.path.name, folder.name), encoding="utf-8")
        part.replace(self.lock_path)
        journal.path.unlink(missing_ok=True)
        return Tuned(lock, self.lock_path, tuple(rejected), differences, dict(self.clock.seconds))

    def _fastest(self, candidates: Candidates, searches: Sequence[PassSearch]) -> list[Found]:
        """The passes to lock: those that need no library where all plans can do without."""
        found, without = [], []
        for search in searches:
            told = self._teller(f"try neighbours of {search.name}")
            with gpu_to_itself(candidates.device), self.clock.of("whole passes"):
                best, free = search.fastest(candidates, self.deadline, told)
            found.append(best)
            without.append(free)
        return [free for free in without if free] if all(without) else found


# --- pieces of it ---------------------------------------------------------------------------------------------------


def _rewriter(begun: Graph) -> Callable[[Choices], Graph]:
    """Makes the graph of some choices, each once."""
    known: dict[object, Graph] = {}

    def rewrite(choices: Choices) -> Graph:
        key = (frozenset(choices.forms.items()), frozenset(choices.every.items()))
        if key not in known:
            known[key] = passes.run(begun, choices, begin=passes.FIRST_CHOICE, verify_each=False)
        return known[key]

    return rewrite


def _forms(search: PlanSearch) -> dict[str, FormEntry]:
    """What the lock has to say to make this graph again, and what was compared."""
    first = {site.key: site.chosen for site in search.rewrite(Choices()).sites}
    return {
        " ".join(site.key): FormEntry(chosen=site.chosen, us=search.compared.get(site.key, {}))
        for site in search.base.sites
        if site.key in search.compared or site.chosen != first.get(site.key)
    }


def _bench_plan(bench: Bench) -> BatchPlan:
    return plan_batch(bench.graph, in_place=False, attempts=0)


def _named(graph: Graph, profile: int) -> BatchPlan:
    return plan_batch(graph, profile=profile, attempts=0)


def _single(spec: NetworkSpec) -> NetworkSpec:
    """The spec as that of candidates: their number is told otherwise."""
    return spec.model_copy(update={"profiles": ()})


def _work_folder(path: Path) -> Path:
    name = "".join(c if c.isalnum() else "_" for c in str(path.resolve()))[-80:]
    return cache_folder() / name


def _earlier_lock(path: Path, device: int) -> Lock | None:
    """What an earlier run on such a GPU has chosen: it is where the search begins."""
    names = gpu_names()
    lock = lock_path(path, names[device]) if device < len(names) else None
    return load_lock(lock) if lock is not None and lock.is_file() else None


def _driver() -> dict[str, str]:
    """The driver's own version, where the system tells it."""
    try:
        line = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return {}
    numbers = [word for word in line.split() if word[0].isdigit() and word.count(".") >= 1]
    return {"driver": numbers[0]} if numbers else {}
