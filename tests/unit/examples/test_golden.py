"""The committed projects under generated/ are what cnngen generates from the examples, byte for byte."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest

from cnngen.codegen.generate import GeneratedProject, generate
from cnngen.codegen.project import WRITTEN
from cnngen.codegen.targets import CPU, CUDA, Target

EXAMPLES = ("tiny", "resnet50", "mobilenet_v2", "matting")
COMMITTED = [*((name, CUDA) for name in EXAMPLES), ("tiny", CPU)]
NOT_COMMITTED = (".safetensors", ".so", ".pyc")


@pytest.mark.parametrize(("name", "target"), COMMITTED, ids=lambda value: getattr(value, "name", value))
def test_generated_project_is_committed(
    name: str, target: Target, example: Callable[..., Path], checkout: Path, update_golden: bool
) -> None:
    folder = checkout / "generated" / ("" if target is CUDA else target.name) / name
    files = committed_files(generate(example(name), target=target))
    if update_golden:
        for path in (path for path in found_files(folder) if path not in files):
            (folder / path).unlink()
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    assert found_files(folder) == sorted(files)
    changed = {path: text for path, text in files.items() if (folder / path).read_bytes() != text.encode()}
    assert not changed, "".join(
        line
        for path, text in changed.items()
        for line in difflib.unified_diff(
            (folder / path).read_text(encoding="utf-8").splitlines(keepends=True),
            text.splitlines(keepends=True),
            f"{folder.relative_to(checkout)}/{path}",
            f"what is generated for {path}; pytest --update-golden takes it over",
        )
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_text_does_not_depend_on_the_values_of_weights(name: str, example: Callable[..., Path]) -> None:
    """So the committed projects are also those of the weights that an example fetches."""
    assert generate(example(name, seed=0)).files == generate(example(name, seed=1)).files


def committed_files(project: GeneratedProject) -> dict[str, str]:
    """Every file of the project but its weights, and the list that the next generation reads."""
    listed = "".join(f"{path}\n" for path in sorted([*project.files, project.weight_file]))
    return {**project.files, WRITTEN: listed}


def found_files(folder: Path) -> list[str]:
    """What lies in a project's folder, but for what is built or not committed."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in NOT_COMMITTED)
    relative = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(path for path in relative if not path.startswith("build/"))
