"""Finds what a build for the CPU needs: oneDNN, a C++ compiler, CMake, Ninja, Python's headers.

oneDNN is looked for in this order: $DNNL_ROOT, the wheels of the running Python, $CONDA_PREFIX, the system.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cnngen.codegen.programs import Part, Parts, find_programs, output
from cnngen.codegen.toolchain import ToolchainError
from cnngen.spec.errors import Problem

MINIMUM_ONEDNN = (2, 6)
MINIMUM_GCC = (11,)
INSTALL_ONEDNN = "install it with: pip install 'cnngen[cpu]'"
_LIBRARY_FOLDERS = ("lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu")


@dataclass(frozen=True)
class CpuToolchain(Parts):
    """Everything that a build for the CPU uses. A part's `path` is the program, or the library's file."""

    onednn: Part
    cxx: Part
    cmake: Part
    ninja: Part
    python: Part

    def cmake_arguments(self) -> list[str]:
        """What CMake has to be told so that it takes exactly these parts."""
        return [
            f"-DCMAKE_CXX_COMPILER={self.cxx.path}",
            f"-DCMAKE_MAKE_PROGRAM={self.ninja.path}",
            f"-DPython_EXECUTABLE={self.python.path}",
            f"-DCNNGEN_DNNL_INCLUDE_DIR={self.onednn.include}",
            f"-DCNNGEN_DNNL_LIBRARY={self.onednn.path}",
        ]

    def instruction_set(self, architecture: str) -> str:
        """The macros that tell what -march=`architecture` may use; empty where the compiler does not know it."""
        listed = output([str(self.cxx.path), f"-march={architecture}", "-dM", "-E", "-x", "c++", os.devnull])
        found = re.findall(r"^#define (__[A-Z0-9_]+__) 1$", listed, flags=re.MULTILINE)
        return " ".join(sorted(found))

    def architectures(self) -> list[str]:
        """What the compiler takes for -march, as far as it tells."""
        listed = output([str(self.cxx.path), "-march=?", "-E", "-x", "c++", os.devnull])
        match = re.search(r"valid arguments to .-march=. (?:switch )?are: ([^;\n]+)", listed)
        return match[1].split() if match else []


def find_cpu_toolchain(
    *, environ: Mapping[str, str] | None = None, prefix: Path | None = None, system: Path = Path("/")
) -> CpuToolchain:
    """Look for every part, in the order that the module's text gives.

    Args:
        environ: the environment variables; default: this process's.
        prefix: the Python environment whose wheels are looked at; default: `sys.prefix`.
        system: the root of the file system, for tests.

    Raises:
        ToolchainError: all that is missing or does not fit, where it was looked for, what to install.
    """
    environ = os.environ if environ is None else environ
    problems: list[Problem] = []
    onednn = _find_onednn(environ, Path(sys.prefix) if prefix is None else prefix, system, problems)
    cxx, cmake, ninja, python = find_programs(environ, problems)
    if cxx is not None and "g++" in cxx.path.name and cxx.release < MINIMUM_GCC:
        problems.append(Problem(f"{cxx.path} is {cxx.version}; cnngen needs g++ 11 or newer, for C++20"))
    if problems or not (onednn and cxx and cmake and ninja and python):
        raise ToolchainError(problems)
    return CpuToolchain(onednn, cxx, cmake, ninja, python)


def _places(environ: Mapping[str, str], prefix: Path, system: Path) -> Iterator[tuple[str, Path]]:
    if environ.get("DNNL_ROOT"):
        yield "DNNL_ROOT", Path(environ["DNNL_ROOT"])
    yield "wheel onednn-cpu-gomp", prefix
    if environ.get("CONDA_PREFIX"):
        yield "CONDA_PREFIX", Path(environ["CONDA_PREFIX"])
    yield "/usr/local", system / "usr/local"
    yield "system", system / "usr"


def _find_onednn(
    environ: Mapping[str, str], prefix: Path, system: Path, problems: list[Problem]
) -> Part | None:
    places = list(_places(environ, prefix, system))
    for origin, root in places:
        libraries = (root / folder / "libdnnl.so" for folder in _LIBRARY_FOLDERS)
        path = next((path for path in libraries if path.exists()), None)
        header = root / "include" / "oneapi" / "dnnl" / "dnnl_version.h"
        if path is None or not header.is_file():
            continue
        release = _release(header)
        version = ".".join(map(str, release))
        if release < MINIMUM_ONEDNN:
            wanted = ".".join(map(str, MINIMUM_ONEDNN))
            text = f"{origin}: oneDNN in {root} is {version}, too old; cnngen needs {wanted} or newer"
            problems.append(Problem(f"{text}; {INSTALL_ONEDNN}"))
        return Part(path, version, origin, root / "include")
    looked = ", ".join(str(root) for _, root in places)
    text = f"oneDNN (libdnnl.so and oneapi/dnnl/dnnl_version.h) was not found; looked in {looked}; {INSTALL_ONEDNN}"
    problems.append(Problem(text + ", or set DNNL_ROOT"))
    return None


def _release(header: Path) -> tuple[int, ...]:
    text = header.read_text(errors="replace")
    numbers = (re.search(rf"#define DNNL_VERSION_{name} (\d+)", text) for name in ("MAJOR", "MINOR", "PATCH"))
    return tuple(int(match[1]) if match else 0 for match in numbers)
