"""Times the cases of a bench on the GPU, and holds what they compute against a reference first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from cnngen.codegen.engines import OF_LIBRARIES, ON_TENSOR_CORES, split_engine
from cnngen.codegen.graph import LIBRARIES, Array, Node
from cnngen.codegen.graph_text import text_digest
from cnngen.codegen.tuning.bench import Case
from cnngen.codegen.tuning.clock import Clock
from cnngen.codegen.tuning.journal import Journal, Timing
from cnngen.codegen.tuning.module import Candidates
from cnngen.codegen.tuning.turns import gpu_to_itself
from cnngen.spec.types import ElementType

# What storing and another order of sums may lose; a wrong engine is off by far more.
TOLERANCE: Mapping[ElementType, float] = {"float32": 2e-5, "float16": 3e-3, "bfloat16": 2e-2}
TF32_TOLERANCE = 2e-3
TIMED_US = 200  # of launches that are timed together
VARIATIONS = 6  # of the best engine's knobs
# Times the best: what takes more is neither timed to the end nor checked, for it will not be taken.
HOPELESS = 1.5
LAUNCH_US = 20  # that the host may take for a launch, in which a glance sees no difference

# Told how many steps are done, of how many, and which is under way.
Told = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Deadline:
    """When to stop looking for more; what has to be known is still measured."""

    at: float  # of time.monotonic()

    @property
    def is_past(self) -> bool:
        return time.monotonic() > self.at


def measure_cases(
    candidates: Candidates,
    plan: int,
    cases: Sequence[Case],
    journal: Journal,
    deadline: Deadline,
    clock: Clock,
    told: Told,
    kept: Mapping[str, str],
    without: Sequence[str],
) -> None:
    """Times what the journal does not know yet; each step's line is written as soon as it is complete.

    What no engine can do has no timings. `kept`: engines of an earlier lock, by the digest of the step; they are timed
    with the others, offered or not. `without`: what is left out wherever something else runs a step, by the first words
    of its engine.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        if case.step not in journal.steps:
            groups.setdefault(case.step, []).append(case)
    steps = [_Step(candidates, plan, members, deadline, clock, kept, without) for members in groups.values()]
    for step in steps:
        step.prepare()
    for done, step in enumerate(steps):
        told(done, len(steps), step.members[0].name.partition("~")[0])
        timings, rejected = step.measured()
        journal.add(step.members[0].step, timings, rejected)
    told(len(groups), len(groups), "")


