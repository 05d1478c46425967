"""Compiles a generated project in place with CMake and Ninja."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TextIO

from cnngen.codegen.architectures import BuildError, choose_architectures
from cnngen.codegen.loading import module_path
from cnngen.codegen.overlay import cache_folder
from cnngen.codegen.project import disk_problem, free_space, runtime_of
from cnngen.codegen.targets import CPU, CUDA, Target
from cnngen.codegen.toolchain import Toolchain, find_toolchain
from cnngen.codegen.toolchain_cpu import CpuToolchain, find_cpu_toolchain

# Told of what is going on: the stage ("configure", "compile"), steps done, steps in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BuildResult:
    """A built project.

    project:       its folder, an importable package
    target:        what it runs on
    module:        the extension module in it
    architectures: compute capabilities with machine code in it, PTX for the last; or the one CPU, as -march has it
    toolchain:     what it was built with
    seconds:       how long it took
    cached:        whether it was there already
    log:           the output of CMake and the compilers
    """

    project: Path
    target: Target
    module: Path
    architectures: tuple[str, ...]
    toolchain: Toolchain | CpuToolchain
    seconds: float
    cached: bool
    log: Path


def build_project(
    project: str | PathLike[str],
    *,
    archs: Sequence[str] | None = None,
    toolchain: Toolchain | CpuToolchain | None = None,
    warnings_are_errors: bool = False,
    progress: Progress | None = None,
) -> BuildResult:
    """Compile a generated project; nothing is done when text, toolchain and architectures are as last time.

    Args:
        project: the folder that `generate_project` returned.
        archs: compute capabilities ("80", "9.0", "sm_90"); default: the GPUs present, else 75 to 120. For the CPU,
            one name that -march takes; default: native.
        toolchain: default: what is found for the project's target.
        warnings_are_errors: for generated code and runtime, in every compiler.
        progress: called as the work goes on.

    Raises:
        ToolchainError: something is not installed.
        BuildError: an architecture that the compiler does not know; a compiler that failed, with its command, its
            output and where the log is; a full disk.
    """
    start = time.perf_counter()
    folder = Path(project).resolve()
    if not (folder / "CMakeLists.txt").is_file():
        raise BuildError(f"{project} is not a generated project: it holds no CMakeLists.txt")
    target = project_target(folder)
    toolchain = toolchain or find_toolchain_for(target)
    architectures = choose_architectures(toolchain, archs)
    module = module_path(folder)
    build = folder / "build"
    objects = _kept_objects(folder, toolchain, warnings_are_errors=warnings_are_errors)
    settings = (
        f"{toolchain.fingerprint()}\n{architectures}\n{warnings_are_errors}\n{folder}\n{objects.name}\n"
    )
    if isinstance(toolchain, CpuToolchain):  # native is another CPU on another machine
        settings += toolchain.instruction_set(architectures[0])
    key = hashlib.sha256(settings.encode())
    for path in _sources(folder):
        key.update(f"{path}\0".encode() + path.read_bytes())
    try:
        with _locked(build):
            cached = module.is_file() and _read(build / "key") == key.hexdigest()
            if not cached:
                (build / "key").unlink(missing_ok=True)
                _compile(folder, settings, toolchain, architectures, warnings_are_errors, progress, objects)
                _keep_objects(build / "tree", objects)
                (build / "key").write_text(key.hexdigest())
    except OSError as error:
        raise BuildError(disk_problem(error, build)) from error
    seconds = time.perf_counter() - start
    return BuildResult(folder, target, module, architectures, toolchain, seconds, cached, build / "build.log")


def find_toolchain_for(target: Target) -> Toolchain | CpuToolchain:
    """What a build for this target uses. Raises ToolchainError with all that is missing."""
    return find_cpu_toolchain() if target is CPU else find_toolchain()


def project_target(project: Path) -> Target:
    """What a generated project is for."""
    return CPU if (project / "src" / "network.cpp").is_file() else CUDA


def install_project(result: BuildResult) -> str:
    """Install a built project into the running environment with pip.

    Returns:
        pip's last line.

    Raises:
        BuildError: pip's command and output.
    """
    isolation = [] if importlib.util.find_spec("scikit_build_core") is None else ["--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--force-reinstall", *isolation]
    arguments = [
        *result.toolchain.cmake_arguments(),
        _architectures_argument(result.target, result.architectures),
        f"-DCNNGEN_OBJECTS={_kept_objects(result.project, result.toolchain, warnings_are_errors=False)}",
    ]
    environment = {**os.environ, "CMAKE_ARGS": shlex.join(arguments)}
    done = subprocess.run(
        [*command, str(result.project)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildError(f"{shlex.join([*command, str(result.project)])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def _sources(folder: Path) -> Iterator[Path]:
    """Every file that the module is made from, in a fixed order; weights are not compiled."""
    yield folder / "CMakeLists.txt"
    runtime = _runtime_of(folder)
    for part in (folder / "src", folder / "include", runtime / "include", runtime / "cmake"):
        yield from sorted(path for path in part.rglob("*") if path.is_file())


def _runtime_of(folder: Path) -> Path:
    """Where a project's headers and build logic of the runtime are."""
    return folder / "cnngen" if (folder / "cnngen").is_dir() else runtime_of(folder) or folder


