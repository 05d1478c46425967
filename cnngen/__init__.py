"""cnngen: from a declarative network spec to a CUDA C++ project, a Python module and a C++ library.

    import cnngen

    cnngen.build("spec.yaml")                     # generated/<name>/, compiled in place
    net = cnngen.load("generated/tiny").Network()

What stands here is the whole public Python API; the parts live in `cnngen.spec` (the users' language) and
`cnngen.codegen` (everything after it). Importing cnngen is quick: each function imports what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from pathlib import Path
    from types import ModuleType

    from cnngen.codegen.build import BuildResult
    from cnngen.spec import NetworkSpec

__version__ = "0.1.0"
__all__ = ["__version__", "build", "check", "generate", "load"]


def check(spec: str | PathLike[str]) -> NetworkSpec:
    """Read a spec and its weights, and prove that they fit together.

    Raises:
        SpecError: the spec is wrong; holds every problem with its file, line and column.
        WeightError: a weight is missing, misshapen or of the wrong type; holds all of them.
    """
    from cnngen.codegen.project import check_spec

    return check_spec(spec)


def generate(
    spec: str | PathLike[str],
    output: str | PathLike[str] = "generated",
    *,
    dump: str | PathLike[str] | None = None,
) -> Path:
    """Write the C++ project of a spec to `output`/<name>/, weights included, without compiling it.

    Args:
        spec: the YAML file.
        output: the folder that holds generated projects.
        dump: a folder for the graph's text after every pass.

    Returns:
        The project's folder.

    Raises:
        CnngenError: spec, weights or disk; says where and what to do. Nothing is left half written.
    """
    from cnngen.codegen.project import generate_project

    return generate_project(spec, output, dump=dump)


def build(
    spec: str | PathLike[str],
    output: str | PathLike[str] = "generated",
    *,
    arch: Sequence[str] | None = None,
) -> BuildResult:
    """Generate the project of a spec and compile it in place: the folder is then an importable package.

    Args:
        spec: the YAML file.
        output: the folder that holds generated projects.
        arch: compute capabilities such as ["80", "90"]; default: the GPUs present, else every one supported.

    Raises:
        CnngenError: as `generate`; also a toolchain that is not there and a compiler that failed.
    """
    from cnngen.codegen.build import build_project
    from cnngen.codegen.project import generate_project

    return build_project(generate_project(spec, output), archs=arch)


def load(project: str | PathLike[str]) -> ModuleType:
    """Import a built project from its folder, wherever that is.

    Returns:
        The module, as `import <name>` would with the folder's parent on the path.

    Raises:
        BuildError: the folder holds no built project.
    """
    from cnngen.codegen.build import load_project

    return load_project(project)
