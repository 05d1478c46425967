"""The command: what it prints, its exit codes, and that no mistake ends in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cnngen
from cnngen.spec import load_weights, save_weights

HERE = Path(__file__).parent  # not the checkout's root, whose folder cnngen/ is only the facade
SPEC = """\
name: small
inputs:
  image: {shape: [1, 3, 8, 8], layout: NCHW, dtype: float32}
precision: float16
weights: small.safetensors
layers:
  - {name: conv1, op: conv2d, out_channels: 4, kernel: 3, padding: 1, activation: relu}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    weights = {"conv1.weight": np.zeros((4, 3, 3, 3), np.float32), "conv1.bias": np.zeros(4, np.float32)}
    save_weights(tmp_path / "small.safetensors", weights)
    return path


def run(*words: object, code: int = 0) -> str:
    """What the command prints; nothing of it may be a traceback."""
    command = [sys.executable, "-m", "cnngen", *(str(word) for word in words)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


def test_version() -> None:
    assert run("--version") == f"cnngen {cnngen.__version__}\n"


@pytest.mark.parametrize("words", [["frobnicate"], ["build"], ["build", "a.yaml", "--fast"]])
def test_a_wrong_use_exits_with_2(words: list[str]) -> None:
    assert "Usage: cnngen" in run(*words, code=2)


@pytest.mark.parametrize(
    "options",
    [
        ["--batch-sizes", "1,x"],
        ["--batch-sizes", "0"],
        ["--shape", "1x3"],
        ["--shape", "a=1xb"],
        ["--constant", "1,2"],
    ],
)
def test_a_wrong_option_of_import_exits_with_2(tmp_path: Path, options: list[str]) -> None:
    text = run("import", "onnx", tmp_path / "a.onnx", "-o", tmp_path, *options, code=2)
    assert repr(options[1].split("=")[-1]) in text


def test_a_mistake_exits_with_1_and_one_message(spec: Path) -> None:
    spec.write_text(SPEC.replace("kernel: 3", "kernle: 3"))
    text = run("check", spec, code=1)
    assert text.startswith(f"error: {spec}:7:")
    assert "did you mean 'kernel'?" in text


def test_tracebacks_are_for_those_who_ask(spec: Path) -> None:
    command = [sys.executable, "-m", "cnngen", "check", str(spec.with_name("none.yaml")), "-v"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_check(spec: Path) -> None:
    assert run("check", spec) == f"{spec}: 1 layers, batch sizes [1]: ok\n"


def test_check_holds_the_weights_against_the_spec(spec: Path) -> None:
    spec.write_text(SPEC.replace("out_channels: 4", "out_channels: 5"))
    text = run("check", spec, code=1)
    assert "conv1.weight" in text
    assert "conv1.bias" in text


def test_a_gpu_that_nobody_described_is_named(spec: Path) -> None:
    assert "'h1000' is not described (did you mean 'h100'?)" in run("check", spec, "--gpu", "h1000", code=1)


def test_generate(spec: Path, tmp_path: Path) -> None:
    depfile = tmp_path / "small.d"
    project = tmp_path / "out" / "small"
    assert (
        run(*("generate", spec, "-o", tmp_path / "out", "--target", "cuda", "--depfile", depfile))
        == f"{project}\n"
    )
    assert (project / "src" / "network.cu").is_file()
    rule = depfile.read_text()
    assert rule.startswith(f"{project}/CMakeLists.txt: {spec} ")
    assert str(tmp_path / "small.safetensors") in rule
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    run("generate", spec, "-o", tmp_path / "out", "--target", "cuda")
    assert {path: path.stat().st_mtime_ns for path in project.rglob("src/*")}.items() <= before.items()


def test_generate_for_a_target(spec: Path, tmp_path: Path) -> None:
    source = tmp_path / "out" / "small" / "src"
    run("generate", spec, "-o", tmp_path / "out", "--target", "cpu")
    assert sorted(os.listdir(source)) == ["bindings.cpp", "kernels.cpp", "kernels.hpp", "network.cpp"]
    run("generate", spec, "-o", tmp_path / "out", "--target", "cuda")
    assert sorted(os.listdir(source)) == ["bindings.cpp", "kernels.cu", "kernels.cuh", "network.cu"]
    assert "did you mean 'cpu'?" in run("generate", spec, "--target", "cpus", code=1)


def test_what_a_cpu_computes_otherwise_is_said(spec: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cnngen", "generate", str(spec), "-o", str(tmp_path), "--target", "cpu"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    assert done.stderr == "float16 is computed and stored as float32 on the CPU\n"


def test_a_failed_generation_leaves_nothing(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "small.safetensors").unlink()
    run("generate", spec, "-o", tmp_path / "out", code=1)
    assert not (tmp_path / "out").exists()


def test_a_dump_has_a_file_for_every_pass(spec: Path, tmp_path: Path) -> None:
    run("generate", spec, "-o", tmp_path / "out", "--dump", tmp_path / "dump")
    assert (tmp_path / "dump" / "00-lower.txt").is_file()


def test_export_manifest(spec: Path, tmp_path: Path) -> None:
    assert run("export-manifest", spec) == f"{tmp_path}/small.manifest\n"
    weights = load_weights(tmp_path / "small.manifest")
    assert weights["conv1.weight"].shape == (4, 3, 3, 3)


def test_schema_is_json() -> None:
    assert json.loads(run("schema"))["properties"]["layers"]


def test_cmake_dir_holds_the_package() -> None:
    assert (Path(run("cmake-dir").strip()) / "cnngen-config.cmake").is_file()


def test_an_unwritable_output_is_one_message(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run("generate", spec, "-o", tmp_path / "file", code=1).startswith("error: cannot write ")


def test_the_facade_imports_nothing_heavy() -> None:
    script = (
        "import sys, cnngen; print([m for m in ('numpy', 'pydantic', 'yaml', 'rich') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True, cwd=HERE) == "[]\n"


def test_a_constant_of_import_takes_the_place_of_an_input(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Reshape", ["x", "sizes"], ["y"])
    ports = [value("x", 1, [1, 4, 6]), value("sizes", 7, [3])], [value("y", 1, ["a", "b", "c"])]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", *ports))
    onnx.save(model, str(tmp_path / "m.onnx"))
    run("import", "onnx", tmp_path / "m.onnx", "-o", tmp_path, "--constant", "sizes=1,6,4")
    network = cnngen.check(tmp_path / "spec.yaml")
    assert list(network.inputs) == ["x"]