class _Step:
    """One step: its library's engines, and kernels of our own."""

    def __init__(
        self,
        candidates: Candidates,
        plan: int,
        members: Sequence[Case],
        deadline: Deadline,
        clock: Clock,
        kept: Mapping[str, str],
        without: Sequence[str],
    ) -> None:
        self.tuner, self.device, self.plan, self.members = candidates.tuner, candidates.device, plan, members
        self.deadline, self.clock, self.without = deadline, clock, without
        self.graph = candidates.plan.batches[plan].graph
        self.numbers = {node.name: i for i, node in enumerate(candidates.plan.batches[plan].steps)}
        self.kept = kept.get(text_digest(members[0].step), "")
        self.library = next((case for case in members if not case.engine), None)
        self.ranks = 0  # that were given out, in the order in which engines are offered
        self.timings: list[Timing] = []
        self.rejected: list[str] = []

    def prepare(self) -> None:
        """Begins to build what the library offers, while other steps are timed."""
        if self.library is not None:
            self.tuner.prepare(self.plan, self.numbers[self.library.name])

    def measured(self) -> tuple[list[Timing], list[str]]:
        self._measure()
        if not self.timings and self.without:  # nothing else runs it
            self.without = ()
            self._measure()
        return self.timings, list(dict.fromkeys(self.rejected))

    def _measure(self) -> None:
        if self.library is not None:
            self._library(self.numbers[self.library.name])
        with self._turn():
            if self.library is not None and self.timings:
                fastest = min(self.timings, key=lambda timing: timing.us)
                self.tuner.keep(self.plan, self.numbers[self.library.name], fastest.engine)
            own = self._allowed([case.engine for case in self.members if case.engine])
            cases = [case for case in self.members if case.engine in own]
            self._kernels(cases, has_reference=bool(self.timings))

    def _allowed(self, engines: Sequence[str]) -> list[str]:
        """Those that are not to be left out."""
        left_out = tuple(f"{words} " for words in self.without)
        return [engine for engine in engines if not f"{engine} ".startswith(left_out)]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The GPU to itself, which it is not while engines are built."""
        with ExitStack() as turn:
            with self.clock.of("waiting for other tunings"):
                turn.enter_context(gpu_to_itself(self.device))
            yield

    @property
    def best(self) -> float:
        return min((timing.us for timing in self.timings), default=math.inf)

    def _library(self, step: int) -> None:
        node = self.graph.producers[self.members[0].name]
        with self.clock.of("waiting for engines"):
            offered = self._allowed(self.tuner.engines(self.plan, step))
        with self._turn():
            self._engines(step, node, offered)
        if offered and not self.timings:  # all that was offered is wrong
            with self.clock.of("waiting for engines"):
                last = self._allowed(self.tuner.fallbacks(self.plan, step))
            with self._turn():
                self._engines(step, node, [engine for engine in last if engine not in offered])
        if not self.timings or self.deadline.is_past:
            return
        best = min(self.timings, key=lambda timing: timing.us)
        with self.clock.of("waiting for engines"):
            varied = self.tuner.variations(self.plan, step, best.engine, VARIATIONS)
            further = list(dict.fromkeys([*varied, *self._kept(step)]))
        with self._turn():
            self._engines(step, node, [engine for engine in further if engine not in offered])

    def _kept(self, step: int) -> list[str]:
        """The library's engine that an earlier lock has, where it can be built."""
        if split_engine(self.kept)[0] not in OF_LIBRARIES or not self._allowed([self.kept]):
            return []
        try:
            self.tuner.workspace(self.plan, step, self.kept)
        except RuntimeError:  # of another version of the library
            return []
        return [self.kept]

    def _engines(self, step: int, node: Node, engines: Sequence[str]) -> None:
        """Those that a glance does not rule out, beginning with what seems fastest."""
        first, self.ranks = self.ranks, self.ranks + len(engines)
        glances = []
        for engine in engines:
            with self._unless_it_fails(engine, node):
                glances.append((self._glance(step, engine), engine))
        for number, (glance, engine) in enumerate(sorted(glances)):
            if (number and self.deadline.is_past) or self._is_hopeless(glance):
                break
            with self._unless_it_fails(engine, node):
                us, spread = self._timed(step, engine, glance)
                if us <= HOPELESS * self.best:
                    with self.clock.of("checking"):
                        error = self.tuner.error(self.plan, step, engine)
                    if not error <= tolerance(node):
                        self.rejected.append(f"{engine} for {node.name}: its error is {error:.1e}")
                        continue
                workspace = self.tuner.workspace(self.plan, step, engine)
                self.timings.append(Timing(engine, us, spread, first + engines.index(engine), workspace))

    @contextmanager
    def _unless_it_fails(self, engine: str, node: Node) -> Iterator[None]:
        """An engine that was built and does not run is rejected."""
        try:
            yield
        except RuntimeError as error:
            self.rejected.append(f"{engine} for {node.name}: {error}")

    def _kernels(self, cases: Sequence[Case], *, has_reference: bool) -> None:
        """Each tile against the library's result, or else against the first tile, which the tests prove."""
        for number, case in enumerate(cases):
            if number and self.deadline.is_past:
                break
            step, node = self.numbers[case.name], self.graph.producers[case.name]
            if not has_reference:
                self.tuner.keep(self.plan, step, "")
                has_reference = True
            glance = self._glance(step, "")
            if self._is_hopeless(glance):
                continue
            us, spread = self._timed(step, "", glance)
            if us <= HOPELESS * self.best:
                with self.clock.of("checking"):
                    error = self.tuner.difference(self.plan, step)
                if not error <= tolerance(node):
                    self.rejected.append(f"{case.engine} for {node.name}: it is off by {error:.1e}")
                    continue
            self.timings.append(Timing(case.engine, us, spread, self.ranks + number))

    def _glance(self, step: int, engine: str) -> float:
        with self.clock.of("loading"):
            return self.tuner.glance(self.plan, step, engine)

    def _is_hopeless(self, glance: float) -> bool:
        return glance > HOPELESS * self.best + LAUNCH_US

    def _timed(self, step: int, engine: str, glance: float) -> tuple[float, float]:
        launches = min(max(int(TIMED_US / max(glance, 1)), 4), 32)  # of one graph
        with self.clock.of("timing"):
            return self.tuner.measure(self.plan, step, engine, launches, HOPELESS * self.best)


def tolerance(node: Node) -> float:
    """The relative error that a step may have."""
    tf32 = getattr(node.op, "tf32", False) and node.value.dtype == "float32"
    return TF32_TOLERANCE if tf32 else TOLERANCE.get(node.value.dtype, 0.0)


def relative(got: Array, reference: Array) -> float:
    """||got - reference|| / ||reference||; infinite where something is no number in one alone."""
    same = np.isnan(got) == np.isnan(reference)
    if not same.all():
        return math.inf
    with np.errstate(all="ignore"):
        finite = np.isfinite(got) & np.isfinite(reference)
        norm = float(np.linalg.norm(reference[finite]))
        off = float(np.linalg.norm((got - reference)[finite]))
    return off / norm if norm > 0 else off


def kind_of(engine: str) -> str:
    """Of which kind an engine is: what a lock compares it with."""
    kind, _ = split_engine(engine)
    return kind if kind in (*LIBRARIES, "cudnn_matmul", *ON_TENSOR_CORES) else "kernel"
