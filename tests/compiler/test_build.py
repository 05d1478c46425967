"""Generated projects compiled, imported, installed and linked, by CUDA's wheels alone.

The network here is written by hand and small: it links what every network links. What is generated is
compiled in the tests of the examples.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from cnngen.codegen.build import BuildError, BuildResult, build_project
from cnngen.codegen.loading import load_project
from cnngen.codegen.project import RUNTIME, runtime_files, write_project
from cnngen.codegen.toolchain import Toolchain, find_toolchain

MINI = Path(__file__).parent / "mini"
ARCHITECTURES = ["75", "90", "120"]
NO_GPU = (35, 100)  # cudaErrorInsufficientDriver, cudaErrorNoDevice

MAIN = """\
#include <cstdio>

#include "mini/mini.hpp"

int main() { std::printf("%llu %d\\n", mini::versions().cudnn, mini::launch()); }
"""


def make_project(folder: Path) -> Path:
    """The hand-written network as a generated project stands on disk."""
    environment = jinja2.Environment(  # noqa: S701  nothing of it is HTML
        loader=jinja2.FileSystemLoader(RUNTIME / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    words = {
        "name": "mini",
        "target": "cuda",
        "module": "none",
        "libraries": "CUDA and cuDNN",
        "notice": "Written by hand.",
        "version": "0.1.0",
        "description": "A small network",
    }
    files = {str(path.relative_to(MINI)): path.read_text() for path in MINI.rglob("*.*") if path.is_file()}
    for name in ("CMakeLists.txt", "pyproject.toml"):
        files[name] = environment.get_template(f"{name}.j2").render(words)
    files |= {"README.md": "# mini\n", "mini.weights.safetensors": "weights"}
    write_project({**files, **runtime_files(folder / "mini")}, folder / "mini")
    return folder / "mini"


def run(*command: object, **environ: str) -> str:
    """What a command prints, without the system's CUDA on its path."""
    environment = {**os.environ, "PATH": "/usr/bin:/bin", **environ}
    environment.pop("LD_LIBRARY_PATH", None)
    done = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    return find_toolchain()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> BuildResult:
    folder = make_project(tmp_path_factory.mktemp("a folder"))
    return build_project(folder, archs=ARCHITECTURES, toolchain=toolchain, warnings_are_errors=True)


def dynamic(binary: Path) -> list[str]:
    return run("readelf", "-d", binary).splitlines()


def test_the_folder_is_importable(built: BuildResult) -> None:
    assert not built.cached
    script = "import mini; print(*mini.versions(), mini.launch())"
    cudnn, cublaslt, runtime, launch = run(
        sys.executable, "-c", script, PYTHONPATH=str(built.project.parent)
    ).split()
    assert int(cudnn) // 100 == int("{}{:02}".format(*built.toolchain.cudnn.release[:2]))
    assert int(cublaslt) > 120000
    assert int(runtime) // 1000 == built.toolchain.nvcc.release[0]
    assert int(launch) in (0, *NO_GPU)


def test_it_is_loaded_from_anywhere(built: BuildResult) -> None:
    module = load_project(built.project)
    assert module.versions()[0] > 90000
    assert load_project(built.project) is module


def test_loading_brings_nothing_that_reads_specs(built: BuildResult) -> None:
    script = f"import cnngen, sys; cnngen.load({str(built.project)!r}); print(*sys.modules)"
    loaded = run(sys.executable, "-c", script).split()
    assert built.project.name in loaded
    assert not {"cnngen.spec", "pydantic", "numpy", "yaml"}.intersection(loaded)


def test_the_promised_architectures_are_in_it(built: BuildResult) -> None:
    folder = importlib.util.find_spec("nvidia.cu13")
    assert folder is not None
    assert folder.submodule_search_locations is not None
    cuobjdump = Path(folder.submodule_search_locations[0]) / "bin" / "cuobjdump"
    machine_code = run(cuobjdump, "--list-elf", built.module)
    assert sorted(
        {line.split(".sm_")[1].split(".")[0] for line in machine_code.split("\n") if line}, key=int
    ) == (ARCHITECTURES)
    intermediate = run(cuobjdump, "--list-ptx", built.module)
    assert {line.split(".sm_")[1].split(".")[0] for line in intermediate.split("\n") if line} == {"120"}


