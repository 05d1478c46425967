# ruff: noqa: E501 (graphs stand here as they are printed)
"""fuse_epilogues, rule by rule: what becomes one step, and what has to stay apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cnngen.codegen.choices import Choices
from cnngen.codegen.epilogues import ChainStep, library_chain
from cnngen.codegen.passes.fuse_epilogues import fuse_epilogues
from cnngen.codegen.passes.plan_streams import branches
from cnngen.codegen.targets import CPU

from .networks import network
from .texts import after, assert_rewrite, before, steps, text

CONV: Mapping[str, Any] = {"op": "conv2d", "out_channels": 3, "kernel": 3, "padding": 1}
CONV8: Mapping[str, Any] = {**CONV, "out_channels": 8}
HALF: Mapping[str, Any] = {"shape": (1, 8, 8, 8), "precision": "float16"}
FC: Mapping[str, Any] = {"op": "linear", "out_features": 8}
FUSE = "fuse_epilogues"


# --- convolutions by cuDNN --------------------------------------------------------------------------------


def test_a_single_channel_takes_its_activation_too() -> None:
    """Its number is read as 0, and its bias is still one of a channel."""
    drawn = network({"name": "c", **CONV, "out_channels": 1}, {"name": "y", "op": "tanh"}, **HALF)
    (line,) = steps(after(FUSE, drawn)).splitlines()
    assert "conv<padding=(1, 1, 1, 1)>(x, c.weight) -> tanh((acc + c.bias[c]))  form cudnn" in line


def test_convolution_norm_residual_and_activation_become_one_step() -> None:
    drawn = network({"name": "c", **CONV8}, {"name": "n", "op": "batch_norm"},
                    {"name": "a", "op": "add", "inputs": ["x", "n"]}, {"name": "y", "op": "relu"}, **HALF)  # fmt: skip
    assert_rewrite(FUSE, drawn, """
        n [1, 8, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> acc + c.bias[c]  form cudnn  # c, n
        a [1, 8, 8, 8] float16 NHWC = x[n, c, h, w] + n[n, c, h, w]  # a
        y [1, 8, 8, 8] float16 NHWC = relu(a[n, c, h, w])  # y
        """, """
        y [1, 8, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> relu((x[n, c, h, w] + (acc + c.bias[c])))  form cudnn  # c, n, a, y
        """)  # fmt: skip
    graph = after(FUSE, drawn)
    assert library_chain(graph.producers["y"], graph) == (
        ChainStep("add", "c.bias"),
        ChainStep("add", "x"),
        ChainStep("relu"),
    )


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ([{"name": "y", "op": "add", "inputs": ["x", "c"]}], [("fuse_epilogues", "y")]),
        (
            [{"name": "s", "op": "add", "inputs": ["x", "c"]}, {"name": "y", "op": "relu"}],
            [("fuse_epilogues", "s")],
        ),
        ([{"name": "y", "op": "sigmoid"}], [("fuse_epilogues", "y")]),
        ([{"name": "y", "op": "relu"}], []),
        ([{"name": "y", "op": "silu"}], []),
    ],
)
def test_what_takes_a_library_time_may_stay_apart(
    more: list[dict[str, Any]], options: list[tuple[str, str]]
) -> None:
    drawn = network({"name": "c", **CONV8}, *more, **HALF)
    given, pad = before(FUSE, drawn), len(before(FUSE, drawn).sites)
    assert [site.key for site in fuse_epilogues(given, Choices()).sites[pad:]] == options
    apart = fuse_epilogues(given, Choices(every={FUSE: 1}))
    assert ("c" in apart.producers) == bool(options)
    assert not fuse_epilogues(given, Choices(every={FUSE: 1}), CPU).sites[pad:]


def test_of_two_convolutions_the_later_takes_the_sum() -> None:
    drawn = network(
        {"name": "a", **CONV8},
        {"name": "b", **CONV8, "kernel": 1, "padding": 0, "input": "x"},
        {"name": "y", "op": "add", "inputs": ["a", "b"]},
        **HALF,
    )
    assert steps(after(FUSE, drawn)) == text("""
        a [1, 8, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(x, a.weight) -> acc + a.bias[c]  form cudnn  # a
        y [1, 8, 8, 8] float16 NHWC = conv(x, b.weight) -> a[n, c, h, w] + (acc + b.bias[c])  form cudnn  # b, y
        """)


@pytest.mark.parametrize("projection_last", [False, True])
def test_the_longest_branch_takes_the_sum_of_a_block(projection_last: bool) -> None:
    """So that a projection can run beside it, wherever the spec has it."""
    main = [{"name": "a", **CONV8, "input": "p"}, {"name": "b", **CONV8}]
    projection = {"name": "q", **CONV8, "input": "p"}
    layers = [*main, projection] if projection_last else [projection, *main]
    drawn = network({"name": "p", "op": "max_pool2d", "kernel": 1}, *layers,
                    {"name": "s", "op": "add", "inputs": ["b", "q"]}, {"name": "y", "op": "relu"}, **HALF)  # fmt: skip
    graph = after(FUSE, drawn)
    assert graph.producers["y"].operands == ("a", "b.weight")
    assert [branch.name for branch in branches(graph)] == ["q"]


def test_exact_float32_fuses_bias_and_relu_alone() -> None:
    """Whatever cuDNN and GPU: its fusion engines would round to TF32."""
    drawn = network({"name": "c", **CONV}, {"name": "y", "op": "relu6"})
    assert steps(after(FUSE, drawn)) == text("""
        c [1, 3, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> acc + c.bias[c]  form cudnn  # c
        """)
    drawn = network({"name": "c", **CONV}, {"name": "y", "op": "relu"})
    assert steps(after(FUSE, drawn)) == text("""
        y [1, 3, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> relu((acc + c.bias[c]))  form cudnn  # c, y
        """)


@pytest.mark.parametrize(
    "reader",
    [
        {"op": "mish"},  # no mode of cuDNN
        {"op": "prelu"},
        {"op": "add", "parameter": "k", "parameter_shape": [8]},  # not one number a channel
        {"op": "upsample", "scale": 2},  # read at another place
        {"op": "transpose", "axes": [0, 1, 3, 2]},
        {"op": "div", "inputs": ["c", "x"]},
    ],
)
def test_what_cudnn_cannot_do_stays_a_step(reader: Mapping[str, Any]) -> None:
    graph = after(
        FUSE, network({"name": "c", **CONV}, {"name": "y", **reader}, {"name": "z", **CONV, "dilation": 2})
    )
    assert graph.producers["c"].layers == ("c",)
    assert "y" in graph.producers


def test_no_library_changes_the_type() -> None:
    half = {"precision": "float16"}
    layers = ({"name": "y", "op": "relu", **half}, {"name": "p", "op": "max_pool2d", "kernel": 2, **half})
    assert steps(after(FUSE, network({"name": "c", **CONV}, *layers))).splitlines()[:2] == [
        "c [1, 3, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> acc + c.bias[c]  form cudnn  # c",
        "y [1, 3, 8, 8] float16 NHWC = relu(c[n, c, h, w])  # y",
    ]


def test_another_reader_keeps_the_convolution_apart() -> None:
    drawn = network({"name": "c", **CONV}, {"name": "r", "op": "relu"}, {"name": "y", "op": "max_pool2d", "kernel": 2},
                    {"name": "p", "op": "max_pool2d", "kernel": 2, "input": "c"}, outputs=["y", "p"])  # fmt: skip
    assert steps(after(FUSE, drawn), without=("x", "y", "p", "y@output", "p@output")) == text("""
        c [1, 3, 8, 8] float32 NHWC = conv<padding=(1, 1, 1, 1)>(x, c.weight) -> acc + c.bias[c]  form cudnn  # c
        r [1, 3, 8, 8] float32 NHWC = relu(c[n, c, h, w])  # r
        """)
    output = after(FUSE, network({"name": "c", **CONV}, {"name": "y", "op": "relu"}, outputs=["c", "y"]))
    assert output.producers["c"].layers == ("c",)


def test_no_library_writes_to_the_caller_or_reads_from_him() -> None:
    """What is captured with his memory in it could not be pointed elsewhere."""
    nhwc = {"layout": "NHWC", "dtype": "float16"}
    drawn = network({"name": "y", **CONV, "out_channels": 8}, inputs={"x": {"shape": [1, 8, 8, 8], **nhwc}},
                    outputs=[{"layer": "y", **nhwc}], precision="float16")  # fmt: skip
    assert steps(after(FUSE, drawn), without=()) == text("""
        x [1, 8, 8, 8] float16 NHWC = x@input[n, c, h, w]  # x
        y [1, 8, 8, 8] float16 NHWC = conv<padding=(1, 1, 1, 1)>(x, y.weight) -> acc + y.bias[c]  form cudnn  # y
        y@output [1, 8, 8, 8] float16 NHWC = y[n, c, h, w]  # y
        """)


# --- matmuls by cuBLASLt ----------------------------------------------------------------------------------


def test_cublaslt_takes_a_bias_and_then_an_activation_of_its_own() -> None:
    for activation, fused in (
        ("relu", True),
        ({"op": "gelu", "approximate": "tanh"}, True),
        ("gelu", False),
        ("silu", False),
    ):
        drawn = network({"name": "y", **FC, "activation": activation}, {"name": "z", **FC}, shape=(2, 8))
        assert ("y.matmul" not in after(FUSE, drawn).producers) == fused, activation


@pytest.mark.parametrize(
    "reader",
    [
        {"op": "add", "inputs": ["fc", "x"]},  # a residual
        {"op": "mul", "parameter": "k"},
        {"op": "add", "parameter": "k", "inputs": ["fc"]},  # a second bias
        {"op": "batch_norm"},
    ],
)
def test_what_cublaslt_cannot_do_stays_a_step(reader: Mapping[str, Any]) -> None:
    relu = {"name": "fc", **FC, "activation": "relu"}
    graph = after(FUSE, network(relu, {"name": "y", **reader}, {"name": "z", **FC}, shape=(2, 8)))
    assert graph.producers["fc"].layers == ("fc",)
    assert graph.producers["y"].layers == ("y",)


def test_the_bias_of_a_linear_layer_on_images_runs_along_the_last_axis() -> None:
    graph = after(FUSE, network({"name": "y", **FC, "activation": "relu"}, {"name": "z", **FC}))
    first = next(node for node in graph.nodes if node.form == "cublaslt")
    assert library_chain(first, graph) == (ChainStep("add", "y.bias"), ChainStep("relu"))


# --- kernels of our own -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "name", "called"),
    [
        ({**CONV, "groups": 3, "bias": False}, "y", "conv<padding=(1, 1, 1, 1), groups=3>(x, o.weight.rsc)"),
        ({"op": "max_pool2d", "kernel": 3, "stride": 1, "padding": 1}, "y", "pool<kind=max, kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1)>(x)"),
    ],
)  # fmt: skip
def test_our_kernels_take_any_epilogue(op: Mapping[str, Any], name: str, called: str) -> None:
    drawn = network({"name": "o", **op}, {"name": "m", "op": "mish"}, {"name": "s", "op": "sub", "value": 1, "reverse": True},
                    {"name": "y", "op": "div", "inputs": ["s", "x"]}, {"name": "z", **CONV})  # fmt: skip
    form = "  form depthwise" if "groups" in op else ""
    assert steps(after(FUSE, drawn)).splitlines()[0] == (
        f"{name} [1, 3, 8, 8] float32 NHWC = {called} -> (1 - mish(acc)) / x[n, c, h, w]{form}  # o, m, s, y"
    )


def test_our_kernels_store_another_type_and_layout_where_memory_agrees() -> None:
    pool = {"name": "y", "op": "global_avg_pool"}
    assert steps(after(FUSE, network(pool, precision="float16")), without=("x",)) == (
        "y@output [1, 3, 1, 1] float32 NCHW = reduce<kind=mean, axes=(2, 3)>(x)  # y"
    )
    softmax = network({"name": "y", "op": "softmax"}, shape=(2, 8), precision="float16")
    assert steps(after(FUSE, softmax), without=("x",)) == "y@output [2, 8] float32 = softmax<axis=1>(x)  # y"


def test_softmax_has_no_epilogue() -> None:
    graph = after(
        FUSE, network({"name": "s", "op": "softmax"}, {"name": "y", "op": "mul", "value": 2}, shape=(2, 8))
    )
    assert graph.producers["s"].layers == ("s",)


# --- pointwise chains -------------------------------------------------------------------------------------


def test_a_pointwise_chain_is_one_kernel_from_input_to_output() -> None:
    drawn = network(
        {"name": "n", "op": "batch_norm"},
        {"name": "s", "op": "sigmoid"},
        {"name": "m", "op": "mul", "inputs": ["n", "s"]},
        {"name": "p", "op": "pad", "padding": [1, 0, 0, 0]},
        {"name": "y", "op": "transpose", "axes": [0, 1, 3, 2]},
    )
    assert steps(after(FUSE, drawn), without=()) == (
        "y@output [1, 3, 8, 9] float32 NCHW = select((w >= 1), (t1 * sigmoid(t1)), 0) "
        "where t1 = ((x@input[n, c, (w + -1), h] * n.scale[c]) + n.shift[c])  # x, n, s, m, p, y"
    )


def test_what_several_steps_read_is_stored_once() -> None:
    conv = {**CONV, "bias": False}
    drawn = network({"name": "e", "op": "sigmoid"}, {"name": "a", **conv},
                    {"name": "b", **conv, "kernel": 1, "padding": 0, "input": "e"}, {"name": "y", "op": "concat", "inputs": ["a", "b"]})  # fmt: skip
    assert steps(after(FUSE, drawn), without=("a", "b")) == text("""
        e [1, 3, 8, 8] float32 NHWC = sigmoid(x@input[n, c, h, w])  # x, e
        y@output [1, 6, 8, 8] float32 NCHW = select((c < 3), a[n, c, h, w], b[n, (c + -3), h, w])  # y
        """)


def test_work_is_not_repeated_where_a_reader_needs_it_at_several_places() -> None:
    """A bilinear pixel reads four; what they cost is paid once, but a mere copy is looked through."""
    up = {"name": "y", "op": "upsample", "scale": 2, "mode": "bilinear"}
    assert [node.name for node in after(FUSE, network({"name": "s", "op": "sigmoid"}, up)).nodes] == [
        "s",
        "y@output",
    ]
    moved = after(FUSE, network({"name": "t", "op": "transpose", "axes": [0, 2, 1, 3]}, up))
    assert [node.name for node in moved.nodes] == ["y@output"]


def test_two_readers_that_merge_make_room_for_their_common_source() -> None:
    drawn = network(
        {"name": "r", "op": "relu"},
        {"name": "d", "op": "mul", "value": 2},
        {"name": "y", "op": "add", "inputs": ["r", "d"]},
    )
    assert [node.name for node in after(FUSE, drawn).nodes] == ["y@output"]
