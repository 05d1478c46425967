"""Each folder imports only what stands before it, and printing is the command line's."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SPEC = {"pydantic", "pydantic_core", "yaml", "numpy", "ml_dtypes", "safetensors", "typing_extensions"}
CODEGEN = SPEC | {"jinja2", "clang_format", "cmake", "ninja", "typer", "rich"}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def foreign(folder: str, own: tuple[str, ...], libraries: set[str]) -> list[str]:
    """Every import of a folder that is neither its own, nor an allowed library, nor the standard library."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for line, name in imports(path):
            top = name.split(".")[0]
            allowed = top in libraries or top in sys.stdlib_module_names
            mine = name in own or name.startswith(tuple(f"{prefix}." for prefix in own if prefix != "cnngen"))
            if not (allowed or mine):
                found.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    return found


def test_spec_knows_nothing_of_what_comes_after_it() -> None:
    outside = foreign("spec", ("cnngen.spec",), SPEC)
    assert [
        line
        for line in outside
        if not re.match(r"spec/onnx/\S+ (onnx|google\.protobuf)\b|spec/torch/\S+ torch\b", line)
    ] == []


def test_codegen_knows_spec_and_itself() -> None:
    # `cnngen` alone is the facade: its version, and loading a module.
    outside = foreign("codegen", ("cnngen.spec", "cnngen.codegen", "cnngen"), CODEGEN)
    assert [line for line in outside if not re.match(r"codegen/onnx_backend.py:\d+: onnx\b", line)] == []


def test_no_pass_imports_a_pass() -> None:
    passes = ROOT / "codegen" / "passes"
    names = {path.stem for path in passes.glob("*.py") if path.stem != "__init__"}
    found = [
        f"{path.name}:{line}: {name}"
        for path in sorted(passes.glob("*.py"))
        if path.stem != "__init__"
        for line, name in imports(path)
        if name.startswith("cnngen.codegen.passes.") and name.split(".")[3] in names
    ]
    assert found == []


@pytest.mark.parametrize("script", ["overlay.py"])
def test_what_cmake_runs_needs_the_standard_library_only(script: str) -> None:
    outside = [name for _, name in imports(ROOT / "codegen" / script)]
    assert {name.split(".")[0] for name in outside} <= sys.stdlib_module_names


def test_the_runtime_never_sees_python_but_where_it_is_bound_to_it() -> None:
    paths = (ROOT / "include").rglob("*.*")
    for path in (path for path in paths if path.name != "python.hpp" and path.parent.name != "python"):
        included = re.findall(r'#include [<"](.+?)[>"]', path.read_text())
        assert not [name for name in included if re.match(r"(?i)(python|pybind11|nanobind|numpy)", name)], (
            path
        )


def test_templates_are_templates() -> None:
    python = [path.name for path in (ROOT / "templates").rglob("*") if path.suffix == ".py"]
    assert python == []
