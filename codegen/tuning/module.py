"""Candidate plans compiled into one extension module with the runtime's tuner.

The project is a generated one, whose plans are the candidates, numbered, and whose bindings are the tuner's.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cnngen.codegen.build import BuildResult, Progress, build_project
from cnngen.codegen.emit.project import tuning_files
from cnngen.codegen.graph import Array
from cnngen.codegen.loading import module_path
from cnngen.codegen.plan import BatchPlan, Plan
from cnngen.codegen.project import Content, runtime_files, write_project
from cnngen.codegen.targets import CUDA
from cnngen.codegen.weight_file import write_weight_file

WORKSPACE_LIMIT = 256 << 20
MODULES = itertools.count()  # that were imported


# Of a pass: the plan that a step is taken from, its engine, its stream, and the streams that it waits for.
PassStep = tuple[int, str, int, Sequence[int]]


class Tuner(Protocol):
    """The extension module's class; see `include/cnngen/cuda/tuner.hpp`. Steps are numbered in a plan's order."""

    def steps(self, plan: int) -> list[tuple[str, bool]]: ...
    def prepare(self, plan: int, step: int) -> None: ...
    def engines(self, plan: int, step: int) -> list[str]: ...
    def fallbacks(self, plan: int, step: int) -> list[str]: ...
    def variations(self, plan: int, step: int, engine: str, most: int) -> list[str]: ...
    def workspace(self, plan: int, step: int, engine: str) -> int: ...
    def error(self, plan: int, step: int, engine: str) -> float: ...
    def keep(self, plan: int, step: int, engine: str) -> None: ...
    def difference(self, plan: int, step: int) -> float: ...
    def save_plans(self, plan: int, engines: Sequence[str], folder: str) -> None: ...
    def glance(self, plan: int, step: int, engine: str) -> float: ...
    def measure(
        self, plan: int, step: int, engine: str, launches: int, no_more: float
    ) -> tuple[float, float]: ...
    def measure_pass(self, plan: int, steps: Sequence[PassStep], replays: int) -> tuple[float, float]: ...
    def run_pass(
        self,
        plan: int,
        steps: Sequence[PassStep],
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        one_by_one: bool,
    ) -> None: ...
    def versions(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class Candidates:
    """Plans in a module, and what runs and times them."""

    plan: Plan
    tuner: Tuner
    device: int

    def number(self, plan: int, name: str) -> int:
        """The number of a step among those of a plan, by the name of what it writes."""
        return next(i for i, node in enumerate(self.plan.batches[plan].steps) if node.name == name)


def build_candidates(
    plan: Plan, folder: Path, footprints: Sequence[int], device: int, progress: Progress | None = None
) -> Candidates:
    """Compiles a plan whose batches are candidates, numbered by their profile.

    `footprints`: the bytes that a pass of the network touches, by plan. Raises CnngenError as a build does.
    """
    project = compile_candidates(plan, folder, progress).project
    module = _imported(project)
    tensors = [(tensor.offset, tensor.bytes) for tensor in plan.weights.tensors]
    tuner = module.Tuner(
        weights=str(project / _weight_file(plan)),
        device=device,
        tensors=tensors,
        footprints=list(footprints),
        workspace_limit=WORKSPACE_LIMIT,
    )
    return Candidates(plan, tuner, device)


def compile_candidates(
    plan: Plan, folder: Path, progress: Progress | None = None, archs: Sequence[str] | None = None
) -> BuildResult:
    """The module alone, which needs no GPU to be compiled."""
    project = folder / plan.spec.name
    files: dict[str, Content] = {**tuning_files(plan, os.cpu_count() or 1), **runtime_files(project, CUDA)}
    weights = {_weight_file(plan): lambda path: write_weight_file(plan.weights, path)}
    write_project({**files, **weights}, project)
    return build_project(project, archs=archs, progress=progress)


def _weight_file(plan: Plan) -> str:
    return f"{plan.spec.name}.weights.safetensors"


def footprint(batch: BatchPlan) -> int:
    """The bytes that a pass touches: its weights, and what it uses of the arena."""
    weights: Mapping[int, int] = {tensor.offset: tensor.bytes for tensor in batch.weights.values()}
    return sum(weights.values()) + batch.arena.bytes


def _imported(project: Path) -> Any:  # noqa: ANN401
    """The extension module, under a name and from a place that no other one has.

    pybind11 takes modules of one name for one, and the loader files of one path.
    """
    name = f"cnngen_tuning_{next(MODULES)}._core"
    with tempfile.TemporaryDirectory() as folder:
        path = shutil.copy(module_path(project), folder)
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(str(project))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def numbered(batches: Sequence[BatchPlan]) -> tuple[BatchPlan, ...]:
    """The plans with their numbers as profiles."""
    return tuple(dataclasses.replace(batch, profile=number) for number, batch in enumerate(batches))
