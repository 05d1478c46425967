"""Networks for the CPU: built, run from Python and from C++ by find_package(cnngen), and installed by pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cnngen
from cnngen.codegen.build import BuildError, BuildResult
from cnngen.codegen.project import RUNTIME
from cnngen.codegen.toolchain import ToolchainError
from cnngen.codegen.toolchain_cpu import CpuToolchain, find_cpu_toolchain
from cnngen.spec import load_spec, resolve, save_weights

SPEC = """\
name: small
inputs:
  image: {shape: [1, 8, 16, 16], layout: NHWC, dtype: float16}
outputs:
  - {layer: out, dtype: float16}
batch_sizes: [1, 4]
precision: float16
weights: small.safetensors
layers:
  - {name: conv1, op: conv2d, out_channels: 16, kernel: 3, padding: 1, activation: relu}
  - {name: conv2, op: conv2d, out_channels: 16, kernel: 3, padding: 1}
  - {name: both, op: add, inputs: [conv2, conv1]}
  - {name: out, op: silu}
"""
WHOLE = """\
name: whole
inputs:
  x: {shape: [5, 4]}
  k: {shape: [4, 3]}
batched: false
layers:
  - {name: y, op: matmul, inputs: [x, k]}
  - {name: top, op: reduce_max, axes: [0], keepdims: false}
outputs: [y, top]
"""
MAIN = """\
#include <cstdio>
#include <vector>

#include "small/small.hpp"

int main(int, char** arguments) {
    small::Network network({.weights = arguments[1]});
    small::Context context(network);
    std::vector<cnngen::float16> image(16 * 16 * 8), out(16 * 16 * 16), again(16 * 16 * 16);
    context.run(image.data(), out.data());
    small::Pipeline pipeline(network);
    pipeline.submit(image.data(), again.data());
    if (pipeline.next() != 0 || cnngen::to_float(again[0]) != cnngen::to_float(out[0])) return 1;
    std::printf("%g\\n", cnngen::to_float(out[0]));
}
"""


@pytest.fixture(scope="session")
def toolchain() -> CpuToolchain:
    try:
        return find_cpu_toolchain()
    except ToolchainError as error:
        pytest.skip(str(error))


def write_spec(folder: Path) -> Path:
    path = folder / "spec.yaml"
    path.write_text(SPEC)
    resolved = resolve(load_spec(path))
    shapes = {ref.name: ref.shape for layer in resolved.layers for ref in layer.parameters.values()}
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    save_weights(folder / "small.safetensors", weights)
    return path


def run(folder: Path, *command: object, **environ: str) -> str:
    environment = {**os.environ, "PATH": "/usr/bin:/bin", **environ}
    environment.pop("LD_LIBRARY_PATH", None)
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, toolchain: CpuToolchain) -> BuildResult:
    assert toolchain
    folder = tmp_path_factory.mktemp("a folder")
    project = cnngen.generate(write_spec(folder), folder, target="cpu")
    return cnngen.codegen.build.build_project(project, warnings_are_errors=True)


def test_the_module_runs(built: BuildResult) -> None:
    assert built.target.name == "cpu"
    assert built.architectures == ("native",)
    network = cnngen.load(built.project).Network()
    image = np.random.default_rng(1).standard_normal((3, 16, 16, 8)).astype(np.float16)
    out = network(image)
    assert out.dtype == np.float16
    assert out.shape == (3, 16, 16, 16)
    np.testing.assert_array_equal(network(image[1:2])[0], out[1])
    assert "float32 storage, float32 compute (in place of float16)" in network.summary()


def test_map_gives_what_single_runs_give(built: BuildResult) -> None:
    network = cnngen.load(built.project).Network()
    images = np.random.default_rng(2).standard_normal((9, 16, 16, 8)).astype(np.float16)
    alone = [network(image[None])[0] for image in images]
    for results in (network.map(images), network.map(images, batch=1), network.map(list(images), batch=3)):
        for result, wanted in zip(results, alone, strict=True):
            assert result.dtype == np.float16
            np.testing.assert_allclose(result, wanted, rtol=1e-2, atol=1e-3)
    with cnngen.Pipeline(network, contexts=2) as pipeline:
        assert isinstance(pipeline, cnngen.load(built.project).Pipeline)
        pipeline.submit(images[:3])
        np.testing.assert_array_equal(pipeline.next(), network(images[:3]))


def test_what_all_networks_share_is_compiled_once(
    tmp_path: Path, toolchain: CpuToolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime's part of a module is kept, and its project needs it kept no longer."""
    assert toolchain
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    logs = []
    for name in ("first", "second"):
        (tmp_path / "spec.yaml").write_text(WHOLE.replace("whole", name))
        project = cnngen.generate(tmp_path / "spec.yaml", tmp_path, target="cpu")
        logs.append(cnngen.codegen.build.build_project(project).log.read_text())
        assert cnngen.load(project).Network() is not None
    assert ["/module.cpp.o" in log for log in logs] == [True, False]
    shutil.rmtree(tmp_path / "cache")
    source = project / "src" / "network.cpp"
    source.write_text(source.read_text() + "// changed\n")
    log = cnngen.codegen.build.build_project(project).log.read_text()
    assert "network.cpp.o" in log
    assert "/module.cpp.o" not in log


