"""Many networks in one extension module: one compiler run for dozens of them, where a project each would take a minute.

Each network's text is what `cnngen generate` writes, in its own namespace, unformatted. Several stand in one file; a
module hands out the address of each one's Model, and the class Network that runs any of them.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnngen.codegen.architectures import choose_architectures
from cnngen.codegen.build import find_toolchain_for
from cnngen.codegen.emit import project as emit
from cnngen.codegen.emit.render import render
from cnngen.codegen.emit.steps import network_view
from cnngen.codegen.onnx_backend import network_key
from cnngen.codegen.plan import make_plan
from cnngen.codegen.targets import CPU, Target
from cnngen.codegen.weight_file import write_weight_file
from cnngen.spec import NetworkSpec, check_weights, resolve

Array = np.ndarray[Any, np.dtype[Any]]
Source = tuple[NetworkSpec, Mapping[str, Array]]

CHECKOUT = Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r'^#include ["<](?P<header>[^">]+)[">]\n', re.MULTILINE)
# The compiler for kernels and the library that they go into, by target.
LIBRARY = {"cpu": "bundle", "cuda": "bundle_cuda"}
NETWORK_LIBRARY = {"cpu": "bundle", "cuda": "bundle_host"}

CMAKE = """\
cmake_minimum_required(VERSION 3.24)
project(bundle LANGUAGES CXX)
option(CNNGEN_PYTHON "" ON)
list(PREPEND CMAKE_MODULE_PATH "@CHECKOUT@/cmake")
include(cnngen_network)
cnngen_network(bundle TARGET @TARGET@ MODULE none)
target_sources(@NETWORK_LIBRARY@ PRIVATE @NETWORKS@)
target_sources(@LIBRARY@ PRIVATE @KERNELS@)
set_source_files_properties(@NETWORKS@ PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -O0)
set_source_files_properties(@KERNELS@ PROPERTIES COMPILE_OPTIONS "@OPTIONS@")
"""


def bundle_folder(name: str) -> Path:
    """Where a bundle of that name lies, outside of the tree, so that the next run compiles what has changed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "cnngen" / "bundles" / name


@dataclass(frozen=True)
class Bundle:
    """Networks that are compiled.

    refused: key -> why a network cannot be planned or emitted
    """

    module: Any
    folder: Path
    target: Target
    refused: Mapping[str, Exception]

    def __contains__(self, source: Source) -> bool:
        return network_key(*source, self.target.name) in self.module.models

    def network(self, spec: NetworkSpec, weights: Mapping[str, Array]) -> BundledNetwork:
        """One of them, called as a generated module's Network is. Raises KeyError where it is not among them."""
        return self.by_key(network_key(spec, weights, self.target.name))

    def by_key(self, key: str) -> BundledNetwork:
        """The same, by what tells it apart."""
        if key in self.refused:
            raise self.refused[key]
        address = self.module.models[key]
        core = self.module.Network(address, str(self.folder / f"{key}.safetensors"))
        return BundledNetwork(self.module.Context(core))


@dataclass(frozen=True)
class BundledNetwork:
    """Takes the inputs in order; gives the output, or a tuple of them."""

    context: Any

    def __call__(self, *inputs: Array) -> Array | tuple[Array, ...]:
        results = self.context.run([np.ascontiguousarray(array) for array in inputs], None, None, True)
        return results[0] if len(results) == 1 else tuple(results)


def build_bundle(
    sources: Iterable[Source], folder: Path, target: Target = CPU, files: int = 8, optimize: str = "-O1"
) -> Bundle:
    """Compiles networks into one module; what is there from an earlier run is kept.

    Args:
        sources: specs and their weights; equal ones count once.
        folder: where text, weights and module lie.
        target: what they run on.
        files: into how many files they are put.
        optimize: for all of the text.
    """
    (folder / "src").mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        texts, refused = _texts(sources, folder, target)
        chunks: dict[int, list[Text]] = {}
        for key, text in sorted(texts.items()):
            chunks.setdefault(int(key, 16) % files, []).append(text)
        network, _, kernels = emit.SOURCES[target.name]
        parts = {}
        for number, members in sorted(chunks.items()):
            headers = [member.header for member in members]
            parts[f"src/{number}_{network}"] = unity_text([*headers, *(member.network for member in members)])
            parts[f"src/{number}_{kernels}"] = unity_text([*headers, *(member.kernels for member in members)])
        empty = {f"src/{network}": "", f"src/{kernels}": ""}
        written = {"src/bindings.cpp": _bindings(sorted(texts), target), **empty, **parts}
        written["CMakeLists.txt"] = _cmake_text(list(parts), target, optimize)
        for name, text in written.items():
            _write(folder / name, text)
        _compile(folder, target)
        return Bundle(_load(folder), folder, target, refused)


