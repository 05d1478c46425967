"""Every example compiles without a warning, imports, and has its plans on GPUs that are not here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cnngen
from cnngen.codegen.architectures import gpus
from cnngen.codegen.build import build_project
from cnngen.codegen.plan_check import check_plans
from cnngen.codegen.project import generate_project
from cnngen.spec.ops import Linear

GPUS = ("t4", "a100", "h100", "b200")
pytestmark = pytest.mark.compiler


@pytest.mark.parametrize("name", ["tiny", "resnet50", "matting"])
def test_example_builds_and_has_its_plans(name: str, example: Callable[..., Path], tmp_path: Path) -> None:
    project = generate_project(example(name), tmp_path / "generated")
    result = build_project(project, archs=["90"], warnings_are_errors=True)
    check_project(result.project)


def test_demo(checkout: Path, example: Callable[..., Path], tmp_path: Path) -> None:
    """examples/mobilenet_v2/demo.py on seeded weights, where nothing has to be fetched."""
    folder = tmp_path / "examples" / "mobilenet_v2"
    shutil.copytree(
        checkout / "examples" / "mobilenet_v2",
        folder,
        ignore=shutil.ignore_patterns(".cache", "__pycache__", "*.safetensors"),
    )
    shutil.copy(example("mobilenet_v2").with_name("mobilenet_v2.safetensors"), folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "classes.txt").write_text("".join(f"class {k}\n" for k in range(1000)))
    done = subprocess.run(
        [sys.executable, str(folder / "demo.py")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built, *classes, ran = done.stdout.splitlines()
    assert len(classes) == 5
    assert all("%  class " in line for line in classes)
    assert ran.startswith("ran mobilenet_v2 on ")
    if gpus():
        assert built.startswith("built generated/mobilenet_v2 for sm_")
        check_project(tmp_path / "generated" / "mobilenet_v2")
    else:
        assert built == "built build/mobilenet_v2 for the CPU"
        assert done.stderr == ""


def check_project(project: Path) -> None:
    spec = cnngen.check(next(project.parent.parent.rglob(f"{project.name}*/spec.yaml")))
    script = f"import {project.name} as module; print(module.BATCH_SIZES)"
    environment = dict(os.environ)
    environment["PYTHONPATH"] = f"{project.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    printed = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert printed.strip() == str(spec.batch_sizes)
    counts = set()
    for report in check_plans(project, GPUS):
        planned = {(plan.layer, plan.batch) for plan in report.plans}
        assert len(planned) == len(report.plans)
        assert {batch for _, batch in planned} == set(spec.batch_sizes)
        counts.add(len(planned))
    dense = [layer for layer in spec.layers if isinstance(layer, Linear) or getattr(layer, "groups", 0) == 1]
    assert counts == {len(dense) * len(spec.batch_sizes)}
