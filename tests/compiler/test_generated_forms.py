"""What rewrites make of a network, in generated text: steps of several layers, parts of wider values."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cnngen.codegen import tiles
from cnngen.codegen.choices import Choices
from cnngen.codegen.node_ops import Join, ProductSoftmax, Slice, Softmax
from cnngen.codegen.plan import make_plan
from cnngen.spec.types import DType

from ..unit.codegen.networks import BATCHES, Network, network
from ..unit.codegen.tuned import tuned_plan
from .emulated_networks import check_networks


def test_parts_of_a_wider_value_are_not_one_run(tmp_path: Path) -> None:
    """Steps that would be turned, or take all axes as one, write into a concatenation and read from one."""
    layers = [
        {"name": "p", "op": "max_pool2d", "kernel": 1},
        {"name": "mixed", "op": "channel_shuffle", "groups": 32},
        {"name": "gentle", "op": "silu", "input": "p"},
        {"name": "both", "op": "concat", "inputs": ["mixed", "gentle"]},
        {"name": "wide", "op": "max_pool2d", "kernel": 1},
        {"name": "harder", "op": "abs", "input": "gentle"},
        {"name": "second", "op": "concat", "inputs": ["harder", "p"]},
        {"name": "last", "op": "max_pool2d", "kernel": 1},
    ]
    parts = network(
        *layers,
        shape=(2, 1024, 3, 3),
        outputs=[{"layer": name} for name in ("wide", "last", "gentle", "harder")],
        precision="float16",
        name="parts",
    )
    plan = tuned_plan(parts, 0, forms={"place_concats": 1, "fuse_epilogues": 1})
    check_networks([parts], tmp_path, [plan])
    text = (tmp_path / "parts" / "kernels.cu").read_text()
    kernels = dict(re.findall(r"^__global__ .*? (\w+)\(int batch.*?{(.*?)^}", text, re.MULTILINE | re.DOTALL))
    assert {name for name, kernel in kernels.items() if "const int at = i / 128 * 2048" in kernel} == {
        "gentle",
        "both_part",
        "harder",
    }
    assert ") * 2048 + c" in kernels["harder"]
    turned = {name for name, kernel in kernels.items() if "cnngen::transpose<" in kernel}
    assert turned == {"x", *(f"{name}_output" for name in ("wide", "last", "gentle", "harder"))}
    assert ".row_pitch = 2048, .column_pitch = 9, .readable = 9" in kernels["gentle_output"]


def squeezed(seed: int, storage: DType) -> Network:
    """Two blocks of squeeze and excitation, by convolutions and by matrix products."""
    rng = random.Random(seed)  # noqa: S311
    c, h, w = rng.choice((8, 24, 32, 64, 96, 160, 20, 7)), rng.randint(1, 14), rng.randint(1, 14)
    activations = ("relu", "silu", "hard_swish", None)
    gates = ("sigmoid", "hard_sigmoid", None)
    convolution = {"op": "conv2d", "kernel": 1, "bias": rng.random() < 0.8}
    layers: list[dict[str, object]] = [
        {"name": "mean", "op": "global_avg_pool", "input": "x"},
        {
            "name": "a",
            **convolution,
            "out_channels": rng.randint(1, 12),
            "activation": rng.choice(activations),
        },
        {"name": "b", **convolution, "out_channels": c, "activation": rng.choice(gates)},
        {"name": "scaled", "op": "mul", "inputs": ["x", "b"]},
        {"name": "mean2", "op": "global_avg_pool", "keepdims": False},
        {
            "name": "c",
            "op": "linear",
            "out_features": rng.randint(1, 40),
            "activation": rng.choice(activations),
        },
        {"name": "d", "op": "linear", "out_features": c, "activation": rng.choice(gates)},
        {"name": "gate", "op": "reshape", "shape": [0, c, 1, 1]},
        {"name": "y", "op": "mul", "inputs": ["scaled", "gate"]},
        {"name": "sum", "op": "add", "inputs": ["y", "x"]},
    ]
    batches = rng.choice(BATCHES)
    return network(
        *layers, shape=(batches[0], c, h, w), precision=storage, batch_sizes=batches, name=f"squeezed{seed}"
    )


def test_squeeze_and_excitation(tmp_path: Path) -> None:
    """Gates alone and with the map that they scale, by the first tile and by others that a lock may name."""
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    networks = [squeezed(seed, storages[seed % 3]) for seed in range(20)]
    plans = []
    for seed, drawn in enumerate(networks):
        forms = {"fuse_squeeze_excite": 1 + seed % 2}
        first = make_plan(drawn.spec, drawn.weights, choices=lambda _profile, _batch: Choices(every=forms))  # noqa: B023
        plans.append(tuned_plan(drawn, seed, forms) if seed % 5 else first)
    check_networks(networks, tmp_path, plans)
    text = "".join(path.read_text() for path in tmp_path.glob("*/kernels.cu"))
    for part in (
        "squeeze_excite<",
        "squeeze_excite_scale<",
        ".threads = 512};",
        ".cluster = 8",
        ".slices = 2",
        ".keeps = 1",
    ):
        assert part in text


NETWORKS = 9  # of a kind


def checked(
    draw: Callable[[int, DType], Network], folder: Path, forms: Mapping[str, int] | None = None
) -> str:
    """Checks networks of a kind, of all storage types and with random tiles; the text of their kernels."""
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    networks = [draw(seed, storages[seed % 3]) for seed in range(NETWORKS)]
    check_networks(networks, folder, [tuned_plan(drawn, seed, forms) for seed, drawn in enumerate(networks)])
    return "".join(path.read_text() for path in folder.glob("*/kernels.cu"))


def pyramid(seed: int, storage: DType) -> Network:
    """Pools of pools behind what they are of, in every width of vectors."""
    rng = random.Random(seed)  # noqa: S311
    c, h, w = rng.choice((1, 3, 6, 12, 24, 64)), rng.randint(1, 14), rng.randint(1, 14)
    kernel, count = rng.choice((3, 5)), rng.randint(2, 3)
    pool = {"op": "max_pool2d", "kernel": kernel, "stride": 1, "padding": kernel // 2}
    names = ["x", *(f"p{level}" for level in range(1, count + 1))]
    layers = [{"name": name, **pool, "input": x} for x, name in itertools.pairwise(names)]
    return network(
        *layers,
        {"name": "all", "op": "concat", "inputs": names},
        {"name": "y", "op": "relu"},
        shape=(2, c, h, w),
        precision=storage,
        batch_sizes=(1, 2),
        name=f"pyramid{seed}",
    )


def test_pyramids_of_pools(tmp_path: Path) -> None:
    assert checked(pyramid, tmp_path, {"fuse_max_pools": 1}).count("cnngen::max_pools<") >= NETWORKS


def wide_pool(seed: int, storage: DType) -> Network:
    """A pool of a large window with what follows it, and one that is a part of a concatenation."""
    rng = random.Random(seed)  # noqa: S311
    c, h, w = rng.choice((1, 3, 6, 8, 24)), rng.randint(1, 40), rng.randint(1, 40)

    def pool(name: str, kernel: int) -> dict[str, object]:
        around = {"kernel": kernel, "stride": 1, "padding": kernel // 2}
        return {"name": name, "op": "max_pool2d", "input": "x", **around}

    return network(
        pool("a", 5),
        {"name": "b", "op": "silu"},
        pool("d", rng.choice((5, 7, 9))),
        {"name": "all", "op": "concat", "inputs": ["d", "b"]},
        {"name": "y", "op": "relu"},
        shape=(2, c, h, w),
        precision=storage,
        batch_sizes=(1, 2),
        name=f"widepool{seed}",
    )


def test_pools_of_large_windows(tmp_path: Path) -> None:
    text = checked(wide_pool, tmp_path)
    assert "cnngen::max_pools<" in text
    assert "cnngen::max_pool<" in text


def large_depthwise(seed: int, storage: DType) -> Network:
    """Depthwise convolutions of large windows: of a slice, with what follows it, and as a part of a concatenation."""
    rng = random.Random(seed)  # noqa: S311
    c, h, w = 8 * rng.choice((1, 3, 4, 5)), rng.randint(5, 40), rng.randint(5, 40)

    def conv(name: str, kernel: int, dilation: int = 1) -> dict[str, object]:
        around = {"kernel": kernel, "dilation": dilation, "padding": kernel // 2 * dilation}
        return {"name": name, "op": "conv2d", "out_channels": c, "groups": c, **around}

    return network(
        {"name": "half", "op": "slice", "axes": [1], "starts": [c], "ends": [2 * c]},
        {**conv("a", 5, rng.choice((1, 2))), "activation": "silu"},
        {"name": "b", "op": "add", "inputs": ["a", "half"]},
        {**conv("d", 7), "input": "b"},
        {"name": "all", "op": "concat", "inputs": ["d", "half"]},
        {"name": "y", "op": "relu"},
        shape=(2, 2 * c, h, w),
        precision=storage,
        batch_sizes=(1, 2),
        name=f"depthwise{seed}",
    )


def test_depthwise_convolutions_of_large_windows(tmp_path: Path) -> None:
    text = checked(large_depthwise, tmp_path)
    assert "cnngen::diagonal_depthwise<" in text
    assert "cnngen::depthwise<" in text


def read_by_many(seed: int, storage: DType) -> Network:
    """Steps whose elements share what they read: norms, resized maps, and one whose channels do not divide a block."""
    rng = random.Random(seed)  # noqa: S311
    c, side = rng.choice((8, 16, 24, 32)), rng.choice((16, 32))
    return network(
        {"name": "norm", "op": "instance_norm"},
        {"name": "large", "op": "upsample", "scale": 2, "mode": rng.choice(("bilinear", "nearest"))},
        {"name": "mean", "op": "global_avg_pool", "input": "x"},
        {"name": "y", "op": "mul", "inputs": ["large", "mean"]},
        shape=(2, c, side, side),
        precision=storage,
        batch_sizes=(1, 2),
        name=f"shared{seed}",
    )


def test_several_items_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is small enough to be emulated has the tiles of large maps, too.
    monkeypatch.setattr(tiles, "FULL_GPU", 1)
    text = checked(read_by_many, tmp_path)
    assert "item < 2" in text
    assert "item < 4" in text


def parted(seed: int, storage: DType) -> Network:
    """What reads parts of a convolution's channels, adds or multiplies by them, and is part of a concatenation."""
    rng = random.Random(seed)  # noqa: S311
    c, h, w = 8 * rng.randint(1, 3), rng.randint(3, 9), rng.randint(3, 9)
    same = {"op": "conv2d", "kernel": rng.choice((1, 3)), "padding": "same"}
    function = rng.choice(("relu", "identity"))
    layers: list[dict[str, object]] = [{"name": "whole", **same, "out_channels": 3 * c, "input": "x"}]
    for number in range(3):
        ends = {"starts": [number * c], "ends": [number * c + c]}
        layers.append({"name": f"s{number}", "op": "slice", "axes": [1], **ends, "input": "whole"})
        layers.append({"name": f"f{number}", "op": function, "input": f"s{number}"})
    layers += [
        {"name": "p", **same, "out_channels": c, "input": "f0"},
        {"name": "q", "op": rng.choice(("add", "mul")), "inputs": ["p", "f1"]},
        {"name": "r", "op": "relu"},
        {"name": "t", "op": "add", "inputs": ["r", "f2"]},
        {"name": "m", "op": "max_pool2d", "kernel": 3, "stride": 1, "padding": 1, "input": "f1"},
        {"name": "d", **same, "out_channels": c, "groups": c, "input": "f2"},
        {"name": "all", "op": "concat", "inputs": ["t", "m", "d"]},
        {"name": "y", **same, "out_channels": 4},
    ]
    batches = rng.choice(BATCHES)
    shape = (batches[0], 16, h, w)
    return network(*layers, shape=shape, precision=storage, batch_sizes=batches, name=f"parted{seed}")


