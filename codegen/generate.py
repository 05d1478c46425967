"""From a spec to a project: every generated file as text, and the packed weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cnngen.codegen.emit.project import project_files
from cnngen.codegen.graph import Array, Graph
from cnngen.codegen.graph_text import dump
from cnngen.codegen.lock import Lock
from cnngen.codegen.plan import Plan, make_plan, plan_name
from cnngen.codegen.targets import CUDA, Target
from cnngen.codegen.weight_file import write_weight_file
from cnngen.spec import Problem, WeightError, check_weights, load_spec, load_weights, resolve
from cnngen.spec.network import NetworkSpec


@dataclass(frozen=True)
class GeneratedProject:
    """`files`: relative path -> text; the weight file is written by `write_weights`."""

    plan: Plan
    files: dict[str, str]

    @property
    def name(self) -> str:
        return self.plan.spec.name

    @property
    def weight_file(self) -> str:
        return f"{self.name}.weights.safetensors"

    def write_weights(self, path: Path) -> None:
        """Packs the weights into one safetensors file. Raises OSError where the disk does."""
        write_weight_file(self.plan.weights, path)


def plan_spec(
    path: Path, dump_to: Path | None = None, target: Target = CUDA, lock: Lock | None = None
) -> Plan:
    """Loads a spec and its weights, and plans it; `dump_to` receives the graph's text after every pass.

    Raises SpecError or WeightError with every problem.
    """
    spec, weights = load_network(path)
    if lock is None:
        return make_plan(spec, weights, target, after=_dumper(spec, dump_to))
    return make_plan(
        spec,
        weights,
        target,
        lambda profile, batch: lock.choices(plan_name(spec, profile, batch)),
        _dumper(spec, dump_to),
        lock.machine.get("gpu", ""),
    )


def load_network(path: Path) -> tuple[NetworkSpec, Mapping[str, Array]]:
    """A spec and its weights, which are held against it.

    Raises SpecError or WeightError with every problem.
    """
    spec = load_spec(path)
    resolved = resolve(spec)
    if spec.weights is None and resolved.weights:
        raise WeightError(
            [
                Problem(
                    f"{path.name} names no weight file, but its layers need weights: "
                    f"add `weights: {spec.name}.safetensors`"
                )
            ]
        )
    weights = load_weights(path.parent / spec.weights) if spec.weights is not None else {}
    check_weights(resolved, weights)
    return spec, weights


def generate(
    path: Path, dump: Path | None = None, target: Target = CUDA, lock: Lock | None = None
) -> GeneratedProject:
    """Every file of the project of the spec at `path`, as its lock has it. Only what `dump` asks for is written."""
    plan = plan_spec(path, dump, target, lock)
    return GeneratedProject(plan, project_files(plan, spec_hash(plan.spec), interface_hash(plan.spec)))


def spec_hash(spec: NetworkSpec) -> str:
    """Twelve hex digits of the spec's meaning: comments and the order of fields in the YAML do not count."""
    unsaid = None if spec.profiles else {"profiles"}
    return hashlib.sha256(spec.model_dump_json(exclude=unsaid).encode()).hexdigest()[:12]


def interface_hash(spec: NetworkSpec) -> str:
    """The same of what users of the network see, so that files which show no more than that stay as they are."""
    shown = {"name", "inputs", "outputs", "batch_sizes", *(["profiles"] if spec.profiles else [])}
    seen = spec.model_dump(mode="json", include=shown)
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:12]


def _dumper(spec: NetworkSpec, folder: Path | None) -> Callable[[str, Graph], None]:
    if folder is None:
        return lambda _name, _graph: None
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}

    def write(name: str, graph: Graph) -> None:
        suffix = f"-batch{graph.batch}" if len(spec.batch_sizes) > 1 else ""
        if spec.profiles:
            shapes = [value.shape for value in graph.inputs]
            every = [list(spec.input_shapes(k, graph.batch).values()) for k in range(spec.profile_count)]
            suffix = f"-profile{every.index(shapes)}{suffix}"
        number = counts.get(suffix, 0)
        counts[suffix] = number + 1
        (folder / f"{number:02}-{name}{suffix}.txt").write_text(dump(graph))

    return write
