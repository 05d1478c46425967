"""Finds what a build needs: nvcc, the CUDA libraries, cuDNN, a C++ compiler, CMake, Ninja, Python's headers.

CUDA is looked for in this order: an explicit compiler (argument or $CUDACXX), the wheels of the running
Python, $CUDA_HOME, $CONDA_PREFIX, /usr/local/cuda, the PATH and the system. The place of nvcc decides; a
library that is not there (slim images have nvcc without cuBLAS) is taken from the next place that has it in
the same major version. cuDNN: $CUDNN_ROOT, the one that PyTorch brings, the wheel, conda, CUDA's own place,
the system.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnngen.codegen.overlay import Wheels, find_wheels, make_overlay
from cnngen.codegen.programs import Part, Parts, find_programs, output
from cnngen.spec.errors import CnngenError, Problem

MINIMUM_CUDA = (12, 0)  # the first nvcc with C++20
MINIMUM_CUDNN = (9, 8)  # plans for a GPU that is not there
INSTALL_CUDA = "install it with: pip install 'cnngen[cuda13]'"
_LIBRARY_FOLDERS = (
    "lib64",
    "lib",
    "targets/x86_64-linux/lib",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
)
_INCLUDE_FOLDERS = ("include", "targets/x86_64-linux/include", "include/x86_64-linux-gnu")


class ToolchainError(CnngenError):
    """Something that a build needs is not installed, or does not fit the rest."""


@dataclass(frozen=True)
class Toolchain(Parts):
    """Everything that a build uses. A part's `path` is the program, or the library's file."""

    nvcc: Part
    cudart: Part
    cublaslt: Part
    nvrtc: Part
    cudnn: Part
    cxx: Part
    cmake: Part
    ninja: Part
    python: Part

    def cmake_arguments(self) -> list[str]:
        """What CMake has to be told so that it takes exactly these parts."""
        return [
            f"-DCMAKE_CUDA_COMPILER={self.nvcc.path}",
            f"-DCMAKE_CXX_COMPILER={self.cxx.path}",
            f"-DCMAKE_MAKE_PROGRAM={self.ninja.path}",
            f"-DPython_EXECUTABLE={self.python.path}",
            f"-DCNNGEN_CUDART_INCLUDE_DIR={self.cudart.include}",
            f"-DCNNGEN_CUBLASLT_INCLUDE_DIR={self.cublaslt.include}",
            f"-DCNNGEN_CUDNN_INCLUDE_DIR={self.cudnn.include}",
            f"-DCNNGEN_CUDART_LIBRARY={self.cudart.path}",
            f"-DCNNGEN_CUBLASLT_LIBRARY={self.cublaslt.path}",
            f"-DCNNGEN_CUDNN_LIBRARY={self.cudnn.path}",
            f"-DCNNGEN_NVRTC_LIBRARY={self.nvrtc.path}",
            f"-DCNNGEN_NVRTC_INCLUDE_DIR={self.nvrtc.include}",
        ]

    def architectures(self) -> list[str]:
        """Compute capabilities that this nvcc compiles for, such as ["75", "80", "90"]."""
        listed = output([str(self.nvcc.path), "--list-gpu-arch"])
        return re.findall(r"^compute_(\d+)$", listed, flags=re.MULTILINE)


@dataclass(frozen=True)
class _Place:
    """A folder that may hold a CUDA toolkit or cuDNN, and how it came to be looked at."""

    origin: str
    root: Path
    nvcc: Path | None = None  # where it is not bin/nvcc
    wheels: Wheels | None = None

    def compiler(self) -> Path | None:
        nvcc = self.nvcc or self.root / "bin" / "nvcc"
        return nvcc if nvcc.is_file() else None

    def library(self, name: str) -> Path | None:
        paths = (self.root / folder / name for folder in _LIBRARY_FOLDERS)
        return next((path.resolve() for path in paths if path.exists()), None)

    def header(self, name: str) -> Path | None:
        """The folder that holds the header."""
        folders = (self.root / folder for folder in _INCLUDE_FOLDERS)
        return next((folder for folder in folders if (folder / name).exists()), None)

    def part(
        self, path: Path, wheel: str, *, version: str | None = None, include: Path | None = None
    ) -> Part:
        known = self.wheels.versions.get(wheel) if self.wheels is not None else None
        origin = self.origin if known is None else f"wheel {wheel}"
        return Part(path, version or known or _version_in_name(path), origin, include)


def find_toolchain(
    *,
    compiler: Path | None = None,
    environ: Mapping[str, str] | None = None,
    site_packages: Sequence[str | Path] | None = None,
    cache: Path | None = None,
    system: Path = Path("/"),
) -> Toolchain:
    """Look for every part, in the order that the module's text gives.

    Args:
        compiler: an nvcc that goes before all others.
        environ: the environment variables; default: this process's.
        site_packages: where wheels are looked for; default: `sys.path`.
        cache: where the wheels' overlay lies; default: the user's cache folder.
        system: the root of the file system, for tests.

    Raises:
        ToolchainError: all that is missing or does not fit, where it was looked for, what to install.
    """
    environ = os.environ if environ is None else environ
    problems: list[Problem] = []
    wheels = find_wheels(site_packages)
    places = list(_cuda_places(compiler, environ, wheels, cache, system, problems))
    nvcc, toolkit = _find_nvcc(places, problems)
    places = [toolkit, *(place for place in places if place != toolkit)] if toolkit else places
    major = nvcc.release[0] if nvcc else None
    cudart = _find_library("cudart", "cuda_runtime.h", "nvidia-cuda-runtime", places, major, problems)
    cublaslt = _find_library("cublasLt", "cublasLt.h", "nvidia-cublas", places, major, problems)
    nvrtc = _find_library("nvrtc", "nvrtc.h", "nvidia-cuda-nvrtc", places, major, problems)
    cudnn = _find_cudnn(environ, wheels, places, site_packages, problems)
    cxx, cmake, ninja, python = find_programs(environ, problems)
    if (
        problems
        or not (nvcc and cudart and cublaslt and nvrtc and cudnn)
        or not (cxx and cmake and ninja and python)
    ):
        raise ToolchainError(problems)
    return Toolchain(nvcc, cudart, cublaslt, nvrtc, cudnn, cxx, cmake, ninja, python)


def _cuda_places(
    compiler: Path | None,
    environ: Mapping[str, str],
    wheels: Wheels | None,
    cache: Path | None,
    system: Path,
    problems: list[Problem],
) -> Iterator[_Place]:
    explicit = compiler or (Path(environ["CUDACXX"]) if environ.get("CUDACXX") else None)
    if explicit is not None:
        origin = "explicit compiler" if compiler else "CUDACXX"
        found = shutil.which(explicit, path=environ.get("PATH"))
        if found is None:
            problems.append(Problem(f"{origin}: {explicit} is not a program; give the path of an nvcc"))
        else:
            yield _Place(origin, _root_of(Path(found)), Path(found))
    if wheels is not None:
        try:
            yield _Place("wheels", make_overlay(wheels, cache), wheels=wheels)
        except OSError as error:
            text = f"cannot write the folder of links to CUDA's wheels: {error}; set XDG_CACHE_HOME"
            problems.append(Problem(text))
    for variable in ("CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX"):
        if environ.get(variable):
            yield _Place(variable, Path(environ[variable]))
    yield _Place("/usr/local/cuda", system / "usr/local/cuda")
    on_path = shutil.which("nvcc", path=environ.get("PATH"))
    if on_path is not None:
        yield _Place("PATH", _root_of(Path(on_path)), Path(on_path))
    yield _Place("system", system / "usr")


def _find_nvcc(places: Sequence[_Place], problems: list[Problem]) -> tuple[Part | None, _Place | None]:
    for place in places:
        path = place.compiler()
        if path is None:
            continue
        match = re.search(r"release [\d.]+, V([\d.]+)", output([str(path), "--version"]))
        if match is None:
            problems.append(Problem(f"{place.origin}: {path} --version does not answer as nvcc does"))
            return None, None
        part = place.part(path, "nvidia-cuda-nvcc", version=match[1])
        if part.release[:2] < MINIMUM_CUDA:
            wanted = ".".join(map(str, MINIMUM_CUDA))
            text = f"{place.origin}: {path} is CUDA {part.version}, too old; cnngen needs {wanted} or newer"
            problems.append(Problem(f"{text}; {INSTALL_CUDA}"))
        return part, place
    looked = ", ".join(f"{place.origin} ({place.root})" for place in places)
    wheels = "" if any(place.wheels for place in places) else f"the wheels of {sys.prefix}, "
    problems.append(Problem(f"nvcc was not found; looked in {wheels}{looked}; {INSTALL_CUDA}"))
    return None, None


def _find_library(
    name: str,
    header: str,
    wheel: str,
    places: Sequence[_Place],
    major: int | None,
    problems: list[Problem],
) -> Part | None:
    """The first place with both the library, in the compiler's major version, and its header."""
    if major is None:  # already said: there is no compiler
        return None
    for place in places:
        path, include = place.library(f"lib{name}.so.{major}"), place.header(header)
        if path is not None and include is not None:
            return place.part(path, wheel, include=include)
    looked = ", ".join(str(place.root) for place in places)
    wanted = f"lib{name}.so.{major}" + (f" and {header}" if header else "")
    text = (
        f"{wanted} for nvcc {major} not found in {looked}; {INSTALL_CUDA}, or install the wheel {wheel} alone"
    )
    problems.append(Problem(text))
    return None