def test_parts_of_channels_are_read_where_they_lie(tmp_path: Path) -> None:
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    networks = [parted(seed, storages[seed % 3]) for seed in range(9)]
    forms = {"place_splits": 1, "place_concats": 1, "merge_siblings": 0}
    plans = [tuned_plan(drawn, seed, forms) for seed, drawn in enumerate(networks)]
    check_networks(networks, tmp_path, plans)
    nodes = [node for plan in plans for batch in plan.batches for node in batch.graph.nodes]
    assert sum(isinstance(node.op, Slice) for node in nodes) > len(networks)
    kernels = "".join(path.read_text() for path in tmp_path.glob("*/kernels*.cu"))
    assert ".x_pixel" in kernels  # of pools and depthwise convolutions
    assert ".y_pixel" in kernels


def dense(seed: int, storage: DType) -> Network:
    """Blocks whose convolutions read all that came before, as one concatenation of all or of the last one and more."""
    rng = random.Random(seed)  # noqa: S311
    c, growth, h, w = 8 * rng.randint(1, 3), 8 * rng.randint(1, 2), rng.randint(3, 9), rng.randint(3, 9)
    grown = {"op": "conv2d", "kernel": rng.choice((1, 3)), "padding": "same", "out_channels": growth}
    layers: list[dict[str, object]] = [{"name": "before", "op": "conv2d", "kernel": 1, "out_channels": c}]
    last = "before"
    for block in range(2):
        chained, parts = rng.random() < 0.5, [last]
        for level in range(rng.randint(2, 3)):
            name = f"{block}.{level}"
            whole = parts[0] if len(parts) == 1 else f"all{name}"
            if len(parts) > 1:
                layers.append({"name": whole, "op": "concat", "inputs": parts})
            read = whole
            if rng.random() < 0.4:  # before its convolution
                read = f"norm{name}"
                layers += [
                    {"name": f"scaled{name}", "op": "mul", "value": 0.7, "input": whole},
                    {"name": read, "op": "relu"},
                ]
            layers.append({"name": f"c{name}", **grown, "input": read, "activation": "leaky_relu"})
            parts = [whole, f"c{name}"] if chained else [*parts, f"c{name}"]
        layers.append({"name": f"all{block}", "op": "concat", "inputs": parts})
        layers.append({"name": f"end{block}", **grown, "out_channels": c, "input": f"all{block}"})
        layers.append({"name": f"sum{block}", "op": "add", "inputs": [f"end{block}", last]})
        last = f"sum{block}"
    batches = rng.choice(BATCHES)
    return network(
        *layers, shape=(batches[0], 8, h, w), precision=storage, batch_sizes=batches, name=f"dense{seed}"
    )