def test_without_a_batch_each_item_is_a_pass(tmp_path: Path, toolchain: CpuToolchain) -> None:
    assert toolchain
    (tmp_path / "spec.yaml").write_text(WHOLE)
    whole = cnngen.load(cnngen.build(tmp_path / "spec.yaml", tmp_path, target="cpu").project)
    draw = np.random.default_rng(3)
    items = [(draw.random((5, 4), np.float32), draw.random((4, 3), np.float32)) for _ in range(5)]
    results = list(whole.Network().map(items))
    assert [type(result) for result in results] == [whole.Outputs] * 5
    for (x, k), result in zip(items, results, strict=True):
        np.testing.assert_allclose(result.y, x @ k, rtol=1e-5)
        np.testing.assert_allclose(result.top, (x @ k).max(0), rtol=1e-5)
    with pytest.raises(ValueError, match=r"input 'x': got shape \(4, 5\), expected \(5, 4\)"):
        list(whole.Network().map([(items[0][0].T.copy(), items[0][1])]))
    with pytest.raises(ValueError, match="batch: got 2, expected 1 to 1"):
        whole.Network().map(items, batch=2)


def test_nothing_is_compiled_again_that_is_the_same(built: BuildResult) -> None:
    again = cnngen.codegen.build.build_project(built.project, warnings_are_errors=True)
    assert again.cached


def test_an_unknown_cpu_is_refused(built: BuildResult) -> None:
    with pytest.raises(BuildError, match=r"'x86-64-v33' is no CPU that .* compiles for"):
        cnngen.codegen.build.build_project(built.project, archs=["x86-64-v33"])
    with pytest.raises(BuildError, match="one name for a CPU"):
        cnngen.codegen.build.build_project(built.project, archs=["native,x86-64-v3"])


def test_pip_installs_it(built: BuildResult, toolchain: CpuToolchain, tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core")
    project = tmp_path / "small"
    shutil.copytree(built.project, project, ignore=shutil.ignore_patterns("build", "*.so", "__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    path = f"{toolchain.cmake.path.parent}:{toolchain.ninja.path.parent}:/usr/bin:/bin"
    run(tmp_path, *command, "--target", tmp_path / "site", project, PATH=path)
    script = "import numpy, small; print(small.Network()(numpy.zeros((1, 16, 16, 8), numpy.float16)).shape)"
    printed = run(tmp_path / "site", sys.executable, "-c", script)
    assert printed.strip() == "(1, 16, 16, 16)"


def test_find_package_generates_and_builds(toolchain: CpuToolchain, tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    (tmp_path / "main.cpp").write_text(MAIN)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\n"
        "project(app LANGUAGES CXX)\n"
        f"find_package(cnngen {cnngen.__version__} REQUIRED)\n"
        "cnngen_add_network(net spec.yaml TARGET cpu)\n"
        "add_executable(app main.cpp)\n"
        "target_link_libraries(app PRIVATE net::net)\n"
    )
    program = tmp_path / "cnngen"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cnngen "$@"\n')
    program.chmod(0o755)
    build = tmp_path / "build"
    cmake, ninja = toolchain.cmake.path, toolchain.ninja.path
    run(
        tmp_path,
        *(cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-S", tmp_path, "-B", build),
        *(f"-Dcnngen_DIR={RUNTIME / 'cmake'}", "-DCNNGEN_CPU_ARCH=x86-64-v3"),
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-DCNNGEN_EXECUTABLE={program}"),
    )
    run(tmp_path, ninja, "-C", build)
    weights = next(build.rglob("small.weights.safetensors"))
    assert float(run(tmp_path, build / "app", weights)) != 0
    assert "ninja: no work to do." in run(tmp_path, ninja, "-C", build)
    spec.write_text(SPEC.replace("kernel: 3, padding: 1}", "kernel: 3, padding: 1, activation: tanh}"))
    assert "network.cpp" in run(tmp_path, ninja, "-C", build)


def test_cmake_says_how_to_get_onednn(built: BuildResult, toolchain: CpuToolchain, tmp_path: Path) -> None:
    """Where neither the given Python nor the system has it."""
    if toolchain.onednn.origin == "system":
        pytest.skip("oneDNN is installed in the system")
    project = tmp_path / "small"
    shutil.copytree(built.project, project, ignore=shutil.ignore_patterns("build", "*.so"))
    command = [
        toolchain.cmake.path,
        "-G",
        "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja.path}",
        "-B",
        "tree",
    ]
    done = subprocess.run(
        [*map(str, command), "-S", str(project), "-DPython_EXECUTABLE=/bin/false", "-DCNNGEN_PYTHON=OFF"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "pip install 'cnngen[cpu]'" in done.stderr
