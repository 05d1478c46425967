"""CUDA's wheels as a CUDA_HOME."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnngen.codegen import overlay
from cnngen.codegen.overlay import find_wheels, make_overlay

from .conftest import Fabric


def test_it_has_the_shape_of_a_cuda_home(fabric: Fabric) -> None:
    site = fabric.wheels()
    wheels = find_wheels([fabric.root / "elsewhere", site])
    assert wheels is not None
    assert wheels.missing() == []
    folder = make_overlay(wheels, fabric.cache)
    assert folder.name.startswith("cuda-13.0.88-")
    assert (folder / "include/cuda_runtime.h").exists()
    assert (folder / "nvvm/bin/cicc").exists()
    assert (folder / "bin/ptxas").exists()
    assert (folder / "lib64/libcudart.so").resolve() == site / "nvidia/cu13/lib/libcudart.so.13"
    assert (folder / "lib64/libcudnn.so").resolve() == site / "nvidia/cudnn/lib/libcudnn.so.9"
    assert (folder / "cudnn/include/cudnn_version.h").exists()
    text = (folder / "bin/nvcc").read_text()
    assert f"{site}/nvidia/cu13/bin/nvcc -L{folder}/lib64" in text
    assert os.access(folder / "bin/nvcc", os.X_OK)


def test_a_second_time_touches_nothing(fabric: Fabric) -> None:
    wheels = find_wheels([fabric.wheels()])
    assert wheels is not None
    first = make_overlay(wheels, fabric.cache)
    before = (first / "bin/nvcc").stat()
    assert make_overlay(wheels, fabric.cache) == first
    assert (first / "bin/nvcc").stat() == before
    assert os.listdir(fabric.cache) == [first.name]


def test_other_wheels_get_another_folder(fabric: Fabric) -> None:
    site = fabric.wheels(cudnn="9.19.0.56")
    old = find_wheels([site])
    (site / "nvidia_cudnn_cu13-9.19.0.56.dist-info/METADATA").write_text(
        "Name: nvidia-cudnn-cu13\nVersion: 9.28.0.1\n"
    )
    new = find_wheels([site])
    assert old is not None
    assert new is not None
    assert make_overlay(old, fabric.cache) != make_overlay(new, fabric.cache)


def test_a_folder_with_spaces_works(fabric: Fabric) -> None:
    wheels = find_wheels([fabric.wheels()])
    assert wheels is not None
    folder = make_overlay(wheels, fabric.root / "a cache")
    done = subprocess.run([folder / "bin/nvcc"], capture_output=True, text=True, check=True)
    assert "V13.0.88" in done.stdout


def test_a_failure_leaves_nothing(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = find_wheels([fabric.wheels()])
    assert wheels is not None

    def full(self: Path, *_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        make_overlay(wheels, fabric.cache)
    assert os.listdir(fabric.cache) == []


def test_another_process_that_was_first_is_no_error(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = find_wheels([fabric.wheels()])
    assert wheels is not None
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        make_overlay(wheels, fabric.cache)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    folder = make_overlay(wheels, fabric.cache)
    assert os.listdir(fabric.cache) == [folder.name]


def test_without_wheels_there_is_none(fabric: Fabric) -> None:
    assert find_wheels([fabric.root]) is None


def test_as_a_script_it_needs_the_standard_library_only(fabric: Fabric) -> None:
    # -S: no site-packages at all, so neither wheels nor anything that cnngen depends on.
    command = [sys.executable, "-I", "-S", str(overlay.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
