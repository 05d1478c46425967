"""The CPU's runtime with its Python module: hand-written networks, executed for real.

Operations of every geometry, epilogue and type against their definition; batches, memory, threads, errors.
"""

# ruff: noqa: ANN401 - the module under test is compiled here and has no types

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.emit.render import render
from cnngen.codegen.toolchain import ToolchainError
from cnngen.codegen.toolchain_cpu import CpuToolchain, find_cpu_toolchain

from ..machine import has_bfloat16
from .cpu_network import BATCHES, Text
from .objects import INCLUDE, compiled
from .operations import EVERY_OPERATION, Operation

OPERATIONS = [operation for operation in EVERY_OPERATION if operation.dtype == "float32" or has_bfloat16()]
TOLERANCE = {"float32": 3e-6, "bfloat16": 1e-2}  # relative norm


@pytest.fixture(scope="module")
def toolchain() -> CpuToolchain:
    try:
        return find_cpu_toolchain()
    except ToolchainError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def text() -> Text:
    draw = np.random.default_rng(5)
    for operation in OPERATIONS:
        operation.draw(draw)
    return Text(OPERATIONS)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, toolchain: CpuToolchain, text: Text) -> ModuleType:
    """The compiled package; `net.library` reaches what is exported beside the module."""
    folder = tmp_path_factory.mktemp("cpu_runtime")
    make_package(folder / "net", toolchain, text)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("net")
    module.library = ctypes.CDLL(module._core.__file__)
    return module


def make_package(package: Path, toolchain: CpuToolchain, text: Text) -> None:
    package.mkdir()
    ports = {
        name: [
            SimpleNamespace(identifier=port, shape=shape, dtype=dtype, layout="")
            for port, shape, dtype in found
        ]
        for name, found in (("inputs", text.inputs), ("outputs", text.outputs))
    }
    view = {
        "name": package.name,
        "target": "cpu",
        "batched": True,
        "profiles": (),
        "notice": "Generated for a test.",
        "description": "Operations.",
        "batch_sizes": BATCHES,
        "weight_file": "net.weights.safetensors",
        **ports,
    }
    (package / "__init__.py").write_text(render("cpu/init.py.j2", view))
    (package / "_map.py").write_text(render("map.py.j2", view))
    (package / "bindings.cpp").write_text(render("bindings.cpp.j2", view))
    (package / "network.cpp").write_text(text.source())
    text.write_weights(package / "net.weights.safetensors")
    compile_module(toolchain, package)


def compile_module(toolchain: CpuToolchain, package: Path) -> None:
    includes = subprocess.check_output([sys.executable, "-m", "pybind11", "--includes"], text=True).split()
    module = INCLUDE / "cnngen" / "cpu" / "module.cpp"
    sources = [package / "network.cpp", package / "bindings.cpp", module]
    compile_(toolchain, sources, package / "_core.so", "-shared", "-fPIC", *includes)


