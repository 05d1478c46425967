"""Profiles on CUDA without a GPU: the runtime over a fake of CUDA, generated text emulated; headers of both targets."""

# ruff: noqa: ANN401 - the module under test is compiled here and has no types

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.emit.project import project_files
from cnngen.codegen.plan import make_plan
from cnngen.codegen.targets import CPU, CUDA, Target
from cnngen.codegen.toolchain import ToolchainError
from cnngen.codegen.toolchain_cpu import find_cpu_toolchain

from ..unit.codegen.networks import Network, network
from .emulated_networks import check_networks
from .fake import HERE, OnDevice, build_fake, count, lazily, port, read, wheel_headers
from .objects import INCLUDE

SHAPES = ((3,), (5,))
VIEW: dict[str, Any] = {
    "name": "profiles",
    "target": "cuda",
    "batched": True,
    "notice": "Generated for a test.",
    "description": "One kernel.",
    "inputs": [port("x", (3,), "")],
    "outputs": [port("y", (3,), "")],
    "profiles": ('{"x": (3,), "y": (3,)}', '{"x": (5,), "y": (5,)}'),
    "batch_sizes": (1, 4),
    "weight_file": "profiles.weights.safetensors",
}


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return build_fake(tmp_path_factory.mktemp("profiles"), VIEW, HERE / "profiles.cpp", optimize="-O0")


@pytest.fixture
def lazy(module: ModuleType) -> Iterator[None]:
    with lazily(module):
        yield


def given(n: int, profile: int) -> Any:
    return np.random.default_rng(n).standard_normal((n, *SHAPES[profile]), np.float32)


def wanted(x: Any) -> Any:
    return x + np.arange(x.shape[1], dtype=np.float32)


def test_the_inputs_choose_the_profile(module: ModuleType) -> None:
    net = module.Network(plan_cache="")
    for n in (1, 3, 4, 2):
        for profile in (0, 1, 1, 0):
            x = given(n, profile)
            np.testing.assert_array_equal(net(x), wanted(x))
            out = np.empty_like(x)
            assert net.run(x, out=out) is out
            np.testing.assert_array_equal(out, wanted(x))
            np.testing.assert_array_equal(net.trace(x)["y"], wanted(x))
            assert [layer for layer, _ in net.profile(x)] == ["y"]


def test_arrays_on_the_gpu_stay_where_they_are(module: ModuleType) -> None:
    context = module.Network(plan_cache="").context()
    copies, launched = count(module, "cudaMemcpyAsync"), count(module, "cudaGraphLaunch")
    for profile in (0, 1):
        x = given(4, profile)
        there, result = OnDevice(module, x), OnDevice(module, 0 * x)
        context.run(there, out=result, stream=0)
        np.testing.assert_array_equal(read(result), wanted(x))
        assert context.run(there).shape == x.shape
    assert count(module, "cudaMemcpyAsync") == copies
    assert count(module, "cudaGraphLaunch") == launched + 4