def _texts(
    sources: Iterable[Source], folder: Path, target: Target
) -> tuple[dict[str, Text], dict[str, Exception]]:
    """The text of each network by its key, its weights beside; those that cannot be made, and why."""
    texts: dict[str, Text] = {}
    refused: dict[str, Exception] = {}
    for spec, weights in sources:
        key = network_key(spec, weights, target.name)
        if key in texts:
            continue
        try:
            check_weights(resolve(spec), weights)
            named = spec.model_copy(update={"name": namespace(key)})
            plan = make_plan(named, weights, target)
            network = network_view(plan)
            view = {**vars(emit._project_view(plan, key)), "network": network}
            shown = (render(f"{target.name}/{name}.j2", view) for name in emit.SOURCES[target.name][:2])
            text = Text(*shown, unity_text(emit.kernel_sources(view, network).values()))
        except Exception as error:  # noqa: BLE001 (the test of that network tells it)
            refused[key] = error
            continue
        texts[key] = text
        write_weight_file(plan.weights, folder / f"{key}.safetensors")
    return texts, refused


def namespace(key: str) -> str:
    """What a network is called in C++."""
    return f"net_{key}"


@dataclass(frozen=True)
class Text:
    """A network's source files."""

    network: str
    header: str
    kernels: str


def unity_text(texts: Iterable[str]) -> str:
    """One source file of several files: every header once, then their text."""
    joined = "\n".join(texts).replace("#pragma once\n", "")
    headers = {line[0] for line in INCLUDE.finditer(joined) if not line["header"].startswith("kernels.")}
    return "".join(sorted(headers)) + "\n" + INCLUDE.sub("", joined)


def _bindings(keys: Iterable[str], target: Target) -> str:
    names = [(key, namespace(key)) for key in keys]
    declared = "".join(f"namespace {name} {{ const cnngen::Model& model(); }}\n" for _, name in names)
    listed = "".join(f'    {{"{key}", {name}::model}},\n' for key, name in names)
    return f"""\
#include "cnngen/{target.name}/python.hpp"

{declared}
constexpr std::pair<const char*, const cnngen::Model& (*)()> networks[] = {{
{listed}}};

PYBIND11_MODULE(_core, m) {{
    cnngen::bind_any(m);
    pybind11::dict models;
    for (const auto& [key, model] : networks) models[key] = reinterpret_cast<std::uintptr_t>(&model());
    m.attr("models") = models;
}}
"""


def _cmake_text(parts: list[str], target: Target, optimize: str) -> str:
    kernels = emit.SOURCES[target.name][2]
    cpu = f"{optimize};-march=native;-fno-math-errno;-fno-trapping-math"
    values = {
        "CHECKOUT": str(CHECKOUT),
        "TARGET": target.name,
        "NETWORK_LIBRARY": NETWORK_LIBRARY[target.name],
        "LIBRARY": LIBRARY[target.name],
        "NETWORKS": " ".join(name for name in parts if not name.endswith(kernels)),
        "KERNELS": " ".join(name for name in parts if name.endswith(kernels)),
        "OPTIONS": cpu if target is CPU else optimize,
    }
    return re.sub("@([A-Z_]+)@", lambda match: values[match[1]], CMAKE)


def _compile(folder: Path, target: Target) -> None:
    toolchain = find_toolchain_for(target)
    tree = folder / "build"
    configure = [str(toolchain.cmake.path), "-G", "Ninja", "-S", str(folder), "-B", str(tree)]
    variable = "CNNGEN_CPU_ARCH" if target is CPU else "CMAKE_CUDA_ARCHITECTURES"
    architectures = f"-D{variable}={';'.join(choose_architectures(toolchain, None))}"
    for command in (
        [*configure, *toolchain.cmake_arguments(), architectures],
        [str(toolchain.ninja.path), "-C", str(tree)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-2000:]}")


def _load(folder: Path) -> Any:  # noqa: ANN401
    file = next(folder.glob("_core*.so"))
    # pybind11 takes modules of one name for one module, in whatever files they are.
    spec = importlib.util.spec_from_file_location(f"bundle_{folder.name}._core", file)
    if spec is None or spec.loader is None:
        raise ImportError(str(file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(path: Path, text: str) -> None:
    """Writes what has changed, so that no other file is compiled again."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process builds, others wait."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