def compile_(toolchain: CpuToolchain, sources: list[Path], to: Path, *more: str) -> None:
    flags = ["-std=c++20", "-O1", "-fopenmp", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    flags += [f"-I{INCLUDE}", "-isystem", str(toolchain.onednn.include), *more]
    library = toolchain.onednn.path
    compiler = str(toolchain.cxx.path)
    words = [compiled(compiler, path, flags) if path.is_relative_to(INCLUDE) else path for path in sources]
    command = [compiler, *flags, *map(str, words), "-o", str(to)]
    command += [str(library), f"-Wl,-rpath,{library.parent}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-8000:]


def given(text: Text, n: int, seed: int = 0) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    return {
        name: draw.integers(-9, 9, (n, *shape), np.int32)
        if dtype == "int32"
        else draw.standard_normal((n, *shape), np.float32)
        for name, shape, dtype in text.inputs
    }


def error(got: Any, expected: Any) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def results(net: ModuleType, text: Text) -> dict[int, tuple[dict[str, Any], Any]]:
    runner = net.Network()
    inputs = {n: given(text, n, seed=n) for n in (1, 4)}
    return {n: (arrays, runner(**arrays)) for n, arrays in inputs.items()}


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operations_give_what_they_are_defined_to(
    results: dict[int, tuple[dict[str, Any], Any]], operation: Operation, n: int
) -> None:
    inputs, outputs = results[n]
    expected = operation.expected(inputs)
    got = getattr(outputs, operation.name)
    assert got.shape == expected.shape
    assert error(got, expected) < TOLERANCE[operation.dtype]


def test_integers_and_masks_pass_as_they_are(results: dict[int, tuple[dict[str, Any], Any]]) -> None:
    inputs, outputs = results[4]
    np.testing.assert_array_equal(outputs.counted, inputs["numbers"].astype(np.int64) + 1)
    np.testing.assert_array_equal(outputs.is_odd, inputs["numbers"] % 2 != 0)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_fewer_items_give_what_they_give_alone(net: ModuleType, text: Text, n: int) -> None:
    runner, inputs = net.Network(), given(text, n, seed=9)
    whole = runner(**inputs)
    for item in range(n):
        alone = runner(**{name: array[item : item + 1] for name, array in inputs.items()})
        for one, all_ in zip(alone, whole, strict=True):
            np.testing.assert_allclose(one[0], all_[item], rtol=1e-4, atol=1e-4)


def test_outputs_are_written_where_they_are_asked_for(net: ModuleType, text: Text) -> None:
    runner, inputs = net.Network(), given(text, 4)
    expected = runner(**inputs)
    buffers = [np.empty(array.nbytes + 1, np.uint8) for array in expected]
    shifted = [
        buffer[1:].view(array.dtype).reshape(array.shape)
        for buffer, array in zip(buffers, expected, strict=True)
    ]
    for out in ([np.empty_like(array) for array in expected], shifted):
        results = runner.run(**inputs, out=out)
        assert all(result is array for result, array in zip(results, out, strict=True))
        for result, array in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, array)


def test_an_output_may_lie_on_an_input(net: ModuleType, text: Text) -> None:
    runner, inputs = net.Network(), given(text, 4)
    expected = runner(**inputs)
    out = [np.empty_like(array) for array in expected]
    name = "residual"
    out[text.outputs.index(next(port for port in text.outputs if port[0] == name))] = inputs[
        f"{name}_residual"
    ]
    runner.run(**inputs, out=out)
    for result, array in zip(out, expected, strict=True):
        np.testing.assert_array_equal(result, array)


def test_trace_profile_summary_memory(net: ModuleType, text: Text) -> None:
    runner, inputs = net.Network(), given(text, 3)
    trace, outputs = runner.trace(**inputs), runner(**inputs)
    np.testing.assert_allclose(trace["wide"].transpose(0, 2, 3, 1), outputs.wide, rtol=1e-4, atol=1e-5)
    assert [layer for layer, _ in runner.profile(**inputs)] == list(trace)
    assert all(microseconds > 0 for _, microseconds in runner.profile(**inputs))
    summary = runner.summary()
    assert "oneDNN" in summary
    assert "onednn brg" in summary or "onednn jit" in summary
    assert list(runner.startup) == ["libraries", "plans", "weights", "record"]


def test_threads_on_one_context_and_on_their_own(net: ModuleType, text: Text) -> None:
    runner = net.Network(threads=1)
    inputs = {n: given(text, n, seed=n) for n in (1, 4)}
    expected = {n: runner(**arrays) for n, arrays in inputs.items()}
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            context = runner.context() if seed % 2 else runner
            for i in range(6):
                n = (1, 4)[i % 2]
                for got, wanted in zip(context.run(**inputs[n]), expected[n], strict=True):
                    np.testing.assert_array_equal(got, wanted)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_filter_is_in_memory_once(net: ModuleType, text: Text) -> None:
    """Reordered filters replace those of the file; two batch sizes share them."""
    memory = net.Network().memory
    assert memory["arena"] == text.arena.end
    assert text.slab.end * 0.9 < memory["weights"] < text.slab.end * 1.5  # small channel counts are padded
    assert memory["pinned"] == 0


def test_a_pipeline_gives_what_the_same_batches_give(net: ModuleType, text: Text) -> None:
    runner, inputs = net.Network(), given(text, 10)
    batches = [runner(**{name: array[i : i + 4] for name, array in inputs.items()}) for i in (0, 4, 8)]
    expected = [net.Outputs(*rows) for outputs in batches for rows in zip(*outputs, strict=True)]
    items = [{name: array[i] for name, array in inputs.items()} for i in range(10)]
    for contexts in (1, 3):
        results = list(runner.map(iter(items), contexts=contexts))
        assert len(results) == len(expected)
        for result, wanted in zip(results, expected, strict=True):
            for got, array in zip(result, wanted, strict=True):
                np.testing.assert_array_equal(got, array)
    with runner.pipeline() as pipeline:
        for i in (0, 4, 8):
            pipeline.submit(**{name: array[i : i + 4] for name, array in inputs.items()})
        assert pipeline.pending == 3
        for outputs in batches:
            for got, array in zip(pipeline.next(), outputs, strict=True):
                np.testing.assert_array_equal(got, array)
        with pytest.raises(net.ArgumentError, match="no pass has been submitted"):
            pipeline.next()


def test_a_wrong_item_comes_after_the_results_before(net: ModuleType, text: Text) -> None:
    inputs = given(text, 7)
    items: list[Any] = [{name: array[i] for name, array in inputs.items()} for i in range(7)]
    items[6] = items[6] | {"numbers": np.zeros(4, np.int32)}
    with net.Network().pipeline() as pipeline:
        results = pipeline.map(items)
        assert [len(next(results)) for _ in range(6)] == [len(text.outputs)] * 6
        with pytest.raises(ValueError, match=r"input 'numbers': got shape \(4,\), expected \(3,\)"):
            next(results)
        assert len(list(pipeline.map(items[:6]))) == 6


def test_a_pass_allocates_nothing_but_what_onednn_does(
    net: ModuleType, toolchain: CpuToolchain, tmp_path: Path
) -> None:
    package = Path(net.__file__ or "").parent
    sources = [package / "network.cpp", Path(__file__).parent / "cpu_runtime" / "allocations.cpp"]
    compile_(toolchain, sources, tmp_path / "allocations")
    weights = package / "net.weights.safetensors"
    printed = subprocess.check_output([tmp_path / "allocations", weights], text=True)
    in_pass, in_pipeline, by_onednn = map(int, printed.split())
    assert in_pass == in_pipeline == by_onednn


def test_unfit_machines_and_files(net: ModuleType, tmp_path: Path) -> None:
    net.library.need_features(1 << 31)  # what no CPU has
    try:
        with pytest.raises(net.Error, match="was compiled for a CPU with"):
            net.Network()
    finally:
        net.library.need_features(0)
    with pytest.raises(net.Error, match="No such file"):
        net.Network(weights=str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="-1 is no number of threads"):
        net.Network(threads=-1)


def test_a_cpu_without_bfloat16_says_so(toolchain: CpuToolchain, tmp_path: Path) -> None:
    half = next(operation for operation in EVERY_OPERATION if operation.dtype == "bfloat16")
    half.draw(np.random.default_rng(5))
    make_package(tmp_path / "net", toolchain, Text([half]))
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-c", "import net; net.Network()"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "planning 'half' in bfloat16, which needs a CPU with AVX-512: oneDNN: " in done.stderr


def test_torch_tensors_are_read_where_they_are(
    net: ModuleType, results: dict[int, tuple[dict[str, Any], Any]]
) -> None:
    torch = pytest.importorskip("torch")
    runner = net.Network()
    arrays, expected = results[4]
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    behind = {name: torch.cat([tensor[:1], tensor])[1:] for name, tensor in tensors.items()}
    out = [torch.from_numpy(np.empty_like(array)) for array in expected]
    for got, wanted in zip(runner.run(**behind, out=out), expected, strict=True):
        assert isinstance(got, torch.Tensor)
        np.testing.assert_array_equal(got.numpy(), wanted)
    x = behind["plain_x"]
    refused = (
        (BufferError, "require gradient", x.clone().requires_grad_()),
        (ValueError, "still to be negated", torch._neg_view(x)),
        (ValueError, "not contiguous", x.transpose(2, 3).contiguous().transpose(2, 3)),
        (TypeError, "got float64, expected float32", x.double()),
    )
    for kind, said, tensor in refused:
        with pytest.raises(kind, match=said):
            runner.run(**behind | {"plain_x": tensor}, out=out)


def test_wrong_arguments(net: ModuleType, text: Text) -> None:
    runner, inputs = net.Network(), given(text, 1)
    with pytest.raises(ValueError, match=r"input 'plain_x': got shape \(1, 9\), expected \(N, 9, 7, 8\)"):
        runner(**inputs | {"plain_x": np.zeros((1, 9), np.float32)})
    with pytest.raises(TypeError, match="input 'numbers': got int64, expected int32"):
        runner(**inputs | {"numbers": np.zeros((1, 3), np.int64)})
    with pytest.raises(ValueError, match="a batch of 5"):
        runner(**given(text, 5))
    with pytest.raises(ValueError, match="no streams"):
        runner.run(**inputs, stream=0)
    with pytest.raises(TypeError, match="expected a numpy array, or an array with __dlpack__"):
        runner(**inputs | {"numbers": [1, 2, 3]})