@pytest.mark.usefixtures("lazy")
def test_a_batch_ends_where_the_profile_changes(module: ModuleType) -> None:
    net = module.Network(plan_cache="")
    for order in ([0] * 5 + [1] * 6 + [0], [0, 1] * 4, [1] * 9):
        items = [given(1, profile)[0] + i for i, profile in enumerate(order)]
        before = count(module, "cudaGraphLaunch")
        results = list(net.map(items))
        assert len(results) == len(items)
        for item, result in zip(items, results, strict=True):
            np.testing.assert_array_equal(result, wanted(item[None])[0])
        runs = [len(list(run)) for _, run in groupby(order)]
        assert count(module, "cudaGraphLaunch") - before == sum(-(-run // 4) for run in runs)
    with net.pipeline() as pipeline:
        for n, profile in ((3, 0), (4, 1), (1, 0)):
            pipeline.submit(given(n, profile))
        for n, profile in ((3, 0), (4, 1), (1, 0)):
            np.testing.assert_array_equal(pipeline.next(), wanted(given(n, profile)))
    with pytest.raises(ValueError, match=r"no profile of 'profiles' has inputs 'x' \(4,\)") as e:
        list(net.map([np.zeros(4, np.float32)]))
    assert str(e.value).splitlines()[1:] == ["  'x' (3,)", "  'x' (5,)"]


def test_what_fits_no_profile(module: ModuleType) -> None:
    net = module.Network(plan_cache="")
    with pytest.raises(
        ValueError, match=r"no profile of 'profiles' has inputs 'x' \(2, 4\); it was built for"
    ) as e:
        net(np.zeros((2, 4), np.float32))
    assert str(e.value).splitlines()[1:] == ["  'x' (N, 3)", "  'x' (N, 5)"]
    with pytest.raises(ValueError, match=r"output 'y': got shape \(2, 3\), expected \(N, 5\)"):
        net.run(given(2, 1), out=given(2, 0))
    with pytest.raises(ValueError, match="a batch of 5"):
        net(given(5, 1))


def test_what_the_module_says(module: ModuleType) -> None:
    assert module.PROFILES == ({"x": (3,), "y": (3,)}, {"x": (5,), "y": (5,)})
    summary = module.Network(plan_cache="").summary()
    assert "N x 3 or N x 5" in summary
    assert [line for line in summary.splitlines() if "batch" in line] == [
        f"x {size}, batch {n}" for size in (3, 5) for n in (1, 4)
    ]


def test_torch_tensors_get_outputs_of_their_profile(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = type("Tensor", (np.ndarray,), {"__module__": "torch", "is_cuda": False, "device": "cpu"})

    def empty(shape: tuple[int, ...], dtype: Any, device: str) -> Any:
        assert device == "cpu"
        return np.empty(shape, dtype).view(tensor)

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(empty=empty, float32=np.float32))
    net = module.Network(plan_cache="")
    for profile in (0, 1):
        x = given(2, profile).view(tensor)
        result, rows = net(x), list(net.map(x))
        assert {type(array) for array in (result, *rows)} == {tensor}
        np.testing.assert_array_equal(result, wanted(x))
        np.testing.assert_array_equal(np.stack(rows), wanted(x))


def two_profiles(**fields: Any) -> Network:
    """A fully convolutional network whose steps differ between profiles, and one that they share."""
    layers = [
        {"name": "a", "op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1, "activation": "relu"},
        {"name": "pool", "op": "max_pool2d", "kernel": 2},
        {"name": "deep", "op": "conv2d", "out_channels": 16, "kernel": 3, "padding": "same", "stride": 2},
        {"name": "up", "op": "upsample", "scale": 2},
        {"name": "wide", "op": "resize", "scales": [2, 1.5], "mode": "linear"},
        {"name": "skip", "op": "resize", "input": "pool", "scales": [2, 1.5], "mode": "cubic"},
        {"name": "joined", "op": "concat", "inputs": ["wide", "skip"]},
        {"name": "mean", "op": "global_avg_pool"},
        {"name": "prob", "op": "softmax", "axis": 1},
    ]
    profiles = [{"x": [1, 3, 24, 32]}, {"x": [1, 3, 8, 8]}]
    outputs = ["joined", "prob"]
    return network(*layers, shape=(1, 3, 16, 16), profiles=profiles, outputs=outputs, **fields)


def test_generated_cuda_in_every_profile(tmp_path: Path) -> None:
    check_networks(
        [
            two_profiles(name="one", precision="float16"),
            two_profiles(name="more", batch_sizes=[1, 3]),
        ],
        tmp_path,
    )
    text = (tmp_path / "more" / "network.cu").read_text()
    assert "case 2:  // x 3x24x32, batch 1" in text
    assert "switch (pass.batch())" not in text


USER = """
#include "net/net.hpp"
static_assert(net::x_shape[0][1] == 16 && net::x_shape[1][2] == 32 && net::prob_shape[2][0] == 24);
void use(net::Context& context, net::Pipeline& pipeline, const float* x, float* joined, float* prob) {
    context.run(x, joined, prob);
    context.run(x, joined, prob, 2, 1);
    pipeline.submit(x, joined, prob);
    pipeline.submit(x, joined, prob, 2, 1);
}
"""


@pytest.mark.parametrize("target", [CUDA, CPU], ids=lambda target: target.name)
def test_a_cpp_program_says_the_profile(target: Target, tmp_path: Path) -> None:
    drawn = two_profiles()
    files = project_files(make_plan(drawn.spec, drawn.weights, target), "0" * 12, "0" * 12)
    header = tmp_path / "include" / "net" / "net.hpp"
    header.parent.mkdir(parents=True)
    header.write_text(files["include/net/net.hpp"])
    if target is CPU:
        try:
            libraries = [find_cpu_toolchain().onednn.include]
        except ToolchainError as error:
            pytest.skip(str(error))
    else:
        libraries = [wheel_headers("cu13"), wheel_headers("cudnn")]
    (tmp_path / "user.cpp").write_text(USER)
    flags = ["-std=c++20", "-fopenmp", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}"]
    isystem = [part for library in libraries for part in ("-isystem", str(library))]
    command = ["g++", *flags, *isystem, f"-I{tmp_path / 'include'}", str(tmp_path / "user.cpp")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-8000:]