def _find_cudnn(
    environ: Mapping[str, str],
    wheels: Wheels | None,
    places: Sequence[_Place],
    site_packages: Sequence[str | Path] | None,
    problems: list[Problem],
) -> Part | None:
    if wheels is not None and "nvidia-cudnn-cu12" in wheels.versions:
        text = (
            "the wheel nvidia-cudnn-cu12 is for CUDA 12 and lies in the same folder as CUDA 13's; "
            "pip uninstall nvidia-cudnn-cu12, then pip install --force-reinstall --no-deps nvidia-cudnn-cu13"
        )
        problems.append(Problem(text))
        return None
    candidates = list(_cudnn_places(environ, wheels, places, site_packages))
    for place in candidates:
        path = place.library("libcudnn.so.9")
        if path is None:
            continue
        # PyTorch's own copy has no headers; those of another place do, when they are not newer.
        includes = (other.header("cudnn_version.h") for other in (place, *candidates))
        include = next((folder for folder in includes if folder is not None), None)
        if include is None:
            break
        version = _cudnn_library_version(place, path)
        part = place.part(path, "nvidia-cudnn-cu13", version=version, include=include)
        problems.extend(_cudnn_misfits(part, _cudnn_header_version(include), include))
        return part
    looked = ", ".join(f"{place.origin} ({place.root})" for place in candidates)
    text = f"cuDNN 9 (libcudnn.so.9 and cudnn_version.h) was not found; looked in {looked}; {INSTALL_CUDA}"
    problems.append(Problem(text + ", or set CUDNN_ROOT"))
    return None


