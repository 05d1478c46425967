"""What cnngen generates, built from C++ by find_package(cnngen), and planned with NVRTC's builtins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cnngen
from cnngen.codegen.build import BuildResult
from cnngen.codegen.plan_check import check_plans
from cnngen.codegen.project import RUNTIME
from cnngen.codegen.toolchain import find_toolchain
from cnngen.spec import load_spec, resolve, save_weights

SPEC = """\
name: small
inputs:
  image: {shape: [1, 8, 16, 16], layout: NHWC, dtype: float16}
precision: float16
weights: small.safetensors
layers:
  - {name: conv1, op: conv2d, out_channels: 16, kernel: 3, padding: 1, activation: relu}
  - {name: conv2, op: conv2d, out_channels: 16, kernel: 3, padding: 1}
  - {name: both, op: add, inputs: [conv2, conv1]}
  - {name: out, op: silu}
"""
MAIN = """\
#include <cstdio>
#include <exception>

#include "small/small.hpp"

int main() {
    try {
        small::Network network;
        std::puts("runs");
    } catch (const std::exception& error) {
        std::puts(error.what());
    }
}
"""


def write_spec(folder: Path) -> Path:
    path = folder / "spec.yaml"
    path.write_text(SPEC)
    resolved = resolve(load_spec(path))
    shapes = {ref.name: ref.shape for layer in resolved.layers for ref in layer.parameters.values()}
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    save_weights(folder / "small.safetensors", weights)
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    folder = tmp_path_factory.mktemp("generated")
    return cnngen.build(write_spec(folder), folder, arch=["90"])


def test_libnvrtc_finds_its_builtins_through_the_links_of_the_module_alone(built: BuildResult) -> None:
    """What cuDNN does for a fused graph, without what __init__.py loads beforehand.

    Not every cuDNN asks NVRTC for every graph, so NVRTC is asked here; alone, from a wheel, it must fail.
    """
    script = """\
import ctypes, importlib.util, sys
for path in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location("_core", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
nvrtc = ctypes.CDLL(sys.argv[1])
program = ctypes.c_void_p()
source = b'extern "C" __global__ void fill(float* y) { *y = 1.0f; }'
assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"fill.cu", 0, None, None) == 0
print(nvrtc.nvrtcCompileProgram(program, 0, None))
"""
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    nvrtc = built.toolchain.nvrtc

    def compiled(*modules: Path) -> str:
        command = [sys.executable, "-c", script, str(nvrtc.path), *map(str, modules)]
        return subprocess.check_output(command, env=environment, text=True).strip()

    if nvrtc.origin.startswith("wheel"):
        assert compiled() == "7"  # NVRTC_ERROR_BUILTIN_OPERATION_FAILURE
    assert compiled(built.module) == "0"


def test_every_plan_exists_on_every_described_gpu(built: BuildResult) -> None:
    for report in check_plans(built.project, ["t4", "a100", "h100", "b200"]):
        assert {"conv1", "conv2"} <= {
            layer for plan in report.plans for layer in re.split(r"\W+", plan.layer)
        }


def test_convolutions_with_channels_first_have_plans_too(tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    path.write_text(path.read_text().replace("float16", "float32"))
    forms = "".join(
        f"      channels_first {name}: {{chosen: first, us: {{}}}}\n" for name in ("conv1", "conv2")
    )
    lock = "cnngen: '0'\nmachine: {}\nplans:\n  batch1:\n    us: 1\n    first_us: 1\n    forms:\n"
    (tmp_path / "spec.gpu.lock.yaml").write_text(f"{lock}{forms}    steps: {{}}\n")
    project = cnngen.build(path, tmp_path, arch=["90"]).project
    network = (project / "src" / "network.cu").read_text()
    assert re.findall(r"\.w = (\w+)\(", network) == ["nchw", "nchw"]
    for report in check_plans(project, ["t4", "a100", "h100", "b200"]):
        assert len(report.plans) == 2


def test_an_engine_is_named_with_its_knobs(built: BuildResult) -> None:
    """Without them a lock would name another plan than the one that was measured."""
    (report,) = check_plans(built.project, ["h100"])
    engines = [plan.engine for plan in report.plans if plan.engine.startswith("cudnn ")]
    assert engines
    assert all(re.fullmatch(r"cudnn \d+( \d+=-?\d+)+", engine) for engine in engines)


def test_find_package_generates_and_builds_and_follows_the_spec(tmp_path: Path) -> None:
    """A C++ project that knows no CUDA; cnngen_DIR and Python are all that it is told."""
    toolchain = find_toolchain()
    spec = write_spec(tmp_path)
    (tmp_path / "main.cpp").write_text(MAIN)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\n"
        "project(app LANGUAGES CXX)\n"
        f"find_package(cnngen {cnngen.__version__} REQUIRED)\n"
        "cnngen_add_network(net spec.yaml)\n"
        "add_executable(app main.cpp)\n"
        "target_link_libraries(app PRIVATE net::net)\n"
    )
    program = tmp_path / "cnngen"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cnngen "$@"\n')
    program.chmod(0o755)
    build = tmp_path / "build"
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}

    def run(*command: object) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(
        *(toolchain.cmake.path, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja.path}"),
        *("-S", tmp_path, "-B", build, f"-Dcnngen_DIR={RUNTIME / 'cmake'}", "-DCMAKE_CUDA_ARCHITECTURES=90"),
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-DCNNGEN_EXECUTABLE={program}"),
    )
    run(toolchain.ninja.path, "-C", build)
    assert run(build / "app").startswith(("runs", "no NVIDIA driver"))
    assert "ninja: no work to do." in run(toolchain.ninja.path, "-C", build)
    spec.write_text(SPEC.replace("kernel: 3, padding: 1}", "kernel: 3, padding: 1, activation: tanh}"))
    assert "network.cu" in run(toolchain.ninja.path, "-C", build)
    spec.write_text(SPEC.replace("kernel: 3", "kernle: 3"))
    done = subprocess.run(
        [toolchain.ninja.path, "-C", build],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "did you mean 'kernel'?" in done.stdout + done.stderr