def test_a_dense_block_grows_in_one_buffer(tmp_path: Path) -> None:
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    networks = [dense(seed, storages[seed % 3]) for seed in range(9)]
    plans = [tuned_plan(drawn, seed, {"place_concats": 1}) for seed, drawn in enumerate(networks)]
    check_networks(networks, tmp_path, plans)
    joins = [node for plan in plans for node in plan.batches[0].graph.nodes if isinstance(node.op, Join)]
    assert sum(bool(node.value.host) for node in joins) > len(networks)  # a concatenation in another one


def segmenting(seed: int, storage: DType) -> Network:
    """A product, of a window or of a row, and the softmax of its filters."""
    rng = random.Random(seed)  # noqa: S311
    filters = rng.choice((2, 5, 12, 16, 21, 40, 100, 200))
    kernel = rng.choice((1, 3))
    layers: list[dict[str, Any]] = [
        {
            "name": "a",
            "op": "conv2d",
            "out_channels": rng.choice((24, 96)),
            "kernel": 3,
            "activation": "silu",
        },
        {"name": "b", "op": "conv2d", "out_channels": filters, "kernel": kernel, "padding": kernel // 2},
    ]
    if rng.random() < 0.4:
        layers[1:] = [
            {"name": "mean", "op": "global_avg_pool", "keepdims": False},
            {"name": "b", "op": "linear", "out_features": filters, "bias": rng.random() < 0.5},
        ]
    elif rng.random() < 0.5:
        layers.append({"name": "c", "op": "tanh"})
    layers.append({"name": "shares", "op": rng.choice(("softmax", "log_softmax")), "axis": 1})
    batches = rng.choice(BATCHES)
    shape = (batches[0], 8 * rng.randint(1, 8), rng.randint(4, 9), rng.randint(4, 9))
    return network(*layers, shape=shape, precision=storage, batch_sizes=batches, name=f"segmenting{seed}")


def test_products_take_the_softmax_of_their_filters_along(tmp_path: Path) -> None:
    storages: tuple[DType, ...] = ("float16", "bfloat16")
    networks = [segmenting(seed, storages[seed % 2]) for seed in range(16)]
    plans = [tuned_plan(drawn, seed, {"fuse_softmax": 1}) for seed, drawn in enumerate(networks)]
    check_networks(networks, tmp_path, plans)
    steps = [node for plan in plans for batch in plan.batches for node in batch.graph.nodes]
    assert not any(isinstance(node.op, Softmax) for node in steps)
    tiles_of = [node.engine for node in steps if isinstance(node.op, ProductSoftmax)]
    assert len({tile.partition("split=")[2][0] for tile in tiles_of}) >= 2
    assert any("n=256" in tile for tile in tiles_of)


def test_kernels_write_what_a_library_would_have_to_copy(tmp_path: Path) -> None:
    """A product, an image whose layout is declared, and one of a single channel, whose layouts are all the same."""
    conv = {"op": "conv2d", "kernel": 3, "padding": 1, "out_channels": 16}
    mean = {"name": "m", "op": "global_avg_pool", "keepdims": False}
    ends: dict[str, tuple[list[dict[str, object]], dict[str, str]]] = {
        "product": ([mean, {"name": "y", "op": "linear", "out_features": 12}], {}),
        "image": ([{"name": "y", **conv, "activation": "relu"}], {"layout": "NHWC"}),
        "mask": ([{"name": "y", **conv, "out_channels": 1, "activation": "relu"}], {"layout": "NCHW"}),
        "twice": ([{"name": "y", **conv}, {"name": "z", "op": "softmax", "axis": 1}], {"layout": "NHWC"}),
    }
    networks = []
    for name, (layers, declared) in ends.items():
        names = [layer["name"] for layer in layers if layer["name"] != "m"]
        outputs = [{"layer": layer, "dtype": "float16", **declared} for layer in names]
        fields: dict[str, object] = {"precision": "float16", "outputs": outputs, "name": name}
        networks.append(network({"name": "c", **conv}, *layers, shape=(2, 8, 9, 7), **fields))
    plans = [tuned_plan(drawn, seed, {"pad_channels": 0}) for seed, drawn in enumerate(networks)]
    check_networks(networks, tmp_path, plans)
    written = {plan.spec.name: plan.batches[0].graph.outputs for plan in plans}
    assert written == {
        "product": ("y",),
        "image": ("y",),
        "mask": ("y",),
        "twice": ("y@output", "z@output"),  # a softmax reads y, too
    }