def _cudnn_places(
    environ: Mapping[str, str],
    wheels: Wheels | None,
    places: Sequence[_Place],
    site_packages: Sequence[str | Path] | None,
) -> Iterator[_Place]:
    if environ.get("CUDNN_ROOT"):
        yield _Place("CUDNN_ROOT", Path(environ["CUDNN_ROOT"]))
    for folder in map(Path, sys.path if site_packages is None else site_packages):
        if (folder / "torch" / "lib" / "libcudnn.so.9").exists():
            yield _Place("torch", folder / "torch")
            break
    if wheels is not None and wheels.cudnn is not None:
        yield _Place("wheels", wheels.cudnn, wheels=wheels)
    # Where PyTorch is installed without nvcc's wheels, the process that imports both runs on PyTorch's cuDNN.
    for folder in map(Path, sys.path if site_packages is None else site_packages):
        if (folder / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9").exists():
            yield _Place("wheel nvidia-cudnn-cu13", folder / "nvidia" / "cudnn")
            break
    yield from sorted(
        (p for p in places if p.wheels is None), key=lambda place: place.origin != "CONDA_PREFIX"
    )


def _cudnn_misfits(library: Part, header: tuple[int, ...], include: Path) -> Iterator[Problem]:
    shown = ".".join(map(str, header))
    if header[:2] < MINIMUM_CUDNN:
        wanted = ".".join(map(str, MINIMUM_CUDNN))
        yield Problem(
            f"cuDNN {shown} in {include} is too old, cnngen needs {wanted} or newer; {INSTALL_CUDA}"
        )
    if header > library.release[:3]:
        yield Problem(
            f"cuDNN's headers in {include} are {shown}, newer than the library {library.path} "
            f"({library.version}, {library.origin}) that would be loaded with them; install one version of "
            "nvidia-cudnn-cu13, or set CUDNN_ROOT to a folder that holds both"
        )


def _cudnn_header_version(include: Path) -> tuple[int, ...]:
    text = (include / "cudnn_version.h").read_text(errors="replace")
    numbers = (re.search(rf"#define CUDNN_{name} (\d+)", text) for name in ("MAJOR", "MINOR", "PATCHLEVEL"))
    return tuple(int(match[1]) if match else 0 for match in numbers)


def _cudnn_library_version(place: _Place, path: Path) -> str | None:
    """None where a wheel's metadata or the file's name tells it."""
    if (place.wheels is not None and path.is_relative_to(place.root)) or "." in _version_in_name(path):
        return None
    # Asked in a process of its own, so that this one loads nothing.
    script = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).cudnnGetVersion())"
    number = output([sys.executable, "-c", script, str(path)]).strip()
    if not number.isdigit():
        return "0"
    return f"{int(number) // 10000}.{int(number) // 100 % 100}.{int(number) % 100}"


def _root_of(nvcc: Path) -> Path:
    """The toolkit of an nvcc, also where it is a wrapper script: nvcc tells it in a dry run."""
    beside = nvcc.resolve().parent.parent
    if any((beside / folder / "cuda_runtime.h").exists() for folder in _INCLUDE_FOLDERS):
        return nvcc.parent.parent if nvcc.resolve() == nvcc else beside
    match = re.search(r"^#\$ TOP=(.+)$", output([str(nvcc), "--dryrun", "-c", "any.cu"]), flags=re.MULTILINE)
    return Path(match[1]).resolve() if match else beside


def _version_in_name(path: Path) -> str:
    match = re.search(r"\.so\.([\d.]+)$", path.name)
    return match[1] if match else "unknown"
