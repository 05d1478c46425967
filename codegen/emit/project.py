"""All files of a generated project: views into templates, and C++ into its canonical format."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import clang_format

from cnngen import __version__
from cnngen.codegen.emit.cpp import quoted
from cnngen.codegen.emit.plan_names import NumberedPlans
from cnngen.codegen.emit.render import TEMPLATES, render
from cnngen.codegen.emit.steps import network_view
from cnngen.codegen.emit.views import NetworkView
from cnngen.codegen.graph import Value
from cnngen.codegen.passes.plan_weights import layout_fingerprint
from cnngen.codegen.plan import Plan
from cnngen.codegen.targets import TargetName
from cnngen.spec.names import CppIdentifier, identifiers
from cnngen.spec.resolve import resolve
from cnngen.spec.types import ElementType

CPP_SUFFIXES = (".cu", ".cuh", ".cpp", ".hpp")
SOURCES: Mapping[TargetName, tuple[str, str, str]] = {  # the network, its kernels' declarations, its kernels
    "cuda": ("network.cu", "kernels.cuh", "kernels.cu"),
    "cpu": ("network.cpp", "kernels.hpp", "kernels.cpp"),
}
LIBRARIES: Mapping[TargetName, str] = {"cuda": "CUDA and cuDNN", "cpu": "oneDNN and OpenMP"}  # to build with
RESERVED_ARGUMENTS = (
    "self",
    "out",
    "stream",
    "n",
    "run",
    "run_async",
    "submit",
    "inputs",
    "outputs",
    "batch_sizes",
    "model",
)


@dataclass(frozen=True)
class PortView:
    """A network input or output. Shapes are of one item, in memory order, one a profile; `staging`: bytes, one a plan.

    element: its C++ type
    """

    name: str
    identifier: CppIdentifier
    dtype: ElementType
    layout: str  # of an image: NCHW or NHWC
    shapes: tuple[tuple[int, ...], ...]
    staging: tuple[int, ...]
    element: str

    @property
    def shape(self) -> tuple[int, ...]:
        """In the first profile."""
        return self.shapes[0]

    @property
    def port(self) -> str:
        """The fields of its cnngen::Port."""
        dtype = "boolean" if self.dtype == "bool" else self.dtype
        further = f", .further = {{{', '.join(map(_braces, self.shapes[1:]))}}}" if self.shapes[1:] else ""
        return (
            f'.name = {quoted(self.name)}, .dtype = DType::{dtype}, .layout = "{self.layout}", '
            f".shape = {_braces(self.shape)}, .staging = {_braces(self.staging)}{further}"
        )

    @property
    def constant(self) -> str:
        """The shape as a C++ array behind its name; with several profiles one of arrays."""
        if len(self.shapes) == 1:
            return f"[] = {_braces(self.shape)}"
        return f"[][{len(self.shape)}] = {{{', '.join(map(_braces, self.shapes))}}}"


@dataclass(frozen=True)
class ProjectView:
    """What every template but those of the kernels and the steps needs, as text that is ready to be placed."""

    name: str
    target: TargetName
    version: str
    notice: str
    description: str
    libraries: str
    precision: str
    batched: bool
    inputs: tuple[PortView, ...]
    outputs: tuple[PortView, ...]
    profiles: tuple[str, ...]  # in Python: the shapes of inputs and outputs by name
    batch_sizes: tuple[int, ...]
    arena_bytes: tuple[int, ...]
    weight_bytes: int
    weight_file: str
    weight_layout: str
    tuned_for: str
    module: str = ""  # the runtime's part of the Python module, where it is not that of a network


def project_files(plan: Plan, spec_hash: str, interface_hash: str) -> dict[str, str]:
    """Relative path -> text of every file but the weights."""
    project = _project_view(plan, interface_hash)
    # Each file names the hash of what it shows, so that a change elsewhere neither touches nor recompiles it.
    outside = vars(project)
    view = network_view(plan)
    inside = outside | {"network": view}
    whole = inside | {"notice": _notice(plan, spec_hash)}
    name, target = project.name, project.target
    network, header, _ = SOURCES[target]
    files = {
        "CMakeLists.txt": render("CMakeLists.txt.j2", outside),
        "pyproject.toml": render("pyproject.toml.j2", outside),
        "README.md": render(f"{target}/README.md.j2", outside),
        "__init__.py": render(f"{target}/init.py.j2", outside),
        "__init__.pyi": render(f"{target}/stub.pyi.j2", outside),
        "_map.py": render("map.py.j2", outside),
        "py.typed": "",
        f"include/{name}/{name}.hpp": render(f"{target}/network.hpp.j2", outside),
        "src/bindings.cpp": render("bindings.cpp.j2", outside),
        f"src/{network}": render(f"{target}/{network}.j2", whole),
        f"src/{header}": render(f"{target}/{header}.j2", inside),
        **kernel_sources(inside, view),
    }
    return _formatted(files)


def tuning_files(plan: Plan, compilers: int) -> dict[str, str]:
    """The same of a project whose plans are candidates, numbered by their profile, for the tuner to run.

    `compilers`: how many files are compiled at a time.
    """
    sizes = tuple(batch.batch for batch in plan.batches)
    view = network_view(plan, NumberedPlans(), compilers)
    project = replace(_project_view(plan, "candidates"), batch_sizes=sizes, module="tuner_module")
    context = vars(project) | {"network": view}
    return {
        "CMakeLists.txt": render("CMakeLists.txt.j2", context),
        "src/bindings.cpp": render("cuda/tuning.cpp.j2", context),
        "src/network.cu": render("cuda/network.cu.j2", context),
        "src/kernels.cuh": render("cuda/kernels.cuh.j2", context),
        "src/kernels_reference.cu": render("cuda/kernels_reference.cu.j2", context),
        f"include/{plan.spec.name}/{plan.spec.name}.hpp": "",
        **kernel_sources(context, view),
    }


def kernel_sources(context: Mapping[str, object], network: NetworkView) -> dict[str, str]:
    """Relative path -> text of the files that hold the kernels."""
    target = context["target"]
    template = "kernels.cu" if target == "cuda" else "kernels.cpp"
    suffix = PurePosixPath(template).suffix
    return {
        f"src/{file.name}{suffix}": render(f"{target}/{template}.j2", {**context, "file": file})
        for file in network.files
    }


def _notice(plan: Plan, digest: str) -> str:
    tuned = f", tuned for {plan.tuned_for}" if plan.tuned_for else ""
    return (
        f"Generated by cnngen {__version__} from the spec of {plan.spec.name} ({digest}){tuned}; do not edit."
    )


def _project_view(plan: Plan, interface_hash: str) -> ProjectView:
    spec, graph = plan.spec, plan.batches[0].graph
    names = [*spec.inputs, *(output.layer for output in resolve(spec).outputs)]
    values = [*graph.inputs, *(graph.values[name] for name in graph.outputs)]
    known = identifiers(names, RESERVED_ARGUMENTS)
    ports = [_port(plan, value, name, known[name]) for value, name in zip(values, names, strict=True)]
    inputs, outputs = tuple(ports[: len(graph.inputs)]), tuple(ports[len(graph.inputs) :])
    precision = _precision_text(plan)
    return ProjectView(
        name=spec.name,
        target=plan.target.name,
        version=__version__,
        notice=_notice(plan, interface_hash),
        description=f"Inference of {spec.name} on {plan.target.libraries}, {precision}.",
        libraries=LIBRARIES[plan.target.name],
        precision=precision,
        batched=spec.batched,
        inputs=inputs,
        outputs=outputs,
        profiles=tuple(_profile(ports, k) for k in range(spec.profile_count)),
        batch_sizes=spec.batch_sizes,
        arena_bytes=tuple(batch.arena.bytes for batch in plan.batches),
        weight_bytes=plan.weights.bytes,
        weight_file=f"{spec.name}.weights.safetensors",
        weight_layout=layout_fingerprint(plan.weights),
        tuned_for=plan.tuned_for,
    )


def _precision_text(plan: Plan) -> str:
    wanted, precision = plan.spec.precision, plan.computed.precision
    words = f"{precision.storage} storage, {precision.compute} compute"
    if wanted.storage != precision.storage:
        words += f" (in place of {wanted.storage})"
    elif precision.storage == "float32" and plan.target.name == "cuda":
        words += ", TF32 " + ("on" if precision.tf32 else "off")
    layers = plan.computed.layers
    differs = any(layer.precision is not None and layer.precision != precision for layer in layers)
    return words + ("; some layers differ" if differs else "")


def _port(plan: Plan, value: Value, name: str, identifier: CppIdentifier) -> PortView:
    values = [plan.profile(k).graph.values[value.name] for k in range(plan.spec.profile_count)]
    shapes = tuple(
        tuple(of.shape[axis] for axis in of.axes if axis or not plan.spec.batched) for of in values
    )
    staging = tuple(batch.arena.offsets[value.name] for batch in plan.batches)
    layout = value.layout if len(value.shape) == 4 else ""
    return PortView(name, identifier, value.dtype, layout, shapes, staging, plan.target.elements[value.dtype])


def _profile(ports: Sequence[PortView], number: int) -> str:
    return "{" + ", ".join(f'"{port.identifier}": {port.shapes[number]}' for port in ports) + "}"


def _braces(numbers: Sequence[object]) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"


def _formatted(files: Mapping[str, str]) -> dict[str, str]:
    """The C++ among the files as the pinned clang-format writes it."""

    def formatted(path: str) -> str:
        if not path.endswith(CPP_SUFFIXES):
            return files[path]
        command = [
            clang_format.get_executable("clang-format"),
            f"--style=file:{TEMPLATES / 'clang-format.yaml'}",
            f"--assume-filename={path}",
        ]
        return subprocess.run(command, input=files[path], capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor() as pool:
        return dict(zip(files, pool.map(formatted, files), strict=True))
