"""Where oneDNN is taken from, in which order; what is compiled for; and what is said when something is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cnngen.codegen.architectures import BuildError, choose_architectures, choose_target
from cnngen.codegen.toolchain import ToolchainError
from cnngen.codegen.toolchain_cpu import CpuToolchain, find_cpu_toolchain

from .conftest import Fabric


def find(fabric: Fabric, **environ: str) -> CpuToolchain:
    """Only the fabricated file system is seen, and the C++ compiler, CMake and Ninja of this machine."""
    path = os.pathsep.join(["/usr/bin", "/bin", str(Path(sys.executable).parent)])
    variables = {"PATH": path, **environ}
    return find_cpu_toolchain(environ=variables, prefix=fabric.root / "venv", system=fabric.root / "system")


def onednn(fabric: Fabric, folder: str, version: str = "3.2.0", lib: str = "lib") -> Path:
    names = ("MAJOR", "MINOR", "PATCH")
    lines = [f"#define DNNL_VERSION_{name} {n}\n" for name, n in zip(names, version.split("."), strict=True)]
    fabric.file(f"{folder}/include/oneapi/dnnl/dnnl_version.h", "".join(lines))
    return fabric.file(f"{folder}/{lib}/libdnnl.so")


def test_the_order_of_places(fabric: Fabric) -> None:
    onednn(fabric, "system/usr", "2.6.3", lib="lib/x86_64-linux-gnu")
    assert find(fabric).onednn.origin == "system"
    conda = onednn(fabric, "conda", "3.5.1").parent.parent
    assert find(fabric, CONDA_PREFIX=str(conda)).onednn.origin == "CONDA_PREFIX"
    onednn(fabric, "venv")
    assert find(fabric, CONDA_PREFIX=str(conda)).onednn.origin == "wheel onednn-cpu-gomp"
    own = onednn(fabric, "own", "3.7.0")
    found = find(fabric, DNNL_ROOT=str(own.parent.parent))
    assert (found.onednn.origin, found.onednn.version, found.onednn.path) == ("DNNL_ROOT", "3.7.0", own)
    assert f"-DCNNGEN_DNNL_LIBRARY={own}" in found.cmake_arguments()


def test_what_is_missing_is_told_with_what_to_do(fabric: Fabric) -> None:
    with pytest.raises(
        ToolchainError, match=r"oneDNN .* was not found; .*venv.* pip install 'cnngen\[cpu\]'"
    ):
        find(fabric)


def test_an_old_version_is_refused(fabric: Fabric) -> None:
    onednn(fabric, "venv", "2.5.4")
    with pytest.raises(ToolchainError, match=r"2\.5\.4, too old; cnngen needs 2\.6 or newer"):
        find(fabric)


def test_architectures_of_a_cpu(fabric: Fabric) -> None:
    onednn(fabric, "venv")
    toolchain = find(fabric)
    assert choose_architectures(toolchain, None) == ("native",)
    assert choose_architectures(toolchain, ["native"]) == ("native",)
    assert toolchain.instruction_set("native")
    with pytest.raises(BuildError, match=r"'k13' is no CPU that .* compiles for"):
        choose_architectures(toolchain, ["k13"])
    with pytest.raises(BuildError, match="one name for a CPU, such as native or x86-64-v3, got native, k8"):
        choose_architectures(toolchain, ["native,k8"])


@pytest.mark.parametrize(
    ("name", "archs", "present", "target"),
    [
        ("auto", None, [], "cpu"),
        ("auto", None, ["90"], "cuda"),
        ("auto", ["80,9.0"], [], "cuda"),
        ("auto", ["sm_100a"], [], "cuda"),
        ("auto", ["native"], ["90"], "cpu"),
        ("cuda", None, [], "cuda"),
        ("cpu", None, ["90"], "cpu"),
    ],
)
def test_targets(
    monkeypatch: pytest.MonkeyPatch, name: str, archs: list[str] | None, present: list[str], target: str
) -> None:
    monkeypatch.setattr("cnngen.codegen.architectures.gpus", lambda: present)
    assert choose_target(name, archs).name == target


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(
        BuildError, match=r"there is no 'cpus' \(did you mean 'cpu'\?\); there is auto, cuda, cpu"
    ):
        choose_target("cpus")
