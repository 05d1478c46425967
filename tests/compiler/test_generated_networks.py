"""Generated networks, compiled as plain C++ and run on the CPU: each step against the interpreter's value.

Kernels run in the emulation, convolutions and matrix products by their definition, all at the planned places in one
arena: a wrong index, bound, offset, layout, argument or epilogue in the generated text is found without a GPU.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from cnngen.spec.types import DType, ElementType

from ..unit.codegen.networks import Network, network, random_network
from ..unit.codegen.tuned import convolutional_network, tuned_plan
from .emulated_networks import HUGE, check_networks


def seeded(seed: int, storage: DType) -> Network:
    return random_network(random.Random(seed), storage, name=f"net{seed}")  # noqa: S311 (a seed that repeats)


def test_random_networks(tmp_path: Path) -> None:
    storages: tuple[DType, ...] = ("float32", "float16", "bfloat16", "float16")
    check_networks([seeded(seed, storages[seed % 4]) for seed in range(50)], tmp_path)


def test_random_engines_and_tiles(tmp_path: Path) -> None:
    """Each step by one of the kernels and tiles that a lock may name, each rewrite by one of its forms."""
    storages: tuple[DType, ...] = ("float16", "bfloat16")
    networks = [convolutional_network(seed, storages[seed % 2]) for seed in range(24)]
    check_networks(networks, tmp_path, [tuned_plan(drawn, seed) for seed, drawn in enumerate(networks)])
    text = "".join(path.read_text() for path in tmp_path.glob("*/network.cu"))
    assert text.count("cnngen::GemmShape") > 20
    assert ".cluster" in text
    assert ".y_pixel" in text  # of a convolution into a part of a concatenation
    assert "pass.on(1, {0});" in text
    kernels = "".join(path.read_text() for path in tmp_path.glob("*/kernels*.cu"))
    assert "const int at = " in kernels  # likewise of a pointwise step
    assert ".interleaves = true" in kernels


def test_channels_first(tmp_path: Path) -> None:
    """Convolutions in exact float32 on channels first, and what turns what they read and write."""
    networks = [convolutional_network(seed, "float32") for seed in range(12)]
    plans = [tuned_plan(drawn, seed, forms={"channels_first": 1}) for seed, drawn in enumerate(networks)]
    check_networks(networks, tmp_path, plans)
    text = "".join(path.read_text() for path in tmp_path.glob("*/network.cu"))
    assert text.count(".w = nchw(") > 10


def test_indices_of_64_bits(tmp_path: Path) -> None:
    """The text for a huge batch, run on a small one."""
    networks = []
    for seed in range(10):
        drawn = seeded(seed, "float16")
        spec = drawn.spec.model_copy(update={"batch_sizes": (drawn.spec.batch_sizes[0], HUGE)})
        networks.append(Network(spec, drawn.weights))
    check_networks(networks, tmp_path)
    assert "std::int64_t" in (tmp_path / "net0" / "kernels.cu").read_text()


def wide(op: str, shape: Sequence[int], storage: DType, number: int, **fields: object) -> Network:
    """One op between two pointwise ones, on a tensor that many threads share."""
    layers = [{"name": "a", "op": "relu"}, {"name": "b", "op": op, **fields}, {"name": "c", "op": "silu"}]
    return network(*layers, shape=shape, precision=storage, name=f"wide{number}")


def test_many_threads(tmp_path: Path) -> None:
    """Sizes at which a thread takes several outputs, and several threads or warps share one."""
    depthwise = {"out_channels": 15, "groups": 15, "kernel": 3, "padding": 1}
    cases: list[tuple[str, tuple[int, ...], dict[str, object]]] = [
        ("conv2d", (2, 15, 71, 70), depthwise),
        ("conv2d", (3, 15, 131, 70), {**depthwise, "stride": 2, "kernel": 5, "padding": [2, 1, 1, 2]}),
        ("conv2d", (2, 15, 69, 75), {**depthwise, "dilation": 2, "activation": "mish"}),
        ("conv2d", (2, 16, 45, 47), {**depthwise, "groups": 8, "out_channels": 24}),
        ("conv2d", (5, 16, 30, 31), {**depthwise, "groups": 4, "out_channels": 24, "stride": [1, 2]}),
        ("max_pool2d", (4, 13, 81, 79), {"kernel": 3, "stride": 1, "padding": 1}),
        (
            "avg_pool2d",
            (4, 15, 65, 67),
            {"kernel": 2, "stride": 1, "padding": "same", "count_include_pad": True},
        ),
        ("avg_pool2d", (8, 15, 81, 83), {"kernel": 2, "ceil_mode": True}),
        ("global_avg_pool", (3, 72, 20, 20), {}),
        ("global_avg_pool", (8, 1280, 3, 3), {}),
        ("softmax", (3, 21, 9, 9), {"axis": 1}),
        ("softmax", (2, 8, 3, 40), {"axis": 2}),
        ("softmax", (5, 100), {}),
        ("softmax", (3, 1001), {}),
        ("softmax", (2, 3000), {}),
        ("log_softmax", (3, 1001), {}),
        ("log_softmax", (2, 8, 3, 40), {"axis": 2}),
        ("reduce_max", (3, 72, 20, 20), {"axes": [2, 3]}),
        ("reduce_sum_square", (2, 24, 30, 31), {"axes": [1, 3]}),
        ("reduce_mean", (2, 3, 5000), {"axes": [2], "keepdims": False}),
        ("reduce_min", (2, 40, 33), {"axes": [1]}),
        ("instance_norm", (2, 40, 30, 31), {"affine": True}),
        ("group_norm", (2, 48, 17, 16), {"groups": 4}),
        ("layer_norm", (2, 50, 100), {}),
        ("layer_norm", (2, 30, 11, 12), {"axis": 1}),
        ("lrn", (2, 24, 9, 10), {"size": 5}),
        ("argmax", (3, 21, 9, 9), {"axis": 1}),
        ("argmin", (2, 5000), {"axis": 1, "last": True}),
        ("argmax", (2, 24, 11, 40), {"axis": 2}),
        ("max_pool2d_indices", (2, 16, 41, 43), {"kernel": 3, "stride": 2, "padding": 1}),
        ("lp_pool2d", (2, 16, 41, 43), {"kernel": 3, "padding": 1}),
        ("conv_transpose2d", (2, 16, 20, 21), {"out_channels": 8, "kernel": 4, "stride": 2, "padding": 1}),
        ("conv1d", (2, 16, 300), {"out_channels": 16, "kernel": 3, "groups": 16}),
        ("adaptive_avg_pool2d", (2, 16, 20, 33), {"output_size": [5, 7]}),
        ("upsample", (1, 16, 20, 24), {"scale": 2, "mode": "bilinear"}),
        ("transpose", (1, 24, 40, 36), {"axes": [0, 2, 3, 1]}),
        ("transpose", (2, 24, 13, 30), {"axes": [0, 3, 2, 1]}),
        ("flatten", (2, 24, 9, 10), {}),
        ("channel_shuffle", (2, 1024, 3, 3), {"groups": 16}),
        ("space_to_depth", (2, 40, 12, 16), {"block": 4, "mode": "crd"}),
        ("pad", (2, 3, 20, 24), {"pads": [[0, 0], [0, 1], [0, 0], [0, 0]]}),
    ]
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    check_networks(
        [wide(op, shape, storages[i % 3], i, **fields) for i, (op, shape, fields) in enumerate(cases)],
        tmp_path,
    )
    text = "".join(path.read_text() for path in tmp_path.glob("*/kernels.cu"))
    assert text.count("cnngen::transpose<") > 20
    for tile in (".tw = 4, .th = 2", ".tw = 4, .th = 1", ".groups = 8", ".lanes = 256"):
        assert tile in text


def test_whole_numbers_and_bools(tmp_path: Path) -> None:
    """Ports of every element type; indices between a max pool and what puts its maxima back."""
    types: dict[str, ElementType] = {"i": "int32", "l": "int64", "u": "uint8", "b": "bool"}
    layers = [
        *({"name": f"f{name}", "op": "cast", "to": "float32", "input": name} for name in types),
        {"name": "sum", "op": "add", "inputs": [f"f{name}" for name in types]},
        {"name": "size", "op": "abs"},
        {"name": "half", "op": "mul", "value": 0.5},
        {"name": "i8", "op": "cast", "to": "uint8"},
        {"name": "some", "op": "cast", "to": "bool", "input": "sum"},
        {"name": "best", "op": "argmax", "axis": 1, "input": "half"},
        {"name": "largest", "op": "max_pool2d", "kernel": 2, "input": "half"},
        {"name": "places", "op": "max_pool2d_indices", "kernel": 2, "input": "half"},
        {"name": "back", "op": "max_unpool2d", "kernel": 2, "inputs": ["largest", "places"]},
    ]
    outputs = [("i8", "uint8"), ("some", "bool"), ("best", "int64"), ("places", "int32"), ("back", "float16")]
    whole = network(
        *layers,
        inputs={name: {"shape": [2, 16, 6, 8], "dtype": dtype} for name, dtype in types.items()},
        outputs=[{"layer": layer, "dtype": dtype} for layer, dtype in outputs],
        precision="float16",
        name="whole",
    )
    check_networks([whole], tmp_path)