def _kept_objects(folder: Path, toolchain: Toolchain | CpuToolchain, *, warnings_are_errors: bool) -> Path:
    """Where the runtime's part of a Python module is kept once it is compiled: it is the same for all networks."""
    compiled_by = (
        toolchain.fingerprint(),
        warnings_are_errors,
        importlib.metadata.version("pybind11"),
        os.environ.get("CXXFLAGS", ""),
        project_target(folder).name,
    )
    key = hashlib.sha256(repr(compiled_by).encode())
    headers = _runtime_of(folder) / "include"
    for path in sorted(path for path in headers.rglob("*") if path.is_file()):
        key.update(f"{path.relative_to(headers)}\0".encode() + path.read_bytes())
    return cache_folder() / "objects" / key.hexdigest()[:32]


def _keep_objects(tree: Path, objects: Path) -> None:
    """Keeps what was compiled of it; not where the cache cannot be written."""
    for path in tree.rglob("*module.cpp.o"):
        kept = objects / f"{path.name.removesuffix('.cpp.o')}.o"
        part = kept.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            if not kept.exists():
                objects.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, part)
                part.replace(kept)  # whole or not at all: others build at the same time
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _compile(
    folder: Path,
    settings: str,
    toolchain: Toolchain | CpuToolchain,
    architectures: Sequence[str],
    warnings_are_errors: bool,
    progress: Progress | None,
    objects: Path,
) -> None:
    build = folder / "build"
    tree = build / "tree"
    with (build / "build.log").open("w") as log:
        if _read(build / "settings") != settings or not (tree / "build.ninja").is_file():
            own = build / "objects"
            for made in (tree, own):
                shutil.rmtree(made, ignore_errors=True)
            if objects.is_dir():  # copied, since a cache may be emptied at any time
                shutil.copytree(objects, own)
            configure = [
                str(toolchain.cmake.path),
                *("-G", "Ninja", "-S", str(folder), "-B", str(tree)),
                *toolchain.cmake_arguments(),
                _architectures_argument(project_target(folder), architectures),
                f"-DCNNGEN_WERROR={'ON' if warnings_are_errors else 'OFF'}",
                f"-DCNNGEN_OBJECTS={own}",
            ]
            _run(configure, "configure", log, progress)
            (build / "settings").write_text(settings)
        _run([str(toolchain.ninja.path), "-C", str(tree)], "compile", log, progress)


def _architectures_argument(target: Target, architectures: Sequence[str]) -> str:
    variable = "CNNGEN_CPU_ARCH" if target is CPU else "CMAKE_CUDA_ARCHITECTURES"
    return f"-D{variable}={';'.join(architectures)}"


def _run(command: Sequence[str], stage: str, log: TextIO, progress: Progress | None) -> None:
    log.write(f"$ {shlex.join(command)}\n")
    if progress is not None:
        progress(stage, 0, 1)
    lines: list[str] = []
    total = 1
    environment = {**os.environ, "NINJA_STATUS": "[%f/%t] ", "LC_ALL": "C"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line)
                log.write(line)
                step = re.match(r"\[(\d+)/(\d+)\] ", line)
                if step and progress is not None:
                    total = int(step[2])
                    progress(stage, int(step[1]), total)
        except BaseException:
            process.terminate()
            raise
    log.flush()
    if process.returncode != 0:
        raise BuildError(_failure(command, stage, process.returncode, lines, Path(log.name)))
    if progress is not None:
        progress(stage, total, total)  # what turned out to be as it was is not counted above


def _failure(command: Sequence[str], stage: str, code: int, lines: Sequence[str], log: Path) -> str:
    """The failing command, the part of its output that says why, and where the rest is."""
    first = next(
        (k for k, line in enumerate(lines) if re.match(r"FAILED:|CMake Error|ninja: error", line)), None
    )
    tail = lines[-40:] if first is None else lines[first : first + 40]
    full = "".join(lines)
    why = f"{stage} failed with exit code {code}"
    if "No space left on device" in full or "Disk quota exceeded" in full:
        why += f": the disk is full; {free_space(log.parent)}"
    return f"{why}: {shlex.join(command)}\n{''.join(tail).rstrip()}\nthe whole output is in {log}"


@contextlib.contextmanager
def _locked(build: Path) -> Iterator[None]:
    """One build at a time in a folder; a second waits, and finds it done."""
    build.mkdir(exist_ok=True)
    with (build / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