def test_libnvrtc_is_ours_and_searches_where_we_search(built: BuildResult) -> None:
    """cuDNN finds libnvrtc-builtins only so: by a DT_RPATH, not a DT_RUNPATH, of what loads libnvrtc."""
    entries = dynamic(built.module)
    assert any("(NEEDED)" in line and "libnvrtc.so" in line for line in entries)
    assert not any("(RUNPATH)" in line for line in entries)
    (rpath,) = (line.split("[")[1].rstrip("]").split(":") for line in entries if "(RPATH)" in line)
    major = built.toolchain.nvcc.release[0]
    assert rpath[:2] == [f"$ORIGIN/../nvidia/cu{major}/lib", "$ORIGIN/../nvidia/cudnn/lib"]
    assert {str(built.toolchain.nvrtc.path.parent), str(built.toolchain.cudnn.path.parent)} <= set(rpath)


def test_nothing_is_done_when_nothing_changed(built: BuildResult) -> None:
    before = built.module.stat().st_mtime_ns
    again = build_project(
        built.project, archs=ARCHITECTURES, toolchain=built.toolchain, warnings_are_errors=True
    )
    assert again.cached
    assert again.seconds < 2
    assert built.module.stat().st_mtime_ns == before


def test_a_change_compiles_only_what_it_touches_and_tells_its_progress(built: BuildResult) -> None:
    source = built.project / "src" / "network.cu"
    text = source.read_text()
    seen: list[tuple[str, int, int]] = []
    try:
        source.write_text(text + "// changed\n")
        result = build_project(
            built.project,
            archs=ARCHITECTURES,
            toolchain=built.toolchain,
            warnings_are_errors=True,
            progress=lambda stage, done, total: seen.append((stage, done, total)),
        )
    finally:
        source.write_text(text)
    log = result.log.read_text()
    assert "network.cu.o" in log
    assert "kernels.cu.o" not in log
    assert "bindings.cpp.o" not in log
    assert {stage for stage, _, _ in seen} == {"compile"}
    assert seen[-1][1] == seen[-1][2] == 4  # an object, two links, and whether there are new files


def test_a_failing_compiler_is_told_with_command_output_and_log(tmp_path: Path, built: BuildResult) -> None:
    project = tmp_path / "mini"
    shutil.copytree(built.project, project, ignore=shutil.ignore_patterns("build", "*.so"))
    (project / "src" / "kernels.cu").write_text("int f() { return undeclared; }\n")
    (project / "src" / "bindings.cpp").write_text("// quick\n")
    with pytest.raises(BuildError) as error:
        build_project(project, archs=["90"], toolchain=built.toolchain)
    text = str(error.value)
    assert 'identifier "undeclared" is undefined' in text
    assert "bin/nvcc" in text
    assert f"the whole output is in {project}/build/build.log" in text
    assert "undeclared" in (project / "build" / "build.log").read_text()
    with pytest.raises(BuildError, match="is not built for Python"):
        load_project(project)


def test_it_installs_with_pip(tmp_path: Path, built: BuildResult) -> None:
    """As a user's own pip does: nothing is told of CUDA, the project's build logic finds the wheels."""
    project = make_project(tmp_path)
    target = tmp_path / "site"
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "install", *options, "--target", target, project, CUDAARCHS="90")
    names = {path.name for path in (target / "mini").iterdir()}
    assert names >= {"__init__.py", "mini.weights.safetensors", built.module.name}
    script = "import mini; print(mini.__file__, mini.versions()[0])"
    file, cudnn = run(sys.executable, "-c", script, PYTHONPATH=str(target)).split()
    assert Path(file).parent == target / "mini"
    assert int(cudnn) > 90000


def test_it_is_a_library_for_a_project_that_knows_no_cuda(tmp_path: Path, toolchain: Toolchain) -> None:
    """add_subdirectory(), and no argument but the Python whose wheels are to be used."""
    project = make_project(tmp_path)
    (tmp_path / "main.cpp").write_text(MAIN)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\n"
        "project(app LANGUAGES CXX)\n"
        "add_subdirectory(mini)\n"
        "add_executable(app main.cpp)\n"
        "target_link_libraries(app PRIVATE mini::mini)\n"
        "file(GENERATE OUTPUT weights.txt CONTENT $<TARGET_PROPERTY:mini::mini,CNNGEN_WEIGHTS>)\n"
    )
    build = tmp_path / "build"
    ninja = ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja.path}")
    python = f"-DPython_EXECUTABLE={sys.executable}"
    run(toolchain.cmake.path, *ninja, "-S", tmp_path, "-B", build, python, "-DCMAKE_CUDA_ARCHITECTURES=90")
    cache = (build / "CMakeCache.txt").read_text()
    assert "/usr/local/cuda" not in cache
    run(toolchain.ninja.path, "-C", build)
    cudnn, launch = run(build / "app").split()
    assert int(cudnn) > 90000
    assert int(launch) in (0, *NO_GPU)
    assert (build / "weights.txt").read_text() == str(project / "mini.weights.safetensors")
    assert not list(project.glob("*.so"))
