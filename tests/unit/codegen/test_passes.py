# ruff: noqa: E501 (graphs stand here as they are printed)
"""Each pass by the rule that it follows: the graph's text before it, and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.choices import Choices
from cnngen.codegen.graph_text import dump
from cnngen.codegen.passes.pad_channels import pad_channels
from cnngen.codegen.verify import verify

from .networks import network
from .texts import after, assert_rewrite, before, constants, steps, text

Layer = Mapping[str, Any]

CONV = {"op": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
PLAIN = {**CONV, "bias": False}


# --- fold_constants ---------------------------------------------------------------------------------------


def test_a_value_that_is_the_same_everywhere_becomes_a_number() -> None:
    drawn = network({"name": "z", "op": "zeros", "shape": [3, 8, 8]}, {"name": "one", "op": "add", "value": 1},
                    {"name": "y", "op": "sub", "inputs": ["one", "x"]})  # fmt: skip
    assert_rewrite("fold_constants", drawn, """
        z [1, 3, 8, 8] float32 NHWC = 0  # z
        one [1, 3, 8, 8] float32 NHWC = z[n, c, h, w] + 1  # one
        y [1, 3, 8, 8] float32 NHWC = one[n, c, h, w] - x[n, c, h, w]  # y
        """, """
        y [1, 3, 8, 8] float32 NHWC = 1 - x[n, c, h, w]  # y
        """)  # fmt: skip


def test_what_depends_on_constants_alone_becomes_one() -> None:
    drawn = network({"name": "z", "op": "zeros", "shape": [3, 1, 1]}, {"name": "k", "op": "sub", "parameter": "w"},
                    {"name": "e", "op": "sigmoid"}, {"name": "y", "op": "mul", "inputs": ["x", "e"]})  # fmt: skip
    graph = after("fold_constants", drawn)
    assert steps(graph) == "y [1, 3, 8, 8] float32 NHWC = x[n, c, h, w] * e[n, c, 0, 0]  # y"
    assert constants(graph) == ["e [1, 3, 1, 1] float32 NHWC"]
    expected = 1 / (1 + np.exp(drawn.weights["w"].reshape(1, 3, 1, 1).astype(np.float64)))
    np.testing.assert_allclose(graph.constants["e"].array, expected, rtol=1e-6)


def test_a_constant_that_would_grow_much_is_computed_instead() -> None:
    drawn = network({"name": "z", "op": "zeros", "shape": [3, 8, 8]}, {"name": "k", "op": "add", "parameter": "w"},
                    {"name": "y", "op": "mul", "inputs": ["x", "k"]})  # fmt: skip
    assert steps(after("fold_constants", drawn)) == text("""
        k [1, 3, 8, 8] float32 NHWC = w[c, 0, 0]  # k
        y [1, 3, 8, 8] float32 NHWC = x[n, c, h, w] * k[n, c, h, w]  # y
        """)


def test_an_output_is_written_by_a_step_also_where_it_is_known() -> None:
    drawn = network({"name": "z", "op": "zeros", "shape": [2]}, {"name": "y", "op": "add", "value": 0.5})
    assert steps(after("fold_constants", drawn), without=()) == "y@output [1, 2] float32 = 0.5  # y"


# --- images_of_sequences ----------------------------------------------------------------------------------


def test_steps_between_sequences_become_steps_between_images() -> None:
    drawn = network({"name": "a", "op": "conv1d", "out_channels": 4, "kernel": 1, "bias": False},
                    {"name": "b", "op": "batch_norm"}, {"name": "c", "op": "relu"},
                    {"name": "y", "op": "max_pool1d", "kernel": 2}, shape=(1, 3, 8))  # fmt: skip
    assert_rewrite("images_of_sequences", drawn, """
        a.pointwise [1, 3, 8] float32 NLC = x[n, c, h]  # a
        a.reshape [1, 3, 1, 8] float32 NHWC = reshape(a.pointwise)  # a
        a.conv [1, 4, 1, 8] float32 NHWC = conv(a.reshape, a.weight)  # a
        a [1, 4, 8] float32 NLC = reshape(a.conv)  # a
        b [1, 4, 8] float32 NLC = affine(a, b.scale, b.shift)  # b
        c [1, 4, 8] float32 NLC = relu(b[n, c, h])  # c
        y.reshape [1, 4, 1, 8] float32 NHWC = reshape(c)  # y
        y.pool [1, 4, 1, 4] float32 NHWC = pool<kind=max, kernel=(1, 2), stride=(1, 2), padding=(0, 0, 0, 0)>(y.reshape)  # y
        y [1, 4, 4] float32 NLC = reshape(y.pool)  # y
        """, """
        a.pointwise [1, 3, 1, 8] float32 NHWC = x[n, c, w]  # a
        a.reshape [1, 3, 1, 8] float32 NHWC = reshape(a.pointwise)  # a
        a.conv [1, 4, 1, 8] float32 NHWC = conv(a.reshape, a.weight)  # a
        b [1, 4, 1, 8] float32 NHWC = affine(a.conv, b.scale, b.shift)  # b
        c [1, 4, 1, 8] float32 NHWC = relu(b[n, c, 0, w])  # c
        y.reshape [1, 4, 1, 8] float32 NHWC = reshape(c)  # y
        y.pool [1, 4, 1, 4] float32 NHWC = pool<kind=max, kernel=(1, 2), stride=(1, 2), padding=(0, 0, 0, 0)>(y.reshape)  # y
        y [1, 4, 4] float32 NLC = reshape(y.pool)  # y
        """)  # fmt: skip


# --- fuse_bias_only ---------------------------------------------------------------------------------------


def test_convolutions_of_zeros_leave_their_bias_through_a_chain() -> None:
    drawn = network(
        {"name": "z", "op": "zeros", "shape": [3, 8, 8]},
        {"name": "a", **PLAIN},
        {"name": "p", "op": "max_pool2d", "kernel": 2},
        {"name": "g", "op": "identity"},
        {"name": "b", **CONV, "activation": "relu"},
        {"name": "c", "op": "conv2d", "out_channels": 4, "kernel": 5, "input": "x"},
        {"name": "y", "op": "add", "inputs": ["c", "b"]},
    )
    assert steps(after("fuse_bias_only", drawn)) == text("""
        b.conv [1, 4, 4, 4] float32 NHWC = b.bias[c]  # b
        b [1, 4, 4, 4] float32 NHWC = relu(b.conv[n, c, h, w])  # b
        c [1, 4, 4, 4] float32 NHWC = conv(x, c.weight) -> acc + c.bias[c]  # c
        y [1, 4, 4, 4] float32 NHWC = c[n, c, h, w] + b[n, c, h, w]  # y
        """)


def test_a_map_of_biases_is_a_constant_of_its_readers() -> None:
    """Nothing is stored for it, nor read: the convolution beside it has a second bias."""
    drawn = network({"name": "z", "op": "zeros", "shape": [8, 8, 8]}, {"name": "b", **CONV}, {"name": "c", **CONV, "input": "x"},
                    {"name": "a", "op": "add", "inputs": ["c", "b"]}, {"name": "y", "op": "relu"},
                    shape=(1, 8, 8, 8), precision="float16")  # fmt: skip
    assert steps(after("fuse_epilogues", drawn)) == (
        "y [1, 4, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> "
        "relu(((acc + c.bias[c]) + b.bias[c]))  form cudnn  # c, b, a, y"
    )


@pytest.mark.parametrize("op", [{**CONV, "weight": "w"}, {"op": "linear", "out_features": 8, "weight": "w"}])
def test_zero_weights_leave_the_bias_too(op: Layer) -> None:
    shape = (4, 3, 3, 3) if op["op"] == "conv2d" else (8, 8)
    drawn = network({"name": "y", **op}, weights={"w": np.zeros(shape, np.float32)})
    channel = "c" if op["op"] == "conv2d" else "w"
    assert steps(after("fuse_bias_only", drawn)).endswith(f" = y.bias[{channel}]  # y")


def test_a_bias_of_zeros_is_dropped() -> None:
    drawn = network({"name": "y", **CONV}, weights={"y.bias": np.zeros(4, np.float32)})
    assert steps(after("fuse_bias_only", drawn)) == (
        "y [1, 4, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, y.weight)  # y"
    )


# --- share_subexpressions ---------------------------------------------------------------------------------


def test_the_same_on_the_same_is_done_once() -> None:
    drawn = network(
        {"name": "a", "op": "avg_pool2d", "kernel": 2},
        {"name": "b", "op": "silu"},
        {"name": "c", "op": "avg_pool2d", "kernel": 2, "input": "x"},
        {"name": "d", "op": "silu"},
        {"name": "y", "op": "sub", "inputs": ["b", "d"]},
    )
    assert steps(after("share_subexpressions", drawn)) == text("""
        a [1, 3, 4, 4] float32 NHWC = pool<kind=avg, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0)>(x)  # a, c
        b [1, 3, 4, 4] float32 NHWC = silu(a[n, c, h, w])  # b, d
        y [1, 3, 4, 4] float32 NHWC = b[n, c, h, w] - b[n, c, h, w]  # y
        """)


@pytest.mark.parametrize(
    "other", [{"kernel": 3}, {"kernel": 2, "padding": [1, 0]}, {"kernel": 2, "precision": "float16"}]
)
def test_what_differs_is_done_twice(other: Layer) -> None:
    pool = {"op": "max_pool2d", "kernel": 2, "input": "x"}
    drawn = network({"name": "a", **pool}, {"name": "b", **pool, **other}, outputs=["a", "b"])
    assert steps(after("share_subexpressions", drawn)).count("pool<") == 2


def test_each_output_keeps_its_step() -> None:
    relu = {"op": "relu", "input": "x"}
    drawn = network({"name": "a", **relu}, {"name": "b", **relu}, outputs=["a", "b"])
    assert steps(after("share_subexpressions", drawn), without=("x",)) == text("""
        a [1, 3, 8, 8] float32 NHWC = relu(x[n, c, h, w])  # a, b
        a@output [1, 3, 8, 8] float32 NCHW = a[n, c, h, w]  # a
        b@output [1, 3, 8, 8] float32 NCHW = a[n, c, h, w]  # b
        """)


# --- select_forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("storage", "channels", "fields", "form"),
    [
        ("float32", 8, {}, "cudnn"),
        ("float16", 8, {"groups": 8, "out_channels": 8}, "depthwise"),
        ("float16", 16, {"groups": 2, "out_channels": 16}, "cudnn"),  # 16 bytes in each group
        ("float16", 8, {"groups": 2, "out_channels": 16}, "grouped"),
        ("float16", 16, {"groups": 2, "out_channels": 8}, "grouped"),
        ("float32", 8, {"groups": 2, "out_channels": 8}, "cudnn"),
        ("bfloat16", 4, {"groups": 4, "out_channels": 8}, "grouped"),  # a multiplier of two
    ],
)
def test_what_runs_a_convolution(storage: str, channels: int, fields: Layer, form: str) -> None:
    drawn = network({"name": "y", **PLAIN, **fields}, shape=(1, channels, 8, 8), precision=storage)
    node = after("select_forms", drawn).producers["y"]
    assert node.form == form
    assert node.inputs[1] == ("y.weight" if form == "cudnn" else "y.weight.rsc")


def test_filters_of_our_own_kernels_are_stored_with_their_channels_innermost() -> None:
    drawn = network(
        {"name": "y", **PLAIN, "groups": 3, "out_channels": 3},
        {"name": "z", **PLAIN, "groups": 3, "out_channels": 6},
        {"name": "fc", "op": "linear", "out_features": 2},
        precision="float16",
    )
    graph = after("select_forms", drawn)
    assert constants(graph)[-2:] == [
        "y.weight.rsc [3, 1, 3, 3] float32 RSCK",  # each a product of its own
        "z.weight.rsc [6, 1, 3, 3] float16 RSCK",
    ]
    assert graph.producers["fc"].form == "cublaslt"


# --- pad_channels -----------------------------------------------------------------------------------------


def test_a_stem_of_three_channels_reads_four() -> None:
    drawn = network({"name": "y", **PLAIN}, precision="float16")
    assert_rewrite("pad_channels", drawn, """
        y [1, 4, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(x, y.weight)  form cudnn  # y
        """, """
        x.padded4 [1, 4, 8, 8] float16 NHWC = select((c < 3), x[n, c, h, w], 0)  # x
        y [1, 4, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(x.padded4, y.weight.padded4)  form cudnn  # y
        """)  # fmt: skip
    filters = after("pad_channels", drawn).constants["y.weight.padded4"].array
    assert np.array_equal(filters[:, :3], drawn.weights["y.weight"])
    assert not filters[:, 3:].any()


@pytest.mark.parametrize(
    ("channels", "precision", "padded"),
    [
        (3, "float16", 4),
        (5, "float16", 8),
        (183, "float16", 192),
        (183, "bfloat16", 192),
        (192, "float16", 192),
        (3, {"storage": "float32", "tf32": True}, 4),
        (183, {"storage": "float32", "tf32": True}, 192),
        (3, "float32", 3),  # exact float32 does not run on the tensor cores
        (183, "float32", 183),
    ],
)
def test_how_many_channels_are_stored(channels: int, precision: object, padded: int) -> None:
    conv = {**PLAIN, "out_channels": 128}
    drawn = network({"name": "y", **conv}, shape=(1, channels, 256, 512), precision=precision)
    graph = after("pad_channels", drawn)
    assert graph.values[graph.producers["y"].inputs[0]].shape[1] == padded


def test_padding_is_not_worth_a_step_of_its_own_on_a_small_map() -> None:
    layers = ({"name": "p", "op": "max_pool2d", "kernel": 2}, {"name": "y", **PLAIN})
    assert "padded" not in dump(after("pad_channels", network(*layers, precision="float16")))


def test_two_readers_share_the_padded_copy_and_the_padded_filter() -> None:
    drawn = network({"name": "a", **PLAIN}, {"name": "b", **PLAIN, "weight": "a.weight", "stride": 2, "input": "x"},
                    outputs=["a", "b"], precision="float16")  # fmt: skip
    graph = after("pad_channels", drawn)
    assert constants(graph) == ["a.weight.padded4 [4, 4, 3, 3] float16 NHWC"]
    assert steps(graph, without=("x", "a@output", "b@output")).count("select((c < 3)") == 1


def test_the_copy_merges_with_what_writes_the_input() -> None:
    drawn = network({"name": "s", "op": "sub", "value": 0.5}, {"name": "y", **PLAIN}, precision="float16")
    assert steps(after("fuse_epilogues", drawn)).splitlines()[0] == (
        "s.padded4 [1, 4, 8, 8] float16 NHWC = select((c < 3), (x@input[n, c, h, w] - 0.5), 0)  # x, s"
    )


def test_what_only_copies_read_is_stored_padded_alone() -> None:
    layers = (
        {
            "name": "small",
            "op": "slice",
            "axes": [2, 3],
            "starts": [0, 0],
            "ends": [512, 512],
            "steps": [2, 2],
        },
        {"name": "a", **PLAIN, "out_channels": 3, "input": "x"},
        {"name": "y", "op": "add", "inputs": ["small", "half"]},
    )
    half = {"name": "half", "op": "avg_pool2d", "kernel": 2, "input": "a"}
    drawn = network(layers[0], layers[1], half, layers[2], shape=(1, 3, 512, 512), precision="float16")
    lines = steps(after("pad_channels", drawn), without=("y@output",)).splitlines()
    assert [line.split(" ")[0] for line in lines[:3]] == ["x", "x.padded4", "small"]
    assert "= x.padded4[n, c, (h * 2), (w * 2)]" in lines[2]


def test_of_two_padded_copies_the_wider_one_is_stored_alone() -> None:
    drawn = network(
        {"name": "flipped", "op": "sub", "value": 0.5},
        {"name": "a", **PLAIN},
        {"name": "b", **PLAIN, "kernel": 5, "padding": 2, "input": "flipped"},
        {"name": "y", "op": "add", "inputs": ["a", "b"]},
        precision="float16",
    )
    forms = {("pad_channels", "a"): "4", ("pad_channels", "b"): "8"}
    graph = pad_channels(before("pad_channels", drawn), Choices(forms=forms))
    verify(graph)
    lines = {line.split(" ")[0]: line for line in steps(graph).splitlines()}
    assert list(lines)[:3] == ["flipped", "flipped.padded8", "flipped.padded4"]
    assert "flipped.padded8[n, c, h, w]" in lines["flipped.padded4"]


def test_groups_are_not_padded() -> None:
    drawn = network({"name": "y", **PLAIN, "groups": 3, "out_channels": 3}, precision="float16")
    assert "padded" not in dump(after("pad_channels", drawn))
