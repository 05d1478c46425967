"""Each kind of kernel where threads share it, where vectors have a rest, and where conditions split its loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cnngen.spec.types import DType

from ..bundle import Bundle, build_bundle, bundle_folder
from ..unit.codegen.networks import Network, network
from .check import check

Layer = Mapping[str, Any]
RELU = {"name": "a", "op": "relu"}
AVERAGE = {"op": "avg_pool2d", "stride": 1}
STORAGES: tuple[DType, ...] = ("float32", "bfloat16")


def one(op: str, **fields: object) -> list[Layer]:
    """An op between two pointwise ones, which may fuse with it."""
    return [RELU, {"name": "b", "op": op, **fields}, {"name": "c", "op": "silu"}]


# layers, the input's shape, further fields of the network
CASES: dict[str, tuple[list[Layer], tuple[int, ...], dict[str, object]]] = {
    # pools: channels of less than a block, of whole blocks, and with a rest
    "max_pool": (one("max_pool2d", kernel=3, stride=2, padding=1), (2, 13, 41, 39), {}),
    "max_pool_blocks": (one("max_pool2d", kernel=3, stride=2, padding=1), (1, 128, 41, 39), {}),
    "max_pool_rest": (one("max_pool2d", kernel=2, dilation=2), (1, 70, 17, 19), {}),
    "avg_pool": (one("avg_pool2d", kernel=3, stride=2, padding=1), (2, 15, 33, 31), {}),
    "avg_pool_pad": (one("avg_pool2d", kernel=2, padding="same", count_include_pad=True), (3, 15, 65, 7), {}),
    "avg_pool_ceil": (one("avg_pool2d", kernel=2, ceil_mode=True), (8, 15, 31, 33), {}),
    "max_pool_indices": (
        [RELU, {"name": "b", "op": "max_pool2d_indices", "kernel": 3, "stride": 2, "padding": 1}],
        (2, 20, 21, 23),
        {"outputs": [{"layer": "b", "dtype": "int64"}]},
    ),
    "lp_pool": (one("lp_pool2d", kernel=3, stride=2), (2, 12, 15, 17), {}),
    # reductions: kept neighbours, reduced neighbours, few long rows, many axes
    "mean_hw": (one("global_avg_pool"), (3, 72, 40, 40), {}),
    "mean_hw_one_channel": (one("global_avg_pool"), (2, 1, 200, 200), {}),
    "max_hw": (one("global_max_pool"), (2, 17, 40, 40), {}),
    "sum_c": (one("reduce_sum", axes=[1]), (2, 300, 20, 20), {}),
    "sum_cw": (one("reduce_sum", axes=[1, 3]), (2, 30, 20, 20), {}),
    "mean_ch": (one("reduce_mean", axes=[1, 2], keepdims=False), (2, 30, 20, 20), {}),
    "l2_all": (one("reduce_l2"), (2, 30, 40, 40), {}),
    "min_rows": (one("reduce_min", axes=[1]), (3, 100000), {}),
    "prod_rows": (one("reduce_prod", axes=[-1]), (40, 8, 9), {}),
    "log_sum_exp": (one("reduce_log_sum_exp", axes=[2]), (4, 12, 300), {}),
    "unbatched_sum_0": (one("reduce_sum", axes=[0]), (40, 30, 50), {"batched": False}),
    "unbatched_sum_02": (one("reduce_sum", axes=[0, 2]), (40, 30, 50), {"batched": False}),
    "unbatched_sum_all": (one("reduce_mean", axes=[0]), (60000,), {"batched": False}),
    "argmax_c": (
        [RELU, {"name": "b", "op": "argmax", "axis": 1}],
        (2, 19, 40, 40),
        {"outputs": [{"layer": "b", "dtype": "int32"}]},
    ),
    "argmin_last": (
        [{"name": "b", "op": "argmin", "axis": 2, "last": True}],
        (2, 19, 40, 40),
        {"outputs": [{"layer": "b", "dtype": "int64"}]},
    ),
    "unbatched_argmax_0": (
        [{"name": "b", "op": "argmax", "axis": 0}],
        (40, 30, 50),
        {"batched": False, "outputs": [{"layer": "b", "dtype": "int64"}]},
    ),
    "instance_norm": (one("instance_norm", affine=True), (2, 20, 33, 35), {}),
    "group_norm": (one("group_norm", groups=4, affine=True), (2, 20, 33, 35), {}),
    "layer_norm": (one("layer_norm", axis=-1, affine=True, bias=True), (2, 50, 100), {}),
    # softmax: rows, columns, rests
    "softmax_channels": (one("softmax", axis=1), (3, 21, 30, 30), {}),
    "softmax_h": (one("softmax", axis=2), (2, 8, 30, 40), {}),
    "softmax_rows": (one("softmax"), (5, 1001), {}),
    "log_softmax_h": (one("log_softmax", axis=2), (2, 130, 30, 4), {}),
    "log_softmax_rows": (one("log_softmax"), (40, 1003), {}),
    "unbatched_softmax_0": (one("softmax", axis=0), (40, 30, 50), {"batched": False}),
    # pointwise: flat, rows, short innermost axes, one loop, split loops
    "flat": (
        [RELU, {"name": "b", "op": "gelu"}, {"name": "c", "op": "mul", "value": 3}],
        (2, 24, 31, 33),
        {},
    ),
    "one_row": (
        [{"name": "b", "op": "add", "parameter": "k"}, {"name": "c", "op": "tanh"}],
        (2, 40000),
        {"outputs": ["c"]},
    ),
    "per_channel": (one("mul", parameter="k", parameter_shape=[24, 1, 1]), (2, 24, 31, 33), {}),
    "concat_channels": (
        [
            {"name": "a", "op": "max_pool2d", "kernel": 1},
            {"name": "b", "op": "avg_pool2d", "kernel": 1, "input": "x"},
            {"name": "c", "op": "concat", "inputs": ["a", "b", "a"]},
            {"name": "d", "op": "relu"},
            {"name": "e", "op": "max_pool2d", "kernel": 1},
        ],
        (2, 19, 30, 30),
        {},
    ),
    "concat_rows": (
        [
            {"name": "a", "op": "max_pool2d", "kernel": 1},
            {"name": "b", "op": "concat", "axis": 2, "inputs": ["a", "x", "a"]},
            {"name": "c", "op": "max_pool2d", "kernel": 1},
        ],
        (2, 19, 30, 30),
        {},
    ),
    "concat_nine": (
        [
            *(
                {"name": f"p{i}", **AVERAGE, "kernel": 2 * i + 1, "padding": i, "input": "x"}
                for i in range(9)
            ),
            {"name": "b", "op": "concat", "inputs": [f"p{i}" for i in range(9)]},
            {"name": "c", "op": "max_pool2d", "kernel": 2},
        ],
        (1, 5, 20, 20),
        {},
    ),
    "pad": (one("pad", padding=[1, 2, 3, 4], value=2), (2, 19, 30, 30), {}),
    "pad_reflect": (one("pad", padding=[1, 2, 3, 4], mode="reflect"), (2, 19, 30, 30), {}),
    "pad_channels": (one("pad", pads=[[0, 0], [2, 3], [0, 0], [1, 1]]), (2, 19, 30, 30), {}),
    "bilinear": (one("upsample", scale=2, mode="bilinear"), (1, 24, 30, 34), {}),
    "bilinear_nchw": ([{"name": "b", "op": "upsample", "scale": 2, "mode": "bilinear"}], (1, 3, 30, 34), {}),
    "nearest": (one("upsample", scale=3), (1, 24, 15, 17), {}),
    "transpose": (one("transpose", axes=[0, 2, 3, 1]), (1, 24, 40, 36), {}),
    "transpose_wide": (one("transpose", axes=[0, 2, 1]), (3, 70, 90), {}),
    "channels_to_nchw": ([RELU, {"name": "b", "op": "max_pool2d", "kernel": 1}], (2, 50, 33, 35), {}),
    "shuffle": (one("channel_shuffle", groups=3), (1, 24, 30, 30), {}),
    "depth_to_space": (one("depth_to_space", block=2), (1, 24, 30, 30), {}),
    "space_to_depth": (one("space_to_depth", block=2), (1, 6, 30, 30), {}),
    "slice": (one("slice", axes=[1, 3], starts=[20, 1], ends=[2, 29], steps=[-3, 2]), (1, 24, 30, 30), {}),
    "two_channels": ([{"name": "b", "op": "silu"}], (3, 2, 61, 67), {}),
    "nhwc_ports": (
        [{"name": "b", "op": "add", "inputs": ["x", "y"]}],
        (1, 1),
        {
            "inputs": {
                "x": {"shape": [2, 3, 50, 60], "layout": "NHWC", "dtype": "float16"},
                "y": {"shape": [2, 3, 50, 60]},
            },
            "outputs": [{"layer": "b", "dtype": "float16"}],
        },
    ),
    # products
    "linear": (one("linear", out_features=33), (5, 70), {}),
    "matmul": (
        [{"name": "b", "op": "matmul", "inputs": ["x", "y"]}, {"name": "c", "op": "softmax"}],
        (1, 1),
        {"inputs": {"x": {"shape": [2, 3, 40, 50]}, "y": {"shape": [2, 3, 50, 60]}}},
    ),
    "conv_transpose": (
        one("conv_transpose2d", out_channels=10, kernel=3, stride=2, padding=1, output_padding=1),
        (2, 12, 15, 17),
        {},
    ),
    "conv1d": (one("conv1d", out_channels=10, kernel=5, stride=2, padding=2), (2, 12, 150), {}),
    "depthwise": (one("conv2d", out_channels=24, kernel=3, padding=1, groups=24), (2, 24, 30, 30), {}),
    "grouped": (one("conv2d", out_channels=24, kernel=3, padding=1, groups=4), (2, 16, 30, 30), {}),
}


def drawn(case: str, storage: DType) -> Network:
    layers, shape, fields = CASES[case]
    return network(*layers, shape=shape, precision=storage, name=f"{case}_{storage}", **fields)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    networks = [drawn(case, storage) for case in CASES for storage in STORAGES]
    sources = [(network.spec, network.weights) for network in networks]
    return build_bundle(sources, bundle_folder("kernels"), optimize="-O2;-ftree-vectorize")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_interpreter(bundle: Bundle, case: str, storage: DType) -> None:
    check(bundle, drawn(case, storage))
