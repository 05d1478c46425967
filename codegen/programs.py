"""The programs that a build runs beside nvcc: a C++ compiler, CMake, Ninja, and Python with its headers."""

from __future__ import annotations

import contextlib
import importlib
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from cnngen.spec.errors import Problem


@dataclass(frozen=True)
class Part:
    """One program or library of the toolchain, with its version and where it came from.

    include: the folder of a library's headers
    """

    path: Path
    version: str
    origin: str
    include: Path | None = None

    @property
    def release(self) -> tuple[int, ...]:
        """The version's numbers, as far as they are known."""
        return tuple(int(number) for number in re.findall(r"\d+", self.version)[:4])


@dataclass(frozen=True)
class Parts:
    """What a toolchain of either target is made of: its fields are its parts."""

    def parts(self) -> dict[str, Part]:
        """Every part by its name, in the order in which a reader wants them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def fingerprint(self) -> str:
        """Text that changes whenever a build by this toolchain might come out differently."""
        return "\n".join(f"{name}: {part}" for name, part in self.parts().items())


def find_programs(
    environ: Mapping[str, str], problems: list[Problem]
) -> tuple[Part | None, Part | None, Part | None, Part | None]:
    """C++ compiler, CMake, Ninja, Python; what is missing is added to `problems`."""
    return (
        _find_cxx(environ, problems),
        _find_tool("cmake", (3, 24), "CMAKE_BIN_DIR", environ, problems),
        _find_tool("ninja", (1, 10), "BIN_DIR", environ, problems),
        _find_python(problems),
    )


def _find_cxx(environ: Mapping[str, str], problems: list[Problem]) -> Part | None:
    names = [environ["CXX"]] if environ.get("CXX") else ["g++", "c++", "clang++"]
    path = next((found for name in names if (found := shutil.which(name, path=environ.get("PATH")))), None)
    if path is None:
        text = f"no C++ compiler: looked for {', '.join(names)}; on Debian and Ubuntu: apt install g++"
        problems.append(Problem(text))
        return None
    version = output([path, "-dumpfullversion", "-dumpversion"]).strip() or "unknown"
    return Part(Path(path), version, "CXX" if environ.get("CXX") else "PATH")


def _find_tool(
    name: str, minimum: tuple[int, int], folder: str, environ: Mapping[str, str], problems: list[Problem]
) -> Part | None:
    """The program of the wheel of the same name, whose module says in `folder` where; else the PATH's."""
    candidates = [(shutil.which(name, path=environ.get("PATH")), "PATH")]
    with contextlib.suppress(ImportError):
        candidates.insert(0, (f"{getattr(importlib.import_module(name), folder)}/{name}", f"wheel {name}"))
    for path, origin in candidates:
        match = re.search(r"\d+(\.\d+)+", output([path, "--version"])) if path else None
        if path and match and (part := Part(Path(path), match[0], origin)).release >= minimum:
            return part
    wanted = f"{name}>={'.'.join(map(str, minimum))}"
    problems.append(Problem(f"{wanted} was not found; install it with: pip install '{wanted}'"))
    return None


def _find_python(problems: list[Problem]) -> Part | None:
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        text = f"Python's {include}/Python.h was not found; on Debian and Ubuntu: apt install python3-dev"
        problems.append(Problem(text))
        return None
    return Part(Path(sys.executable), sys.version.split()[0], sys.prefix)


def output(command: Sequence[str]) -> str:
    """What a program prints, on both channels; nothing when it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
